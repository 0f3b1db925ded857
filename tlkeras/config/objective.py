"""Config of the loss of a stage and of the metrics in addition to the usual ones."""

from typing import Any

from tlkeras.config.base import Config, Named

# Losses, metrics and backbones that were passed from Python are recorded under names that begin so.
FROM_PYTHON = "python:"


class LossConfig(Config):
    """The loss of a stage. `tlkeras list losses` prints all.

    Attributes:
        name: Registered name: `cross_entropy`, `focal`, `huber`, ... A loss that was passed from Python is
            recorded as `python:CLASS`.
        options: Keyword arguments of the loss, e.g. `{"gamma": 2.0}`.
    """

    name: str
    options: dict[str, Any] = {}

    @property
    def is_from_python(self) -> bool:
        """Whether the loss is an object that a caller passed."""
        return self.name.startswith(FROM_PYTHON)


class MetricConfig(Named):
    """A metric that is computed in addition to the usual ones. `tlkeras list metrics` prints all.

    A text is a metric without options.

    Attributes:
        name: Registered name: `auc`, `balanced_accuracy`, `cohen_kappa`, ... or the name of a Keras metric
            that is passed from Python. It is also the name in logs, and `val_NAME` is its value on the
            validation rows.
        options: Keyword arguments of the metric, e.g. `{"beta": 2.0}`.
    """


# Words in the names of metrics of which a smaller value is better.
_LOWER = ("loss", "error", "mae", "mse", "mape", "crossentropy", "divergence", "hinge", "poisson", "brier")


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of the metric of this name is better."""
    return any(word in metric for word in _LOWER)
