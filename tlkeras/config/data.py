"""Config of the data: where examples come from, and how they become batches."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tlkeras.config.base import Config
from tlkeras.config.columns import Columns
from tlkeras.config.pretext import PretextConfig
from tlkeras.maybe import MaybeNone

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
ImageSize = PositiveInt | tuple[PositiveInt, PositiveInt]
# The largest number of pixels of one picture. Phones reach 200 million. A pixel takes three bytes in memory.
MAX_PIXELS = 200_000_000
# Fields that a further domain of the run takes over from `data`, and those that another task takes over.
READ_ALIKE = ("image_size", "resize", "interpolation", "crop_fraction", "batch_size", "task", "on_error",
              "max_pixels", "picture", "text", "columns", "leave_out", "tokenizer", "max_length",
              "seconds", "sample_rate")  # fmt: skip
ALIKE_IN_TASKS = ("on_error", "max_pixels")
Part = Literal["image", "sound", "text", "columns"]
Task = Literal["multiclass", "binary", "multilabel", "regression"]


# Fields of `AugmentConfig` that change texts.
WORD_CHANGES = ("token_dropout", "word_deletion", "word_swap")
# Fields of `AugmentConfig` that change only sounds.
SOUND_CHANGES = ("window", "shift", "gain", "time_mask", "band_mask", "snr")


class AugmentConfig(Config):
    """Random augmentation of training rows. The defaults change nothing.

    Vectors allow only noise and mixup, and texts only the changes of words. Sounds allow noise, mixup and the
    changes from `window` on, which images do not allow.

    Attributes:
        flip: Axis along which an image is mirrored with probability one half.
        crop: Smallest fraction of the area that a random resized crop keeps. 1 means no crop.
        rotation: Largest angle in degrees, in both directions.
        color: Strength in 0..1 of random changes of brightness, contrast and saturation.
        randaugment: Number of random operations per image (RandAugment, Cubuk et al. 2020). 0 means none.
        randaugment_magnitude: Magnitude of these operations in 0..10.
        cutout: Side of the erased square as a fraction of the image's side (DeVries and Taylor 2017).
        noise: Standard deviation of Gaussian noise in units of the input, which are 0..255 for images.
        mixup: Alpha of the Beta distribution of mixup (Zhang et al. 2018). 0 means off.
        cutmix: Alpha of the Beta distribution of cutmix (Yun et al. 2019). 0 means off.
        token_dropout: Probability with which a token of a text is masked, so that no other token sees it.
        word_deletion: Probability with which a word of a text is left out (Wei and Zou 2019, "EDA").
        word_swap: Probability with which two neighbouring words of a text are swapped.
        window: Whether a random window of `data.seconds` is taken from a longer sound. Otherwise training
            takes its beginning.
        shift: Largest shift of a sound in time, in both directions, as a fraction of its duration.
        gain: Largest change of the loudness of a sound in decibels, in both directions.
        time_mask: Largest fraction of a sound's duration that is silenced (SpecAugment, Park et al. 2019).
        band_mask: Largest fraction of a sound's frequencies that is silenced (SpecAugment).
        snr: Smallest signal-to-noise ratio, in decibels, of white noise that is added to a sound. The ratio
            is drawn from the 20 decibels above it. None adds no such noise.
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
    token_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    word_deletion: Annotated[float, Field(ge=0, lt=1)] = 0.0
    word_swap: Fraction = 0.0
    window: bool = False
    shift: Fraction = 0.0
    gain: Annotated[float, Field(ge=0, le=60)] = 0.0
    time_mask: Fraction = 0.0
    band_mask: Fraction = 0.0
    snr: Annotated[float, Field(ge=-20, le=100)] | None = None

    @property
    def is_identity(self) -> bool:
        """Whether these settings change no row."""
        return self == AugmentConfig()

    @property
    def unmixed(self) -> "AugmentConfig":
        """The same settings without mixup and cutmix, which need labels."""
        return self.model_copy(update={"mixup": 0.0, "cutmix": 0.0})

    def beside(self, other: "AugmentConfig") -> "AugmentConfig":
        """Returns these settings for a second view of rows whose first view has others.

        Both views show the same piece of a long sound, because a method compares them.

        Args:
            other: Settings of the first view.
        """
        return self.model_copy(update={"window": other.window})


class DataConfig(Config):
    """One domain: a source of labelled (or unlabelled) examples and how they are read.

    Attributes:
        source: Data source `KIND:ARGUMENT`, e.g. `folder:DIR`, `tfds:NAME`, `csv:FILE`, `npz:FILE`,
            `emoji:twemoji`, `digits`, `synthetic:shapes`. `tlkeras list sources` prints all.
        data_dir: Folder of prepared TFDS data sets. None uses the default of TFDS.
        image_size: Side in pixels, or `(height, width)`. None uses the default size of the backbone.
        resize: Way of resizing: `stretch` ignores the aspect ratio, `crop` keeps the centre, `pad` adds
            black borders.
        interpolation: Interpolation of pixels when an image is resized.
        crop_fraction: Fraction of the short side that `resize="crop"` keeps.
        batch_size: Number of rows per optimizer step over all replicas. "auto" measures which size is fast
            and fits into memory.
        limit: Largest number of rows per split. A mapping limits the splits that it names.
        per_class: Largest number of training rows per class (few-shot), or None for all.
        val_fraction: Fraction of train that becomes `val` if the data source has none.
        test_fraction: Fraction of train that becomes `test` if the data source has none.
        split_names: Names of the data source's splits that are used as train, val and test, e.g.
            `{"val": "validation"}`, or TFDS slices such as `{"train": "train[:80%]"}`.
        folds: Number of cross-validation folds. None means a single run.
        fold: Number of the fold that is held out as `test`, from 0. None runs all folds and reports their
            mean.
        task: Task of the model.
        on_error: Treatment of unreadable examples. `fail` names them before training starts; `skip` lists
            them and leaves them out.
        class_names: Names of the classes in the order of integer labels, for data that have no names. None
            uses the numbers.
        weights: Column of a list (CSV, JSON lines, Parquet) with a weight for each row, which is a factor of
            its class loss in training. Metrics of validation and test rows are not weighted.
        exclude: CSV file of rows that are left out. Its column `id` or `file` names the rows as files of
            predictions do. If it has a column `leave_out`, only the rows with `yes` are left out. All other
            rows stay in their splits.
        max_pixels: Largest number of pixels (height times width) of a readable picture. The limit protects
            against small files that decode to huge pictures.
        memory_mb: Memory for decoded images in this process, in MiB. Images that do not fit are decoded
            again in each epoch.
        order: Order of the training rows in an epoch. `rows` is a shuffle of all rows. `shards` is a shuffle
            of the shards, and of the rows in a window, so that shards are read in sequence. `auto` takes
            `shards` for shards on a bucket (`gs://`).
        order_window: Number of rows among which the order `shards` shuffles rows.
        views: Number of fixed augmented views of each training row. None draws a new view in each epoch.
        picture: Column that holds pictures, or sounds if `seconds` is given (the paths of their files). With
            `text` or `columns`, a row has several parts. None means the column `path`, or no pictures if
            `text` or `columns` is given.
        text: Column of a list (CSV, JSON lines, Parquet) or of the emoji that holds texts, or two columns for
            pairs of texts.
        columns: Columns of a list with numbers or categories: names, or kinds by name; see `ColumnConfig`.
        leave_out: Parts of each row that are left out as if they were missing. The twins `image_alone`,
            `sound_alone`, `text_alone` and `columns_alone` do so.
        tokenizer: `tokenizer.json`, `vocab.txt` or a folder with one of them, which makes strings texts. None
            takes the tokenizer beside the weights if `text` is given.
        max_length: Number of tokens of a text, with those that mark its beginning and end. Shorter texts
            are padded, and longer texts are cut.
        seconds: Duration of a sound as the model takes it; longer sounds are cut at the end, and shorter ones
            get silence before and after them. If it is given, files and arrays `(n, samples)` are sounds.
        sample_rate: Samples per second of the sounds that the model takes. Files are resampled to it, and
            arrays must have it.
        pretext: Pretext task that replaces the labels. Pictures then need no labels; one flat folder is
            enough.
    """

    source: str
    data_dir: str | None = None
    image_size: ImageSize | MaybeNone = None
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    interpolation: Literal["bilinear", "bicubic", "nearest", "area", "lanczos3"] = "bilinear"
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    batch_size: PositiveInt | Literal["auto"] = 32
    limit: PositiveInt | dict[Literal["train", "val", "test"], PositiveInt] | None = None
    per_class: PositiveInt | None = None
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    split_names: dict[Literal["train", "val", "test"], str] = {}
    folds: Annotated[int, Field(ge=2)] | MaybeNone = None
    fold: Annotated[int, Field(ge=0)] | None = None
    task: Task = "multiclass"
    on_error: Literal["fail", "skip"] = "fail"
    exclude: str | None = None
    max_pixels: PositiveInt = MAX_PIXELS
    memory_mb: Annotated[int, Field(ge=0)] = 2048
    order: Literal["auto", "rows", "shards"] = "auto"
    order_window: PositiveInt = 2048
    views: PositiveInt | None = None
    picture: str | None = None
    text: str | tuple[str, str] | None = None
    columns: Columns = {}
    class_names: tuple[str, ...] | None = None
    weights: str | None = None
    leave_out: Part | tuple[Part, ...] | None = None
    tokenizer: str | None = None
    max_length: PositiveInt = 128
    seconds: Annotated[float, Field(ge=0.1, le=600)] | MaybeNone = None
    sample_rate: Annotated[int, Field(ge=1_000, le=400_000)] = 16_000
    pretext: PretextConfig | MaybeNone = None

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns of texts: none, one, or two for pairs."""
        return (self.text,) if isinstance(self.text, str) else tuple(self.text or ())

    @property
    def parts_left_out(self) -> tuple[Part, ...]:
        """The parts of each row that are left out."""
        return (self.leave_out,) if isinstance(self.leave_out, str) else tuple(self.leave_out or ())

    def following(self, data: "DataConfig", fields: tuple[str, ...] = READ_ALIKE) -> "DataConfig":
        """Returns this config with fields that have their default values taken from another config.

        The value decides and not whether the field was given, because a saved config contains every field.

        Args:
            data: Config from which values are taken.
            fields: Names of the fields that may be taken.
        """
        left = [name for name in fields if getattr(self, name) == DataConfig.model_fields[name].default]
        return self.model_copy(update={name: getattr(data, name) for name in left})

    @model_validator(mode="after")
    def _pretext_has_no_folds(self):
        if self.pretext is not None and self.folds is not None:
            raise ValueError(
                "pretext: cross-validation needs labels of the data, and a pretext task does not use "
                f"them. Received: folds={self.folds}"
            )
        return self

    @model_validator(mode="after")
    def _parts_fit_each_other(self):
        beside = [f"picture={self.picture!r}"] * (self.picture is not None)
        beside += [f"columns={','.join(self.columns)}"] * bool(self.columns)
        if beside and len(self.text_columns) > 1:
            raise ValueError(
                "text must be one column beside a picture or columns. "
                f"Received: {', '.join(beside)}, text={list(self.text_columns)}"
            )
        return self

    @model_validator(mode="after")
    def _fold_exists(self):
        if self.fold is None:
            return self
        if self.folds is None:
            raise ValueError(f"fold needs folds, which is the number of folds. Received: fold={self.fold}")
        if self.fold >= self.folds:
            raise ValueError(f"fold must lie in 0..{self.folds - 1}. Received: fold={self.fold}")
        return self
