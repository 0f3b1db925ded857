"""BERT, DistilBERT, RoBERTa and MiniLM: models from token ids and a mask to one vector per token.

Sources: Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers"; Sanh et al. 2019
(DistilBERT); Liu et al. 2019 (RoBERTa); Wang et al. 2020 (MiniLM). The sentence encoders E5, BGE and GTE are
BERT models with other weights.

The vectors of padding are zero after the embedding and after every block. Each block finds the mask from
these zeros. Therefore the model can be cut between any two blocks at a single tensor, and cached features
contain their mask.
"""

from __future__ import annotations

import numpy as np

from tlkeras.models.backbones.parts import keras, layers, ops, small_normal
from tlkeras.models.backbones.registry import BACKBONES, LOW_RATE, Backbone, Family
from tlkeras.models.backbones.transformer import mlp, self_attention
from tlkeras.models.weights.tensors import Tensors


def text_transformer(
    input_shape: dict[str, tuple[int]],
    *,
    width: int,
    depth: int,
    heads: int,
    hidden: int,
    words: int = 30_522,
    positions: int = 512,
    activation: str = "gelu",
    epsilon: float = 1e-12,
    name: str = "text_transformer",
) -> keras.Model:
    """Returns a post-norm transformer from token ids and mask to one vector per token.

    Args:
        input_shape: Shapes of the inputs, `{"ids": (length,), "mask": (length,)}`, and `types` for pairs.
        width: Length of a token's vector.
        depth: Number of blocks.
        heads: Number of attention heads, a divisor of `width`.
        hidden: Width of the hidden layer of each block's MLP.
        words: Number of entries of the vocabulary.
        positions: Number of positions, which is the largest possible length.
        activation: Activation of each block's MLP: `gelu`, `gelu_tanh` or `relu`.
        epsilon: Epsilon of every LayerNormalization.
        name: Name of the model.

    Returns:
        A functional model. Its inputs are `ids`, `mask` (1 for tokens, 0 for padding) and for pairs `types`
        (1 for tokens of the second text), all int32. Its outputs have the shape `(batch, length, width)` and
        are zero for padding.

    Raises:
        ValueError: The texts are longer than the number of positions, or the width is not a multiple of the
            number of heads.
    """
    (length,) = input_shape["ids"]
    if length > positions:
        raise ValueError(f"texts have at most {positions} tokens. Received: data.max_length={length}")
    if width % heads:
        raise ValueError(f"heads must divide the width. Received: width={width}, heads={heads}")
    inputs = {n: keras.Input(input_shape[n], dtype="int32", name=n) for n in input_shape}
    place = ops.cumsum(ops.ones_like(inputs["ids"]), axis=1) - 1
    table = {"embeddings_initializer": small_normal()}
    x = layers.Embedding(words, width, name="stem_words", **table)(inputs["ids"])
    x = layers.Add(name="stem_add")(
        [x, layers.Embedding(positions, width, name="stem_positions", **table)(place)]
    )
    if "types" in inputs:
        x = layers.Add(name="stem_add_types")(
            [x, layers.Embedding(2, width, name="stem_types", **table)(inputs["types"])]
        )
    x = layers.LayerNormalization(epsilon=epsilon, name="stem_norm")(x)
    x = layers.Multiply(name="stem_mask")([x, ops.expand_dims(ops.cast(inputs["mask"], x.dtype), -1)])
    for i in range(depth):
        x = _block(x, f"block_{i}", heads, hidden, activation, epsilon)
    return keras.Model(inputs, x, name=name)


def _block(x, name: str, heads: int, hidden: int, activation: str, epsilon: float):
    """Returns the tokens after one post-norm block: attention, then an MLP, normalised after each sum."""
    width, mask = x.shape[-1], ops.any(ops.not_equal(x, 0), axis=-1)
    y = self_attention(x, heads, f"{name}_attention", ops.expand_dims(mask, (1, 2)))
    x = layers.Add(name=f"{name}_add_1")([x, y])
    x = layers.LayerNormalization(epsilon=epsilon, name=f"{name}_norm_1")(x)
    y = mlp(x, hidden, width, activation, f"{name}_mlp")
    x = layers.Add(name=f"{name}_add_2")([x, y])
    x = layers.LayerNormalization(epsilon=epsilon, name=f"{name}_norm_2")(x)
    return layers.Multiply(name=f"{name}_mask")([x, ops.expand_dims(ops.cast(mask, x.dtype), -1)])


_EMBEDDINGS = r"^(?:\w+\.)?embeddings\."
_BERT = r"^(?:\w+\.)?encoder\.layer\.(\d+)\."
_DISTIL = r"^(?:\w+\.)?transformer\.layer\.(\d+)\."

# Names of tensors in transformers.
_TENSOR_NAMES = (
    (_EMBEDDINGS + r"word_embeddings\.", "stem_words."),
    (_EMBEDDINGS + r"position_embeddings\.", "stem_positions."),
    (_EMBEDDINGS + r"token_type_embeddings\.", "types."),
    (_EMBEDDINGS + r"LayerNorm\.", "stem_norm."),
    (_BERT + r"attention\.self\.(query|key|value)\.", r"block_\1_attention_\2."),
    (_BERT + r"attention\.output\.dense\.", r"block_\1_attention_output."),
    (_BERT + r"attention\.output\.LayerNorm\.", r"block_\1_norm_1."),
    (_BERT + r"intermediate\.dense\.", r"block_\1_mlp_1."),
    (_BERT + r"output\.dense\.", r"block_\1_mlp_2."),
    (_BERT + r"output\.LayerNorm\.", r"block_\1_norm_2."),
    (_DISTIL + r"attention\.q_lin\.", r"block_\1_attention_query."),
    (_DISTIL + r"attention\.k_lin\.", r"block_\1_attention_key."),
    (_DISTIL + r"attention\.v_lin\.", r"block_\1_attention_value."),
    (_DISTIL + r"attention\.out_lin\.", r"block_\1_attention_output."),
    (_DISTIL + r"sa_layer_norm\.", r"block_\1_norm_1."),
    (_DISTIL + r"ffn\.lin([12])\.", r"block_\1_mlp_\2."),
    (_DISTIL + r"output_layer_norm\.", r"block_\1_norm_2."),
)


def fit_text_tensors(tensors: Tensors, model: keras.Model) -> None:
    """Adds the vector of the first segment to all positions, and removes positions that are never used.

    A model of pairs keeps the vectors of both segments. DistilBERT has none, so they are zero. RoBERTa has a
    single one, which serves both segments. RoBERTa's first two positions are not those of a token: one is
    reserved, and one belongs to padding.

    Args:
        tensors: Tensors of the checkpoint, which are changed in place.
        model: Model that takes the weights.
    """
    table, types = tensors.take("stem_positions.weight"), tensors.take("types.weight")
    if table is None:
        return
    unused = len(table) - model.get_layer("stem_positions").input_dim
    table = table[2:] if unused == 2 else table
    types = np.zeros((1, table.shape[1]), table.dtype) if types is None else types
    if any(layer.name == "stem_types" for layer in model.layers):
        tensors.put("stem_types.weight", types[[0, -1]], "types.weight")
    else:
        table = table + types[0]
    tensors.put("stem_positions.weight", table, "stem_positions.weight")


_FAMILY = Family(
    "identity", pads=True, tensor_names=_TENSOR_NAMES, fit_tensors=fit_text_tensors, rate=LOW_RATE
)

# name, width, depth, heads, hidden, further arguments, parameters, licence of the weights
_ROWS = (
    ("minilm_l3", 384, 3, 12, 1536, {}, 17_241_216, "Apache-2.0"),
    ("minilm_l6", 384, 6, 12, 1536, {}, 22_564_608, "Apache-2.0"),
    ("minilm_l12", 384, 12, 12, 1536, {}, 33_211_392, "Apache-2.0"),
    ("distilbert_base", 768, 6, 12, 3072, {}, 66_362_880, "Apache-2.0"),
    ("bert_base", 768, 12, 12, 3072, {}, 108_890_112, "Apache-2.0"),
    ("roberta_base", 768, 12, 12, 3072, {"words": 50_265, "epsilon": 1e-5}, 124_052_736, "MIT"),
)

for _name, _width, _depth, _heads, _hidden, _further, _parameters, _licence in _ROWS:
    _arguments = {"width": _width, "depth": _depth, "heads": _heads, "hidden": _hidden, "name": _name}
    _facts = (_name, text_transformer, _FAMILY, 0, _parameters, "", f"stem block_0..{_depth - 1}")
    _more = {"input": "text", "arguments": _arguments | _further, "licence": _licence}
    BACKBONES.add(_name, Backbone(*_facts, **_more))
