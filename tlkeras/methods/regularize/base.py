"""The base class of regularizers."""

from collections.abc import Mapping

from tlkeras.errors import UserError
from tlkeras.methods.term import Setting, Term
from tlkeras.registry import Registry


class Regularizer(Term):
    """A term that keeps more of the pretrained model. This base class is plain fine-tuning.

    Attributes:
        default_weight: Weight if the config has none.
        needs_backbone: Whether the stage must train a part of the backbone.

    Args:
        weight: Factor of `loss`, or another meaning that the subclass defines. None uses the default.
    """

    default_weight = 0.01
    needs_backbone = True

    def __init__(self, weight: float | None = None):
        super().__init__("regularizer")
        self.weight = self.default_weight if weight is None else float(weight)

    @property
    def name(self) -> str:
        """Registered name."""
        return next((n for n in REGULARIZERS.names() if REGULARIZERS.get(n) is type(self)), "regularizer")

    def prepare(self, setting: Setting) -> None:
        """Checks that the stage trains what the regularizer needs, and calls `act_on`.

        Args:
            setting: Model, stage and data with which the regularizer trains.

        Raises:
            UserError: The regularizer needs the backbone, and the stage trains no part of it.
        """
        if self.needs_backbone and not setting.backbone_variables:
            raise UserError(
                "This regularizer acts on the backbone, but this stage trains no part of it: train "
                "blocks (train='last:1') or remove the regularizer. Received: "
                f"train={setting.stage.train!r}, regularizer={self.name!r}"
            )
        self.act_on(setting)

    def act_on(self, setting: Setting) -> None:
        """Prepares the regularizer for the model at the beginning of the stage.

        Args:
            setting: See `prepare`.
        """


REGULARIZERS: Registry[type[Regularizer]] = Registry("regularizer")
"""Regularizers that `stages.N.regularizer.name` can name."""


def make_regularizer(name: str, weight: float | None = None, options: Mapping | None = None) -> Regularizer:
    """Returns the regularizer with a registered name.

    Args:
        name: Registered name.
        weight: Factor of its loss, at least 0, or None for the default of the regularizer.
        options: Further settings, or None.

    Raises:
        UserError: The name or an option is unknown.
    """
    kind = REGULARIZERS.get(name)
    try:
        return kind(weight, **(options or {}))
    except TypeError as error:
        raise UserError(
            f"The regularizer {name} refuses its options: {error}. Received: {options}"
        ) from error
