"""Config of the runtime, the feature cache, the checkpoints, exports, TensorBoard and other trackers."""

from typing import Annotated, Literal

from pydantic import Field

from tlkeras.config.base import Config, Named
from tlkeras.config.data import PositiveInt
from tlkeras.maybe import MaybeNone


class CacheConfig(Config):
    """The feature cache, which stores the outputs of frozen trunks.

    Attributes:
        enabled: Whether the outputs of a frozen trunk are computed only once.
        dir: Directory that runs share. None uses `~/.cache/tlkeras`.
        memory_mb: Memory budget of features in MiB. Features that do not fit go to files in `dir`.
        dtype: Dtype in which features are stored.
        extractor: Way to compute features. `exact` is the plain function; `folded` uses a graph with constant
            weights; `tflite` uses XNNPACK on CPU; `auto` is `tflite` for many rows of depthwise convolutions
            on a CPU, else `exact`. They round differently, and with few rows this can change the accuracy by
            points. Only features of the same extractor are reused.
        tolerance: Largest accepted relative difference from the exact extractor.
    """

    enabled: bool = True
    dir: str | None = None
    memory_mb: Annotated[int, Field(ge=0)] = 1024
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    extractor: Literal["auto", "exact", "folded", "tflite"] = "exact"
    tolerance: Annotated[float, Field(gt=0)] = 1e-3


class RuntimeConfig(Config):
    """The devices, precision and determinism of a run.

    Attributes:
        strategy: Strategy of tf.distribute, `auto`, or `none` for one device.
        devices: Number of devices of `mirrored`, or None for all.
        precision: Dtype policy of Keras.
        deterministic: Whether the ops of TensorFlow are deterministic.
        threads: Number of threads per process, or None for all cores.
        sync_batch_norm: Whether BatchNormalization of trainable blocks uses statistics over all replicas.
    """

    strategy: Literal["auto", "none", "mirrored", "multi_worker", "tpu"] = "auto"
    devices: PositiveInt | None = None
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    deterministic: bool = True
    threads: PositiveInt | None = None
    sync_batch_norm: bool = False


class CheckpointConfig(Config):
    """The times of checkpoints, and the choice of the best model.

    Attributes:
        every_steps: Steps between checkpoints within an epoch. None saves only at the end of each epoch.
        every_minutes: Minutes between checkpoints within an epoch, or None.
        keep: Number of newest checkpoints that stay on disk.
        monitor: Metric that decides on the best model of the whole run. None uses `val_selection` with
            adaptation, else the metric of `judged_by`, else `val_accuracy` (`val_loss` for regression), or
            the last epoch if there is no validation split. Possible names are `loss`, `accuracy` or `mae`,
            one of `metrics`, the same with `val_`, and `last_step`, which chooses no epoch.
    """

    every_steps: PositiveInt | None = None
    every_minutes: Annotated[float, Field(gt=0)] | None = 10.0
    keep: PositiveInt = 2
    monitor: str | None = None


class ExportConfig(Config):
    """The answers of `predict` and of exports.

    Attributes:
        calibrate: Whether `predict` and exports divide the logits of the best model by a temperature that is
            fitted on validation rows. This changes the probabilities and never the predicted classes.
    """

    calibrate: bool = True


class TensorBoardConfig(Config):
    """The data that a run writes for TensorBoard in addition to scalars.

    Attributes:
        images: Whether inputs of each stage, confusion matrices, the worst mistakes with their heat maps
            and the embedding with thumbnails are written.
        histograms: Whether histograms of the trainable weights are written after each epoch.
        profile: First and last step in the first epoch of a stage that are profiled, or None.
    """

    images: bool = True
    histograms: bool = False
    profile: tuple[Annotated[int, Field(ge=0)], PositiveInt] | MaybeNone = None


class TrackerConfig(Named):
    """A service that shows the run beside others. `tlkeras list trackers` prints all.

    A text is a tracker without options.

    Attributes:
        name: Registered name: `mlflow` or `wandb`.
        options: Keyword arguments of the tracker, e.g. `{"uri": "http://HOST:5000"}` of `mlflow` or
            `{"project": "NAME"}` of `wandb`.
    """
