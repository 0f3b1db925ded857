"""The parts that all transformers share: patches, blocks, and the names of their weights in other libraries.

The models consist of Keras' own layers, with one layer for each projection. Freezing, digests, learning rates
and LoRA work layer by layer, and Keras' MultiHeadAttention hides its projections in one layer. ViT
(Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 3.1) and its descendants differ only in the
arguments of `vision_transformer`.
"""

from __future__ import annotations

import math

import numpy as np

from tlkeras.models.backbones.parts import channel_scale, drop_path, keras, layers, ops, small_normal
from tlkeras.models.backbones.registry import LOW_RATE
from tlkeras.models.backbones.rotary import Rotation, has_rotary_positions
from tlkeras.models.weights.positions import resized_grid, resized_positions
from tlkeras.models.weights.tensors import Tensors


def vision_transformer(
    input_shape: tuple[int, int, int],
    *,
    width: int,
    depth: int,
    heads: int,
    patch: int,
    prefix_tokens: int = 1,
    mlp_ratio: float = 4.0,
    activation: str = "gelu",
    layer_scale: float = 0.0,
    norm_first: bool = False,
    attention_pool: bool = False,
    rotary: float = 0.0,
    epsilon: float = 1e-6,
    drop_path_rate: float = 0.0,
    name: str = "vision_transformer",
) -> keras.Model:
    """Returns a vision transformer from normalised images to tokens.

    The first layer with weights, `stem`, embeds the patches. Its bias is a table with one row for each token.
    The first rows are the class token and the registers, whose inputs are zeros. The other rows are the
    positions of the patches; with `rotary` and the weights of a checkpoint they are alike at first.

    Args:
        input_shape: Shape of an image, `(height, width, 3)`. Both sides are multiples of `patch`.
        width: Length of a token's vector.
        depth: Number of blocks.
        heads: Number of attention heads, a divisor of `width`.
        patch: Side of a patch in pixels.
        prefix_tokens: Number of tokens before those of the patches: class token, distillation token,
            registers.
        mlp_ratio: Width of the hidden layer of each block's MLP, as a multiple of `width`.
        activation: Activation of each block's MLP: `gelu`, `gelu_tanh` or `quick_gelu`.
        layer_scale: First value of the learned factor per channel in which each branch ends (Touvron et al.
            2021, "Going deeper with Image Transformers", section 2). 0 stands for no such factor.
        norm_first: Whether the tokens are normalised before the first block, as in CLIP.
        attention_pool: Whether a learned query pools the tokens at the end, as in SigLIP.
        rotary: Base of the angles of rotary positions, as in DINOv3, whose keys have no bias. 0 stands for
            the table of positions.
        epsilon: Epsilon of every LayerNormalization.
        drop_path_rate: Stochastic depth of the last block (Huang et al. 2016); earlier blocks have
            proportionally less.
        name: Name of the model.

    Returns:
        A functional model. Its outputs have the shape `(batch, prefix_tokens + patches, width)`, or
        `(batch, width)` with `attention_pool`.

    Raises:
        ValueError: The side of the image is not a multiple of the patch, or the width is not a multiple of
            the number of heads (with `rotary`, of four times that number).
    """
    if input_shape[0] % patch or input_shape[1] % patch:
        raise ValueError(
            f"both sides of the image must be multiples of the patch, {patch} pixels. "
            f"Received: image_size={list(input_shape[:2])}"
        )
    if width % heads:
        raise ValueError(f"heads must divide the width. Received: width={width}, heads={heads}")
    if rotary and width // heads % 4:
        raise ValueError(
            "rotary positions need width / heads to be a multiple of 4. "
            f"Received: width={width}, heads={heads}"
        )
    settings = {"heads": heads, "hidden": round(mlp_ratio * width), "activation": activation}
    settings |= {"layer_scale": layer_scale, "epsilon": epsilon}
    grid = input_shape[0] // patch, input_shape[1] // patch
    rotation = Rotation(*grid, prefix_tokens, rotary) if rotary else None
    inputs = keras.Input(input_shape, name="backbone_inputs")
    x = _embed(inputs, patch, width, prefix_tokens)
    if norm_first:
        x = layers.LayerNormalization(epsilon=epsilon, name="stem_norm")(x)
    for i in range(depth):
        x = block(x, f"block_{i}", drop=(drop_path_rate, i, depth), rotation=rotation, **settings)
    x = layers.LayerNormalization(epsilon=epsilon, name="norm")(x)
    if attention_pool:
        x = _attention_pool(x, **{k: settings[k] for k in ("heads", "hidden", "activation", "epsilon")})
    return keras.Model(inputs, x, name=name)


def _embed(x, patch: int, width: int, prefix_tokens: int):
    """Returns the tokens of images, `(b, t, width)`."""
    height, long, channels = x.shape[1:]
    rows, columns = height // patch, long // patch
    x = layers.Reshape((rows, patch, columns, patch * channels), name="stem_rows")(x)
    x = layers.Permute((1, 3, 2, 4), name="stem_grid")(x)
    x = layers.Reshape((rows * columns, patch * patch * channels), name="stem_patches")(x)
    if prefix_tokens:
        x = layers.ZeroPadding1D((prefix_tokens, 0), name="stem_prefix")(x)
    shape = (prefix_tokens + rows * columns, width)
    return _linear(x, "btp,pd->btd", shape, "td", "stem", bias_initializer=small_normal())


def block(x, name: str, heads, hidden, activation, layer_scale, epsilon, drop, mask=None, rotation=None):
    """Returns the tokens after one pre-norm block: attention, then an MLP, each added to its input.

    Args:
        x: Tokens, `(b, t, width)`.
        name: Start of the names of the layers.
        heads: Number of attention heads.
        hidden: Width of the hidden layer of the MLP.
        activation: Activation of the MLP.
        layer_scale: First value of the factor per channel in which each branch ends; 0 for none.
        epsilon: Epsilon of both LayerNormalizations.
        drop: Stochastic depth as arguments of `drop_path`: last rate, index and count.
        mask: Boolean mask of the attention, which broadcasts to `(b, heads, t, t)`; see `self_attention`.
        rotation: Rotary positions; see `self_attention`.
    """
    width = x.shape[-1]

    def added(x, branch, part):
        if layer_scale:
            branch = channel_scale(branch, layer_scale, f"{name}_scale_{part}")
        branch = drop_path(branch, *drop, name=f"{name}_drop_{part}")
        return layers.Add(name=f"{name}_add_{part}")([x, branch])

    y = layers.LayerNormalization(epsilon=epsilon, name=f"{name}_norm_1")(x)
    x = added(x, self_attention(y, heads, f"{name}_attention", mask, rotation), 1)
    y = layers.LayerNormalization(epsilon=epsilon, name=f"{name}_norm_2")(x)
    return added(x, mlp(y, hidden, width, activation, f"{name}_mlp"), 2)


def self_attention(x, heads: int, name: str, mask=None, rotation: Rotation | None = None):
    """Returns the tokens after self-attention.

    Args:
        x: Tokens, `(b, t, width)`.
        heads: Number of attention heads.
        name: Start of the names of the layers.
        mask: Boolean mask that broadcasts to `(b, heads, t, t)`, true where a token attends to another. None
            stands for all tokens.
        rotation: Turns queries and keys by the places of the tokens. The keys then have no bias.
    """
    tokens, width = x.shape[1:]
    shape = (tokens, heads, width // heads)
    query, key, value = (
        _linear(x, "btd,dnh->btnh", shape, bias, f"{name}_{part}")
        for part, bias in (("query", "nh"), ("key", None if rotation else "nh"), ("value", "nh"))
    )
    if rotation:
        query, key = rotation(query, key)
    x = ops.dot_product_attention(query, key, value, mask=mask)
    return _linear(x, "btnh,nhd->btd", (tokens, width), "d", f"{name}_output")


def mlp(x, hidden: int, width: int, activation: str, name: str):
    """Returns the output of two dense layers with an activation between them.

    Args:
        x: Tokens, `(b, t, d)`.
        hidden: Width of the first layer.
        width: Width of the second layer.
        activation: Activation: `gelu`, `gelu_tanh`, `quick_gelu`, or a name of Keras.
        name: Start of the names of the layers.
    """
    x = layers.Dense(hidden, kernel_initializer=small_normal(), name=f"{name}_1")(x)
    if activation == "quick_gelu":  # x * sigmoid(1.702 x), CLIP's approximation
        gate = layers.Rescaling(1.702, name=f"{name}_gate_scale")(x)
        gate = layers.Activation("sigmoid", name=f"{name}_gate")(gate)
        x = layers.Multiply(name=f"{name}_activation")([x, gate])
    elif activation == "gelu_tanh":
        x = ops.gelu(x, approximate=True)
    else:
        x = layers.Activation(activation, name=f"{name}_activation")(x)
    return layers.Dense(width, kernel_initializer=small_normal(), name=f"{name}_2")(x)


def _attention_pool(x, heads: int, hidden: int, activation: str, epsilon: float):
    """Returns one vector per example: a learned query attends to all tokens.

    Source: Zhai et al. 2022, "Scaling Vision Transformers", section 3.3. The weights hold the query after its
    projection.
    """
    tokens, width = x.shape[1:]
    size = width // heads
    key = _linear(x, "btd,dnh->btnh", (tokens, heads, size), "nh", "pool_key")
    value = _linear(x, "btd,dnh->btnh", (tokens, heads, size), "nh", "pool_value")
    scores = layers.EinsumDense(
        "btnh,nh->bnt", output_shape=(heads, tokens), kernel_initializer=small_normal(), name="pool_query"
    )(key)
    scores = layers.Rescaling(size**-0.5, dtype="float32", name="pool_scores")(scores)
    weights = layers.Softmax(dtype="float32", name="pool_weights")(scores)
    x = ops.einsum("bnt,btnh->bnh", ops.cast(weights, value.dtype), value)
    x = _linear(x, "bnh,nhd->bd", (width,), "d", "pool_output")
    y = layers.LayerNormalization(epsilon=epsilon, name="pool_norm")(x)
    return layers.Add(name="pool_add")([x, mlp(y, hidden, width, activation, "pool_mlp")])


def _linear(x, equation: str, shape: tuple, bias_axes: str | None, name: str, **options):
    options = {"kernel_initializer": small_normal(), **options}
    return layers.EinsumDense(equation, shape, bias_axes=bias_axes, name=name, **options)(x)


_TOWER = r"^(?:(?!text_model\.)\w+\.)?"  # of a pair of towers, that of the images
_HF = _TOWER + r"(?:vision_model\.)?encoder\.layers?\.(\d+)\."
_DINOV3 = r"^(?:model\.)?layer\.(\d+)\."
_TIMM = r"^(?:visual\.)?(?:trunk\.)?blocks\.(\d+)\."


def two_tower_names(start: str) -> tuple[tuple[str, str], ...]:
    """Returns the names in transformers of the tensors of a block of CLIP or SigLIP, of either tower.

    Args:
        start: Pattern of the names up to the part of the block, with the number of the block as its group.
    """
    return (
        (start + r"layer_norm([12])\.", r"block_\1_norm_\2."),
        (start + r"self_attn\.q_proj\.", r"block_\1_attention_query."),
        (start + r"self_attn\.k_proj\.", r"block_\1_attention_key."),
        (start + r"self_attn\.v_proj\.", r"block_\1_attention_value."),
        (start + r"self_attn\.out_proj\.", r"block_\1_attention_output."),
        (start + r"mlp\.fc([12])\.", r"block_\1_mlp_\2."),
    )


# Names of tensors in timm, in Meta's files, and in transformers (ViT, DeiT, DINOv2, DINOv3; CLIP, SigLIP).
TENSOR_NAMES = (
    (r"^patch_embed\.proj\.", "patches."),
    (_TOWER + r"embeddings\.patch_embeddings\.(?:projection\.)?", "patches."),
    (_TOWER + r"embeddings\.patch_embedding\.", "patches."),
    (r"^pos_embed$", "timm_positions"),
    (_TOWER + r"embeddings\.position_embeddings$", "positions"),
    (_TOWER + r"embeddings\.position_embedding\.weight$", "positions"),
    (r"^(?:(?:\w+\.)?embeddings\.)?(?:cls_token|class_embedding)$", "class_token"),
    (r"^(?:(?:\w+\.)?embeddings\.)?(?:dist_token|distillation_token)$", "distillation_token"),
    (r"^(?:(?:\w+\.)?embeddings\.)?(?:reg_token|register_tokens|storage_tokens)$", "registers"),
    (r"^(?:(?:\w+\.)?embeddings\.)?mask_token$", "mask_token"),
    (r"^norm_pre\.|^(?:\w+\.)?pre_layrnorm\.", "stem_norm."),
    (_TIMM + r"norm([12])\.", r"block_\1_norm_\2."),
    (_TIMM + r"attn\.qkv\.(?!bias_mask)", r"block_\1_attention_qkv."),
    (_TIMM + r"attn\.proj\.", r"block_\1_attention_output."),
    (_TIMM + r"(?:ls([12])\.gamma|gamma_([12]))$", r"block_\1_scale_\2\3.weight"),
    (_TIMM + r"attn\.q_bias$", r"block_\1_attention_query.bias"),
    (_TIMM + r"attn\.v_bias$", r"block_\1_attention_value.bias"),
    (_TIMM + r"mlp\.fc([12])\.", r"block_\1_mlp_\2."),
    *two_tower_names(_HF),
    (_DINOV3 + r"norm([12])\.", r"block_\1_norm_\2."),
    (_DINOV3 + r"attention\.q_proj\.", r"block_\1_attention_query."),
    (_DINOV3 + r"attention\.k_proj\.", r"block_\1_attention_key."),
    (_DINOV3 + r"attention\.v_proj\.", r"block_\1_attention_value."),
    (_DINOV3 + r"attention\.o_proj\.", r"block_\1_attention_output."),
    (_DINOV3 + r"layer_scale([12])\.lambda1$", r"block_\1_scale_\2.weight"),
    (_DINOV3 + r"mlp\.up_proj\.", r"block_\1_mlp_1."),
    (_DINOV3 + r"mlp\.down_proj\.", r"block_\1_mlp_2."),
    (_HF + r"(?:layernorm_before|norm1)\.", r"block_\1_norm_1."),
    (_HF + r"(?:layernorm_after|norm2)\.", r"block_\1_norm_2."),
    (_HF + r"attention\.attention\.(query|key|value)\.", r"block_\1_attention_\2."),
    (_HF + r"attention\.output\.dense\.", r"block_\1_attention_output."),
    (_HF + r"layer_scale([12])\.lambda1$", r"block_\1_scale_\2.weight"),
    (_HF + r"intermediate\.dense\.", r"block_\1_mlp_1."),
    (_HF + r"output\.dense\.", r"block_\1_mlp_2."),
    (r"^norm\.|^(?:(?!head\.)\w+\.)?layernorm\.|^(?:\w+\.)?post_layernorm\.", "norm."),
    (r"^attn_pool\.latent$|^(?:\w+\.)?head\.probe$", "pool_probe"),
    (r"^attn_pool\.(q|kv)\.", r"pool_\1."),
    (r"^(?:\w+\.)?head\.attention\.in_proj_", "pool_qkv."),
    (r"^(?:attn_pool\.proj|(?:\w+\.)?head\.attention\.out_proj)\.", "pool_output."),
    (r"^(?:attn_pool\.norm|(?:\w+\.)?head\.layernorm)\.", "pool_norm."),
    (r"^(?:attn_pool\.|(?:\w+\.)?head\.)mlp\.fc([12])\.", r"pool_mlp_\1."),
)


def fit_tensors(tensors: Tensors, model: keras.Model) -> None:
    """Changes the tensors of a vision transformer's checkpoint to one weight and one bias for each layer.

    The function splits fused projections. It puts patch embedding, positions, class token and registers
    together in `stem` and resizes the positions to the grid of the model. It projects the query that pools; a
    model that does not pool has no place for it, and the tensors of the pooling are left out.

    Args:
        tensors: Tensors of the checkpoint, which are changed in place.
        model: Model that takes the weights.

    Raises:
        ValueError: The model has another number of tokens before those of the patches.
    """
    for name in [n for n in tensors if "_attention_qkv." in n]:
        tensors.split(name, [name.replace("qkv", part) for part in ("query", "key", "value")])
    rotary = has_rotary_positions(model)
    if rotary:
        _fit_rotary(tensors, model)
    if "patches.weight" in tensors and (rotary or "positions" in tensors or "timm_positions" in tensors):
        _fit_stem(tensors, model)
    if all(layer.name != "pool_query" for layer in model.layers):
        for name in [n for n in tensors if n.startswith("pool_")]:
            tensors.take(name)
    elif "pool_probe" in tensors:
        _fit_pool(tensors)


def _fit_rotary(tensors: Tensors, model: keras.Model) -> None:
    """Gives zeros to the projections of DINOv3 that have no bias in timm.

    Meta's checkpoints have a bias for keys, too, which a mask sets to zero.
    """
    masked = any(name.endswith(".bias_mask") for name in tensors.unused)
    for layer in model.layers:
        if masked and layer.name.endswith("_attention_key"):
            tensors.take(f"{layer.name}.bias")
        if layer.name.endswith(("_attention_query", "_attention_value")):
            zeros = np.zeros(np.prod(layer.bias.shape), "float32")
            tensors.setdefault(f"{layer.name}.bias", zeros)


def _fit_stem(tensors: Tensors, model: keras.Model) -> None:
    _, rows, _, columns, _ = model.get_layer("stem_rows").output.shape
    patches = tensors["patches.weight"]
    width = len(patches)
    names = ("class_token", "distillation_token", "registers")
    has_registers = "registers" in tensors
    tokens = [x.reshape(-1, width) for x in map(tensors.take, names) if x is not None]
    prefix = np.concatenate([*tokens, np.zeros((0, width), "float32")])
    expected = model.get_layer("stem").output.shape[1] - rows * columns
    if len(prefix) != expected:
        raise ValueError(
            f"it has {len(prefix)} tokens before those of the patches, but {model.name} has {expected}"
        )
    of_meta = tensors.take("mask_token") is not None
    in_timm = "timm_positions" in tensors
    table = tensors.take("timm_positions" if in_timm else "positions")
    # timm always antialiases. DINOv2 (Meta's, and in transformers) does it only if it has registers. Without
    # registers, Meta's own code adds an offset to the new size.
    antialias = (in_timm and not of_meta) or has_registers
    offset = 0.1 if in_timm and of_meta and not has_registers else 0.0
    if table is None:  # rotary positions
        table = np.zeros((rows * columns, width), "float32")
    else:
        table = resized_positions(table.reshape(-1, width), rows, columns, antialias, offset)
    with_position = len(table) - rows * columns
    prefix[:with_position] += table[:with_position]
    bias = tensors.take("patches.bias", np.zeros(width, "float32"))
    tensors.put("stem.bias", np.concatenate([prefix, table[with_position:] + bias]), "positions")
    flat = tensors.take("patches.weight").transpose(0, 2, 3, 1).reshape(width, -1)
    tensors.put("stem.weight", flat, "patches.weight")


def fit_positions(name: str, layers: dict, given: dict) -> list[np.ndarray] | None:
    """Returns the weights of the stem of a network for images of another size, with resized positions.

    Args:
        name: Name of a layer. None is returned for all but the stem.
        layers: Layers of the network by name.
        given: Layers of the network that has the weights.
    """
    if name != "stem" or "stem_rows" not in given:
        return None
    kernel, table = given[name].get_weights()
    grid, before = (found["stem_rows"].target_shape[::2] for found in (layers, given))
    prefix = len(table) - math.prod(before)
    shapes = [tuple(weight.shape) for weight in layers[name].weights]
    if shapes != [kernel.shape, (prefix + math.prod(grid), table.shape[1])]:
        return None
    patches = resized_grid(table[prefix:].reshape(*before, -1), *grid, antialias=True)
    return [kernel, np.concatenate([table[:prefix], patches])]


def _fit_pool(tensors: Tensors) -> None:
    """Replaces the query by its projection, which is computed in float64."""
    for name in [n for n in tensors if n.startswith(("pool_qkv.", "pool_kv."))]:
        letters = name.partition(".")[0].removeprefix("pool_")
        parts = {"q": "pool_q", "k": "pool_key", "v": "pool_value"}
        tensors.split(name, [f"{parts[letter]}.{name.partition('.')[2]}" for letter in letters])
    probe = tensors.take("pool_probe").ravel().astype("float64")
    weight, bias = tensors.take("pool_q.weight"), tensors.take("pool_q.bias")
    tensors.put("pool_query.weight", (weight @ probe + bias).astype("float32"), "pool_probe")


# what the families of vision transformers share of `Family`: how weights of other files and networks are
# read, and how fast they are fine-tuned
OF_TRANSFORMERS = {
    "tensor_names": TENSOR_NAMES, "fit_tensors": fit_tensors, "fit_layer": fit_positions, "rate": LOW_RATE,
}  # fmt: skip
