"""What several workers cannot do alike is refused."""

import keras

from tlkeras.backend import compat
from tlkeras.config import FitStageConfig
from tlkeras.errors import UserError
from tlkeras.prepare import Parts


def check_batch_norm(parts: Parts, stage: FitStageConfig) -> None:
    """Raises `UserError` where each worker would keep BatchNormalization statistics of its own.

    The chief's would be saved, and a run that goes on would not be the same run.

    Args:
        parts: The run's parts.
        stage: A stage, selected in the model.
    """
    config = parts.config.runtime
    if parts.runtime.workers == 1 or config.sync_batch_norm or stage.bn != "train":
        return
    layers = compat.flat_layers(parts.model)
    moving = [x for x in layers if isinstance(x, keras.layers.BatchNormalization) and x.trainable]
    if moving:
        raise UserError(
            "Several workers must normalise by the same statistics: set runtime.sync_batch_norm=true, or "
            f"stages.{stage.name}.bn=frozen. Received: bn=train in {len(moving)} layers, "
            "runtime.sync_batch_norm=false"
        )
