"""Patch dropout: a step of a vision transformer sees a random part of each image's patches."""

from keras import ops

from tlkeras.backend.replica_randomness import uniform_of_rows
from tlkeras.errors import UserError
from tlkeras.methods.regularize.base import REGULARIZERS, Regularizer
from tlkeras.methods.term import Setting
from tlkeras.models.backbones.rotary import has_rotary_positions


@REGULARIZERS.register("patch_dropout")
class PatchDropout(Regularizer):
    """In each step every image loses a random part of its patches (Liu et al. 2023, "PatchDropout:
    Economizing Vision Transformers Using Patch Dropout", section 3).

    The patches are left out where the trained part begins: behind the embedding of patches and positions, or
    in front of the first trained block. The class token and registers stay. Attention and MLP then have fewer
    tokens, so a step takes less time and memory. Validation, the saved model and exports use all patches.
    Before the pooling, the mean of the patches that are left stands for each of the others. With gradient
    accumulation, the n-th rows of the batches of one update keep the same places.

    Args:
        weight: Part of the patches that is left out, below 1. At least one is kept.
    """

    default_weight = 0.5
    passes_rows = True

    def __init__(self, weight: float | None = None):
        super().__init__(weight)
        if self.weight >= 1:
            raise UserError(f"patch_dropout's weight is a part below 1. Received: weight={weight}")

    def act_on(self, setting: Setting) -> None:
        """Counts the patches, and finds out where they are left out."""
        backbone, tail = setting.model.backbone, setting.model.tail
        layers = {layer.name: layer for layer in backbone.layers}
        if "stem_rows" not in layers or has_rotary_positions(backbone):
            raise UserError(
                "patch_dropout needs a vision transformer with a table of positions (vit, deit, dinov2, "
                f"clip, siglip). Received: {backbone.name}"
            )
        if any(layer.name == "neck_flatten" for layer in setting.model.neck.layers):
            raise UserError(
                "patch_dropout changes the order of the patches, which the pooling 'flatten' needs. "
                "Received: neck.pooling='flatten'"
            )
        rows, _, columns, _ = layers["stem_rows"].target_shape
        self._patches, self._seed = rows * columns, setting.seed
        self._kept = max(1, round((1 - self.weight) * self._patches))
        self._embeds = any(layer.name == "stem" for layer in tail.layers)

    def forward(self, model, x, step):
        """Returns features and logits for the patches that are kept."""
        x = model.before_tail(x)
        if not self._embeds:
            x = self._without_some(x, step)

        def instead(operation):
            if operation.name != "stem":
                return operation
            return lambda *args, **kwargs: self._without_some(operation(*args, **kwargs), step)

        x = model.through_tail(x, training=True, instead=instead)
        features = model.neck(self._filled(x), training=True)
        return features, model.classify(features, training=True)

    def _without_some(self, tokens, step):
        """Returns the tokens before the patches and a random choice of the patches, `(b, fewer, width)`."""
        prefix = tokens.shape[1] - self._patches
        draw = uniform_of_rows(ops.shape(tokens)[0], self._patches, self._seed, step)
        chosen = ops.top_k(draw, self._kept, sorted=False)[1]
        patches = ops.take_along_axis(tokens[:, prefix:], chosen[:, :, None], axis=1)
        return ops.concatenate([tokens[:, :prefix], patches], axis=1)

    def _filled(self, tokens):
        """Returns as many tokens as without dropout, or the vector that a model has already pooled."""
        if len(tokens.shape) == 2:
            return tokens
        mean = ops.mean(tokens[:, -self._kept :], axis=1, keepdims=True)
        return ops.concatenate([tokens, ops.repeat(mean, self._patches - self._kept, axis=1)], axis=1)
