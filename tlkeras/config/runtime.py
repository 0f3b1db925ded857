"""Where and how a run computes, and what it keeps beside its results."""

from typing import Annotated, Literal

from pydantic import Field

from tlkeras.config.base import Config
from tlkeras.config.data import PositiveInt


class CacheConfig(Config):
    """Where the outputs of frozen trunks are kept.

    Attributes:
        enabled: Whether frozen stages compute the trunk's output only once.
        dir: Directory that runs share; None is `~/.cache/tlkeras`.
        memory_mb: What fits this budget stays in memory, in MiB; more goes to files under `dir`.
        dtype: In which type features are kept.
        extractor: What computes them. `exact` is the plain function; `folded` has constants folded into the
            graph; `tflite` runs XNNPACK on CPU; `auto` is `tflite` where a CPU has many rows of depthwise
            convolutions to compute, else `exact`. They round differently, and training on few rows magnifies
            that to points of accuracy. Only features of the same extractor are reused.
        tolerance: Largest relative difference to the exact extractor that is accepted.
    """

    enabled: bool = True
    dir: str | None = None
    memory_mb: Annotated[int, Field(ge=0)] = 1024
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    extractor: Literal["auto", "exact", "folded", "tflite"] = "exact"
    tolerance: Annotated[float, Field(gt=0)] = 1e-3


class RuntimeConfig(Config):
    """Where and how a run computes.

    Attributes:
        strategy: `auto`, or one of tf.distribute's ways; `none` is one device.
        devices: Number of devices `mirrored` takes; None is all.
        precision: Keras' dtype policy.
        deterministic: Whether TensorFlow's ops are made deterministic.
        threads: Threads per process; None is all cores.
        sync_batch_norm: Whether BatchNormalization of trainable blocks averages over replicas.
    """

    strategy: Literal["auto", "none", "mirrored", "multi_worker", "tpu"] = "auto"
    devices: PositiveInt | None = None
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    deterministic: bool = True
    threads: PositiveInt | None = None
    sync_batch_norm: bool = False


class CheckpointConfig(Config):
    """When the state of a run is saved, and which model counts as its best.

    Attributes:
        every_steps: Steps between checkpoints within an epoch; None is only at each epoch's end.
        every_minutes: Minutes between checkpoints within an epoch.
        keep: How many of the newest checkpoints stay on disk.
        monitor: Which metric decides on the best model over the whole run; None is `val_accuracy`
            (`val_loss` for regression; `val_selection` under adaptation), and the last epoch where there is
            no validation split. `loss`, `accuracy` or `mae` and their `val_` forms can be named, and
            `last_step`, which chooses no epoch.
    """

    every_steps: PositiveInt | None = None
    every_minutes: Annotated[float, Field(gt=0)] | None = 10.0
    keep: PositiveInt = 2
    monitor: str | None = None


class TensorBoardConfig(Config):
    """What a run writes for TensorBoard beside its scalars.

    Attributes:
        images: Whether inputs of each stage, confusion matrices, the worst mistakes with their heat maps
            and the embedding with thumbnails are written.
        histograms: Whether the trainable weights are written after each epoch.
        profile: `(first, last)` step of a stage's first epoch whose computation is profiled; None is none.
    """

    images: bool = True
    histograms: bool = False
    profile: tuple[Annotated[int, Field(ge=0)], PositiveInt] | None = None
