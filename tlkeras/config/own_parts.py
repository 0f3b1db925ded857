"""Objects that a caller passes from Python instead of names in a config: backbone, loss, metrics and
callbacks.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkeras.config.experiment import ExperimentConfig
from tlkeras.config.objective import FROM_PYTHON, LossConfig, MetricConfig
from tlkeras.errors import UserError

BACKBONE_FILE = "backbone.keras"  # in the run directory


@dataclass(frozen=True)
class OwnParts:
    """The objects of one call of `run_experiment`.

    Attributes:
        backbone: Functional Keras model that is the backbone, or None.
        loss: Keras loss on logits that replaces the loss of all stages, or None.
        metrics: Keras metrics, whose names are among `config.metrics`.
        callbacks: Keras callbacks of all stages that train by gradient.
    """

    backbone: Any = None
    loss: Any = None
    metrics: tuple = ()
    callbacks: tuple = ()


def with_own_parts(
    config: ExperimentConfig,
    workdir: str | os.PathLike = "",
    *,
    backbone: Any = None,
    loss: Any = None,
    metrics: Sequence[Any] = (),
    callbacks: Sequence[Any] = (),
) -> tuple[ExperimentConfig, OwnParts]:
    """Records objects that were passed from Python in a config.

    Args:
        config: Config of the experiment.
        workdir: Run directory, which keeps the backbone in a file.
        backbone: Functional Keras model. Its weights are used unless `config.model.weights` is None.
        loss: Registered name, or a Keras loss that takes logits.
        metrics: Registered names and Keras metrics. A metric whose name is in the config replaces the
            registered metric of that name.
        callbacks: Keras callbacks.

    Returns:
        Config with the names of the objects, and the objects themselves.

    Raises:
        UserError: The loss takes probabilities, two metrics have the same name, the config names a loss from
            Python that was not passed, or an object has another type.
    """
    if backbone is not None:
        config = _with_backbone(config, backbone, backbone_file(workdir))
    if loss is not None:
        named = LossConfig(name=loss if isinstance(loss, str) else _recorded(loss))
        config = config.model_copy(update={"stages": tuple(_with_loss(s, named) for s in config.stages)})
    objects = tuple(metric for metric in metrics if not isinstance(metric, str))
    for metric in objects:
        if not hasattr(metric, "update_state"):
            raise UserError(
                "metrics must be names of `tlkeras list metrics` or Keras metrics. Received: "
                f"{type(metric).__name__}"
            )
    known = {metric.name for metric in config.metrics}
    added = [metric if isinstance(metric, str) else metric.name for metric in metrics]
    further = tuple(MetricConfig(name=name) for name in added if name not in known)
    for name in added:
        if added.count(name) > 1:
            raise UserError(f"metrics must have different names. Received: {', '.join(added)}")
    own = OwnParts(backbone, None if isinstance(loss, str) else loss, objects, tuple(callbacks))
    for callback in callbacks:
        if not hasattr(callback, "on_epoch_end"):
            raise UserError(f"callbacks must be Keras callbacks. Received: {type(callback).__name__}")
    _require_passed(config, own)
    return config.model_copy(update={"metrics": config.metrics + further}), own


def backbone_file(workdir: str | os.PathLike) -> str:
    """Returns the path of the file in which a run keeps the backbone that was passed."""
    return str(Path(workdir).absolute() / BACKBONE_FILE)


def _with_backbone(config: ExperimentConfig, backbone: Any, file: str) -> ExperimentConfig:
    """Returns the config with a backbone that is read from a file, at the image size that it takes."""
    weights = None if config.model.weights is None else file
    update = {"backbone": "keras_file", "backbone_options": {"file": file}, "weights": weights}
    data, shape = config.data, backbone.input_shape
    if data.image_size is None and len(shape) == 4 and None not in shape[1:3]:
        data = data.model_copy(update={"image_size": shape[1] if shape[1] == shape[2] else shape[1:3]})
    model = config.model.model_copy(update=update | {"fallback": None})
    return config.model_copy(update={"model": model, "data": data})


def _recorded(loss: Any) -> str:
    if not callable(loss):
        raise UserError(
            "loss must be a name of `tlkeras list losses` or a Keras loss on logits. Received: "
            f"{type(loss).__name__}"
        )
    name = getattr(loss, "__name__", type(loss).__name__)
    if getattr(loss, "from_logits", True) is False:
        raise UserError(
            f"Models of tlkeras return logits: create the loss with from_logits=True. Received: {name}"
        )
    return FROM_PYTHON + name


def _with_loss(stage: Any, loss: LossConfig) -> Any:
    return stage.model_copy(update={"loss": loss}) if stage.kind == "fit" else stage


def _require_passed(config: ExperimentConfig, own: OwnParts) -> None:
    """Refuses a run whose loss was passed from Python by an earlier call and not by this one."""
    for stage in config.stages:
        named = stage.loss if stage.kind == "fit" else None
        if named is not None and named.name.startswith(FROM_PYTHON) and own.loss is None:
            raise UserError(
                f"Stage {stage.name} has a loss that was passed from Python: pass it again, as in "
                f"run_experiment(..., loss=...). Received: loss.name={named.name}"
            )
