"""What a way of regularised fine-tuning is made of."""

from collections.abc import Mapping

from tlkeras.errors import UserError
from tlkeras.methods.term import Setting, Term
from tlkeras.registry import Registry


class Regularizer(Term):
    """A term that keeps more of the source; this base class is plain fine-tuning.

    Attributes:
        default_weight: The weight where the config leaves it open.
        needs_backbone: Whether it is senseless on a stage that trains only neck and head.

    Args:
        weight: The factor of `loss`, or what the subclass says.
    """

    default_weight = 0.01
    needs_backbone = True

    def __init__(self, weight: float | None = None):
        super().__init__("regularizer")
        self.weight = self.default_weight if weight is None else float(weight)

    @property
    def name(self) -> str:
        """The registered name."""
        return next((n for n in REGULARIZERS.names() if REGULARIZERS.get(n) is type(self)), "regularizer")

    def prepare(self, setting: Setting) -> None:
        """Checks that there is something to act on, and calls `act_on`.

        Raises:
            UserError: It acts on the backbone, of which the stage trains nothing.
        """
        if self.needs_backbone and not setting.backbone_variables:
            raise UserError(
                "This regularizer acts on the backbone, of which this stage trains nothing: open blocks "
                f"(train='last:1') or drop it. Received: train={setting.stage.train!r}, "
                f"regularizer={self.name!r}"
            )
        self.act_on(setting)

    def act_on(self, setting: Setting) -> None:
        """Takes what it needs from the model as the stage begins."""


REGULARIZERS: Registry[type[Regularizer]] = Registry("regularizer")


def make_regularizer(name: str, weight: float | None = None, options: Mapping | None = None) -> Regularizer:
    """Returns a regularizer by name.

    Raises:
        UserError: An unknown name, or options that it does not have.
    """
    kind = REGULARIZERS.get(name)
    try:
        return kind(weight, **(options or {}))
    except TypeError as error:
        raise UserError(
            f"The regularizer {name} refuses its options: {error}. Received: {options}"
        ) from error
