"""Where the examples come from and how they become batches."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tlkeras.config.base import Config
from tlkeras.config.pretext import PretextConfig

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
ImageSize = PositiveInt | tuple[PositiveInt, PositiveInt]
# Of one picture; phones reach 200 million. In memory it takes three bytes for each.
MAX_PIXELS = 200_000_000
# What a domain beside the run's own takes over, and what another task does.
READ_ALIKE = ("image_size", "resize", "interpolation", "crop_fraction", "batch_size", "task", "on_error",
              "max_pixels", "max_length")  # fmt: skip
ALIKE_IN_TASKS = ("on_error", "max_pixels")
Task = Literal["multiclass", "binary", "multilabel", "regression"]


class AugmentConfig(Config):
    """Random changes of training rows; the defaults change nothing. Vectors take noise and mixup only.

    Attributes:
        flip: Axis mirrored with probability one half.
        crop: Smallest fraction of the area kept by a random resized crop; 1 is no crop.
        rotation: Largest angle in degrees, either way.
        color: Strength in 0..1 of random brightness, contrast and saturation.
        randaugment: Number of random operations per image (RandAugment, Cubuk et al. 2020); 0 is none.
        randaugment_magnitude: Their magnitude, 0..10.
        cutout: Side of the erased square as a fraction of the image's side (DeVries and Taylor 2017).
        noise: Standard deviation of Gaussian noise in units of the input: of 0..255 for images.
        mixup: Alpha of the Beta distribution (Zhang et al. 2018); 0 is off.
        cutmix: Alpha of the Beta distribution (Yun et al. 2019); 0 is off.
    """

    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    color: Fraction = 0.0
    randaugment: Annotated[int, Field(ge=0)] = 0
    randaugment_magnitude: Annotated[float, Field(ge=0, le=10)] = 5.0
    cutout: Fraction = 0.0
    noise: Annotated[float, Field(ge=0)] = 0.0
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether these settings leave every image as it is."""
        return self == AugmentConfig()

    @property
    def unmixed(self) -> "AugmentConfig":
        """These settings without mixup and cutmix, which need labels."""
        return self.model_copy(update={"mixup": 0.0, "cutmix": 0.0})


class DataConfig(Config):
    """One domain: a source of labelled (or unlabelled) examples and how they are read.

    Attributes:
        source: `KIND:ARGUMENT`, e.g. `folder:DIR`, `tfds:NAME`, `csv:FILE`, `npz:FILE`,
            `emoji:twemoji`, `digits`, `synthetic:shapes`. `tlkeras list sources` prints all.
        data_dir: Where prepared TFDS data sets lie; None is TFDS's own default.
        image_size: Side in pixels, or `(height, width)`; None is the backbone's default size.
        resize: `stretch` to the size, centre `crop` after scaling the short side, or `pad`.
        interpolation: How pixels are interpolated when an image is resized.
        crop_fraction: For `resize="crop"`: fraction of the short side that is kept.
        batch_size: Rows per optimizer step over all replicas; "auto" tries what fits in memory.
        limit: At most this many rows per split; a mapping limits the splits it names.
        per_class: At most this many training rows per class (few-shot).
        val_fraction: Fraction of train that becomes `val` where the source has none.
        test_fraction: Fraction of train that becomes `test` where the source has none.
        split_names: Which of the source's own splits serve as train, val and test, e.g.
            `{"val": "validation"}`, or TFDS slices such as `{"train": "train[:80%]"}`.
        folds: Number of cross-validation folds; None is a single run.
        fold: Which fold is held out as `test`, from 0; None runs all of them and reports their mean.
        task: What is predicted.
        on_error: `fail` names unreadable examples before training starts; `skip` lists and leaves them out.
        max_pixels: Pictures of more pixels, height times width, count as unreadable: a small file may be made
            to fill any memory.
        memory_mb: Memory that decoded images may take in this process, in MiB; more is read again each epoch.
        views: Number of fixed augmented views of each training row; None draws a new one every epoch.
        max_length: Number of tokens of a text, including those that mark its beginning and end: shorter
            texts are padded, longer ones are cut.
        pretext: A task that the pictures set by themselves, in the place of their labels: pictures without
            labels will do, such as one flat folder.
    """

    source: str
    data_dir: str | None = None
    image_size: ImageSize | None = None
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    interpolation: Literal["bilinear", "bicubic", "nearest", "area", "lanczos3"] = "bilinear"
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    batch_size: PositiveInt | Literal["auto"] = 32
    limit: PositiveInt | dict[Literal["train", "val", "test"], PositiveInt] | None = None
    per_class: PositiveInt | None = None
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    split_names: dict[Literal["train", "val", "test"], str] = {}
    folds: Annotated[int, Field(ge=2)] | None = None
    fold: Annotated[int, Field(ge=0)] | None = None
    task: Task = "multiclass"
    on_error: Literal["fail", "skip"] = "fail"
    max_pixels: PositiveInt = MAX_PIXELS
    memory_mb: Annotated[int, Field(ge=0)] = 2048
    views: PositiveInt | None = None
    max_length: PositiveInt = 128
    pretext: PretextConfig | None = None

    def following(self, data: "DataConfig", fields: tuple[str, ...] = READ_ALIKE) -> "DataConfig":
        """Returns this config with what it leaves at its default taken from another, a target's from `data`.

        Not what was left out when it was written: a config that was kept, or overridden, names every field.
        """
        left = [name for name in fields if getattr(self, name) == DataConfig.model_fields[name].default]
        return self.model_copy(update={name: getattr(data, name) for name in left})

    @model_validator(mode="after")
    def _pretext_has_no_folds(self):
        if self.pretext is not None and self.folds is not None:
            raise ValueError(
                f"pretext: a source without labels of its own has no folds. Received: folds={self.folds}"
            )
        return self

    @model_validator(mode="after")
    def _fold_exists(self):
        if self.fold is None:
            return self
        if self.folds is None:
            raise ValueError(f"fold needs folds, their number. Received: fold={self.fold}")
        if self.fold >= self.folds:
            raise ValueError(f"fold must lie in 0..{self.folds - 1}. Received: fold={self.fold}")
        return self
