"""The text towers of CLIP and SigLIP, which place the names of classes in the space of the images.

Sources: Radford et al. 2021 ("Learning Transferable Visual Models From Natural Language Supervision",
sections 2.4 and 3.1.4) and Zhai et al. 2023 ("Sigmoid Loss for Language Image Pre-Training").
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from tlkeras.data.tokenizer import Tokenizer
from tlkeras.errors import UserError
from tlkeras.models.backbones.registry import Backbone, Family
from tlkeras.models.backbones.transformer import block, two_tower_names
from tlkeras.models.weights.checkpoints import checkpoint_in, load_checkpoint, read_checkpoint
from tlkeras.models.weights.hub import local_path

_BLOCK = r"^text_model\.encoder\.layers\.(\d+)\."
_NAMES = (
    (r"^text_model\.embeddings\.token_embedding\.", "stem_words."),
    (r"^text_model\.embeddings\.position_embedding\.", "stem_positions."),
    *two_tower_names(_BLOCK),
    (r"^text_model\.final_layer_norm\.", "norm."),
    (r"^text_projection\.", "projection."),
    (r"^text_model\.head\.", "projection."),
)


@dataclass(frozen=True)
class SharedSpace:
    """Texts in the space that an image tower shares with its text tower.

    The logit of text `j` for an image with features `f` is `scale * cos(f @ projection, texts[j]) + bias`.

    Attributes:
        texts: Unit vectors of the texts, float32 `(n, width)`.
        projection: Projection of the features of an image, float32 `(d, width)`. None for SigLIP, whose
            features are in the shared space.
        scale: Factor of the cosine, above 0.
        bias: Constant that is added to every logit; 0 for CLIP.
    """

    texts: np.ndarray
    projection: np.ndarray | None
    scale: float
    bias: float


@lru_cache(maxsize=4)  # a model is built several times, with the same names
def class_space(
    weights: str, tokenizer: str | None, names: tuple[str, ...], prompts: tuple[str, ...]
) -> SharedSpace:
    """Returns each class as the mean of its prompts in the shared space.

    The unit vectors of all prompts of a class are averaged and the mean is scaled to length 1 (Radford et al.
    2021, section 3.1.4).

    Args:
        weights: Checkpoint of transformers with both towers: a file, a folder or `hf://ORG/NAME`.
        tokenizer: `tokenizer.json` or its folder. None for the one next to the weights.
        names: Names of the classes. Underscores are read as spaces.
        prompts: Texts in which `{}` stands for the name of a class.

    Raises:
        UserError: The checkpoint has no text tower, or there is no tokenizer.
    """
    spoken = [name.replace("_", " ") for name in names]
    space = _space_of(weights, tokenizer, [prompt.format(name) for name in spoken for prompt in prompts])
    means = space.texts.reshape(len(names), len(prompts), -1).mean(axis=1)
    return SharedSpace(_unit(means), space.projection, space.scale, space.bias)


def _space_of(weights: str, tokenizer: str | None, texts: Sequence[str]) -> SharedSpace:
    file = checkpoint_in(local_path(weights))
    arrays = {} if file is None else read_checkpoint(file)
    words = arrays.get("text_model.embeddings.token_embedding.weight")
    if file is None or words is None or "logit_scale" not in arrays:
        raise UserError(
            "The head 'class_names' needs a checkpoint of CLIP or SigLIP with the text tower, in the layout "
            f"of transformers. Received: {weights}"
        )
    length = len(arrays["text_model.embeddings.position_embedding.weight"])
    of_siglip = "text_model.head.weight" in arrays
    ids = _ids(Tokenizer.read(tokenizer or file.parent), texts, length, file.parent if of_siglip else None)
    if ids["ids"].max() >= len(words):
        raise UserError(
            f"The tokenizer does not belong to the weights, which know {len(words)} tokens. Received: token "
            f"{ids['ids'].max()}, tokenizer={tokenizer or file.parent}"
        )
    tower = _tower(arrays, file, causal=not of_siglip)
    vectors = tower.predict(ids, batch_size=64, verbose=0)
    projection = arrays.get("visual_projection.weight")
    return SharedSpace(
        texts=_unit(vectors),
        projection=None if projection is None else projection.T,
        scale=float(np.exp(arrays["logit_scale"]).item()),
        bias=float(arrays.get("logit_bias", np.zeros(1)).item()),
    )


def _ids(tokenizer: Tokenizer, texts: Sequence[str], length: int, padding: Path | None) -> dict:
    """Returns the ids `(n, length)` and the place of the token that stands for the text, one-hot.

    CLIP reads the last token of a text. SigLIP pads texts with a token that it was trained with, and reads
    the last place.

    Args:
        tokenizer: Tokenizer of the tower.
        texts: Texts to convert.
        length: Number of positions.
        padding: Folder whose tokenizer_config.json names the token of padding. None for padding with zeros.
    """
    rows = tokenizer.encode(texts, length)
    ids, mask = np.array(rows["ids"]), np.array(rows["mask"])
    last = mask.sum(axis=1) - 1
    if padding is not None:
        ids[mask == 0] = tokenizer.padding(padding)
        last = np.full(len(ids), length - 1)
    return {"ids": ids, "last": np.eye(length, dtype="float32")[last]}


def _tower(arrays: dict[str, np.ndarray], file: Path, *, causal: bool) -> keras.Model:
    """Returns the text tower with its weights: from ids and the place of the pooled token to vectors."""
    words, width = arrays["text_model.embeddings.token_embedding.weight"].shape
    length = len(arrays["text_model.embeddings.position_embedding.weight"])
    depth = 1 + max(int(found[1]) for name in arrays if (found := re.match(_BLOCK, name)))
    out = arrays["text_projection.weight" if causal else "text_model.head.weight"].shape[0]
    hidden = arrays["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0]
    stated = _stated(file)
    settings = {
        "heads": stated.get("num_attention_heads", width // 64),
        "hidden": hidden,
        "activation": _ACTIVATIONS[stated.get("hidden_act", "quick_gelu" if causal else "gelu_pytorch_tanh")],
        "epsilon": stated.get("layer_norm_eps", 1e-5 if causal else 1e-6),
    }
    ids = keras.Input((length,), dtype="int32", name="ids")
    last = keras.Input((length,), name="last")
    place = ops.cumsum(ops.ones_like(ids), axis=1) - 1
    x = layers.Embedding(words, width, name="stem_words")(ids)
    x = layers.Add()([x, layers.Embedding(length, width, name="stem_positions")(place)])
    # a token of CLIP sees only those before it
    mask = np.tri(length, dtype=bool)[None, None] if causal else None
    for i in range(depth):
        x = block(x, f"block_{i}", layer_scale=False, drop=(0.0, i, depth), mask=mask, **settings)
    x = layers.LayerNormalization(epsilon=settings["epsilon"], name="norm")(x)
    x = ops.einsum("bt,btd->bd", last, x)
    x = layers.Dense(out, use_bias=not causal, name="projection")(x)
    tower = keras.Model({"ids": ids, "last": last}, x, name="text_tower")
    family = Family(tensor_names=_NAMES, stated_epsilon="$^")
    load_checkpoint(tower, Backbone("the text tower", _tower, family, 0, None, "", ""), file)
    return tower


# activations of transformers, by the names that `block` knows
_ACTIVATIONS = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh"}


def _stated(file: Path) -> dict:
    """Returns what `config.json` states about the text tower."""
    try:
        return json.loads((file.parent / "config.json").read_text("utf-8")).get("text_config") or {}
    except (OSError, ValueError):
        return {}


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype("float32")
