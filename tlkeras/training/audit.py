"""The audit of a stage: digests prove that no frozen variable changed."""

import hashlib

import keras
from keras import ops

from tlkeras.errors import RunError
from tlkeras.models.cuts.graph import leaf_layers


def frozen_variables(model, selection) -> list:
    """Returns the backbone variables that a stage must not change.

    These are all variables of layers that are not opened, the BatchNormalization statistics unless
    `bn="train"`, and gamma and beta with `bn="frozen"`. States of random generators may change. The choice
    follows from the selection and not from the trainable flags of layers, so that the audit finds wrong
    flags.

    Args:
        model: Transfer model.
        selection: Selection that `model.select` returned.
    """
    frozen = []
    for layer in leaf_layers([model.backbone]):
        if isinstance(layer, keras.Model):  # its layers are in the list as well
            continue
        own = [v for v in layer.variables if not is_seed(v)]
        if layer.name not in selection.layers:
            frozen += own
        elif isinstance(layer, keras.layers.BatchNormalization):
            statistics = [layer.moving_mean, layer.moving_variance]
            frozen += {"frozen": own, "inference": statistics, "train": []}[selection.bn]
    return frozen


def is_seed(variable) -> bool:
    """Whether a variable is the state of a random generator."""
    return "seed" in variable.path.rsplit("/", 1)[-1]


class FreezeAudit:
    """Digests of the frozen and of the trainable variables, taken before a stage.

    Args:
        model: Transfer model.
        selection: Selection of the variables that the stage trains.
        stage_name: Name of the stage in errors.
    """

    def __init__(self, model, selection, stage_name: str):
        self.stage_name = stage_name
        self.frozen = frozen_variables(model, selection)
        self.trainable = list(model.trainable_variables)
        self._frozen_before = [digest(v) for v in self.frozen]
        self._trainable_before = [digest(v) for v in self.trainable]

    def check(self) -> None:
        """Raises `RunError` if a frozen variable changed, or if no variable was trained."""
        moved = [
            v.path for v, before in zip(self.frozen, self._frozen_before, strict=True) if digest(v) != before
        ]
        if moved:
            raise RunError(
                f"Stage {self.stage_name!r} changed {len(moved)} frozen variables. The first is "
                f"{moved[0]}. The result does not follow the config, because the code of the model has an "
                "error."
            )
        still = all(
            digest(v) == before for v, before in zip(self.trainable, self._trainable_before, strict=True)
        )
        if self.trainable and still:
            raise RunError(f"Stage {self.stage_name!r} changed none of its {len(self.trainable)} variables.")


def digest(variable) -> bytes:
    """Returns the sha256 digest of the values of a variable."""
    return hashlib.sha256(ops.convert_to_numpy(variable).tobytes()).digest()
