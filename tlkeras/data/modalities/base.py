"""The base class of modalities: everything that one kind of input needs, in one object."""

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.config.data import AugmentConfig, DataConfig
from tlkeras.data.array_form import ArrayForm, batch_like_training
from tlkeras.data.facts import Facts
from tlkeras.data.input_shapes import Shape, by_column, shape_in_words, shape_of
from tlkeras.data.rows import Rows
from tlkeras.data.scan import scan
from tlkeras.errors import UserError
from tlkeras.registry import Registry, function_at


class Modality:
    """One kind of input: how its rows are read, augmented and shown.

    A new modality is a subclass with a name that is added to `MODALITIES`. A data source names the modality
    of its rows in its `Table`, and a backbone names the modality of its inputs in its row. All other members
    have defaults, so a modality overrides only those that differ (pictures, files, heat maps, ...).

    By default the inputs are the arrays of the rows. Rows of several columns
    (`tlkeras.data.input_shapes.columns`) become a dict of tensors, one for each column. Shapes are then dicts
    too, and the backbone is a model with a dict of inputs whose names are those of the columns.

    In all methods, `rows` are the rows of one split, `config` is the config of the domain's data, `shape` is
    the shape of one input without the batch axis, `folder` is a run directory, and `paths` are those of files
    and folders. `augment` are the settings of an augmentation, `seed` is the seed of the stage, `epoch` the
    number of an epoch or of a fixed view (int64 scalar), and `indices` are those of the rows, int64 `(b,)`.
    `batch_size` is the largest number of rows per batch. `read` is a function that `reader` returned.

    Attributes:
        name: Registered name, which is also written to the manifest of a run.
        plural: Word for rows of this modality in messages.
        hub_name: The first word of the Hugging Face Hub's name of the task, as in `tabular-classification`.
        values: Description of one input for a model card.
        dtypes: Dtypes by the name of the input. An input without an entry is float32. The name of a single
            input is `inputs`.
        augmentations: Fields of `AugmentConfig` that apply to rows of this modality.
        searched: Augmentations that `tlkeras auto` tries, by a name. If empty, it tries none.
        views_advice: Advice on how to make two views of a row differ, for methods that compare two views.
        backbones_advice: End of the message that a backbone does not take rows of this modality.
        pretexts: Tasks of `data.pretext` that are possible with rows of this modality.
        explanation: Function that explains predictions, or its place as `module:function`. It gets a model,
            inputs, class numbers `(n,)` or None, and the name of the backbone. It returns maps in 0..1 that
            fit the pictures or texts of the inputs, and the name of the method. None explains nothing.
        made_of: Names of the modalities that the parts of a row have, if it has several.
    """

    name = ""
    plural = ""
    hub_name = "tabular"
    values = "float32 values"
    dtypes: Mapping[str, str] = {}
    augmentations: tuple[str, ...] = ("noise", "mixup")
    searched: Mapping[str, AugmentConfig] = {}
    views_advice = "adaptation.strong_augment.noise, the deviation of noise in units of the input, e.g. 0.1"
    backbones_advice = ""
    pretexts: tuple[str, ...] = ()
    explanation: str | Callable | None = None
    made_of: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<modality {self.name}>"

    def with_config(self, config: DataConfig) -> "Modality":
        """Returns this modality with the files that a domain's config names, for example a tokenizer."""
        return self

    def of_table(self, table: Any, config: DataConfig) -> Any:
        """Returns the table of a data source in the form in which rows of this modality are divided and read.

        Args:
            table: `Table` of the data source.
            config: Config of the domain.

        Raises:
            UserError: The rows are of another kind.
        """
        return replace(table, modality=self)

    def fitted(self, train: Rows) -> "Modality":
        """Returns this modality with what it must know of the training rows before rows are `encoded`.

        Args:
            train: Training rows of the source, with inputs as the source gives them.
        """
        return self

    def encoded(self, inputs: np.ndarray, config: DataConfig, missing: bool = False) -> np.ndarray:
        """Returns the inputs of rows of a data source, e.g. texts, as arrays, e.g. token ids.

        Args:
            missing: Whether inputs may be missing (empty), as a part of a row may.
        """
        return inputs

    def without(self, rows: Rows, part: str) -> Rows:
        """Returns rows in which a part is missing everywhere, for rows of several parts.

        Args:
            rows: Rows of this modality.
            part: Name of the part, such as `text`.

        Raises:
            UserError: The rows do not have such a part.
        """
        raise UserError(
            "data.leave_out is for rows of several parts, such as pictures with texts. "
            f"Received: data.leave_out={part!r}, {self.plural}"
        )

    def of_run(self, folder: str | os.PathLike) -> "Modality":
        """Returns this modality with the `files` that are kept in a run directory."""
        return self

    def config_of_run(self, config: DataConfig, folder: str | os.PathLike) -> DataConfig:
        """Returns a run's config of data with the `files` in its folder in place of those it was given."""
        return config

    @property
    def files(self) -> Mapping[str, str]:
        """Contents of text files by name. A run keeps them because inputs cannot be read without them."""
        return {}

    def check_model(self, backbone: Any) -> None:
        """Raises `UserError` if a backbone takes inputs of this modality but cannot use these.

        Args:
            backbone: The Keras model.
        """
        return

    def shape_of_rows(self, rows: Rows, config: DataConfig, default_size: Any = None) -> Shape:
        """Returns the shape of one input of the model without the batch axis, or a dict of shapes.

        Args:
            rows: Training rows.
            config: Config of their domain.
            default_size: Image size of the backbone, or None.
        """
        return shape_of(by_column(rows.inputs))

    def assumed_shape(self, config: DataConfig, default_size: Any = None) -> Shape:
        """Returns the shape that a plan assumes if the data cannot be read.

        Args:
            default_size: Size that the backbone prefers, or None.

        Raises:
            UserError: The modality has no such shape.
        """
        raise UserError(f"The shape of {self.plural} is not known without the data.")

    def fits(self, shape: Shape) -> bool:
        """Returns whether inputs of this modality can have this shape."""
        return isinstance(shape, dict) or len(shape) == 1

    def image_size(self, shape: Shape) -> tuple[int, int] | None:
        """Returns height and width from the shape of one input. None if the inputs are not images."""
        return None

    def resolved(self, config: DataConfig, shape: Shape) -> DataConfig:
        """Returns the config of a domain with open values, such as the image size, filled in."""
        return config

    def check_split(self, split: str, rows: Rows, train: Rows) -> None:
        """Raises `UserError` if the rows of a split do not have the form of the training rows.

        Args:
            split: Name of the split.
            rows: Rows of the split.
            train: Training rows.

        Raises:
            UserError: The rows have another form.
        """
        found, wanted = (shape_of(by_column(part.inputs)) for part in (rows, train))
        if found != wanted:
            raise UserError(
                f"{self.plural.capitalize()} must have the same shape in all splits. Received: "
                f"{shape_in_words(wanted)} in train, {shape_in_words(found)} in {split}"
            )

    def check_kind(self, name: str, other: "Modality") -> None:
        """Raises `UserError` if the rows of a domain have another modality than those of the source.

        Args:
            name: Name of the domain in `adaptation`.
            other: Modality of the domain's rows.

        Raises:
            UserError: The modalities differ.
        """
        if other.name != self.name:
            raise UserError(
                "All domains must have inputs of the same kind. Received: data.source gives "
                f"{self.plural}, adaptation.{name} {other.plural}"
            )

    def check_domain(self, name: str, shape: Shape, source: Shape) -> None:
        """Raises `UserError` if the inputs of a domain and those of the source do not fit into one batch.

        Args:
            name: Name of the domain in `adaptation`.
            shape: Shape of its inputs.
            source: Shape of the source domain's inputs.

        Raises:
            UserError: The shapes differ.
        """
        if shape != source:
            raise UserError(
                f"All domains must have {self.plural} of the same shape. Received: data.source gives "
                f"{shape_in_words(source)}, adaptation.{name} {shape_in_words(shape)}"
            )

    def facts_of_rows(self, rows: Rows, config: DataConfig) -> dict[str, Any]:
        """Returns what `tlkeras inspect` shows of a split besides counts, by name.

        Numbers are shown as they are, floats as percentages, and dicts as lists of them.
        """
        return {}

    def note_on_rows(self, rows: Rows, config: DataConfig) -> str:
        """Returns what a training should know of its rows in one line, or an empty string."""
        return ""

    def reader(self, rows: Rows, config: DataConfig) -> Callable:
        """Returns a function from row indices, int64 `(b,)`, to inputs `(b, *shape)`, for use in tf.data.

        If there are several inputs, the function returns a dict. The pipeline casts the result to `dtypes`.
        """
        from tlkeras.data.reading import array_reader

        return array_reader(rows)

    def scan(self, config: DataConfig, kept_in: Path | None = None) -> Callable[..., Facts]:
        """Returns the `scan` of `Rows` for files of this kind.

        Args:
            kept_in: Cache directory with the facts that earlier processes found, or None.
        """
        return functools.partial(scan, max_pixels=config.max_pixels, kept_in=kept_in)

    def drawable(self, augment: AugmentConfig) -> AugmentConfig:
        """Returns the part of the settings that applies to rows of this modality.

        Args:
            augment: Settings of the augmentation.
        """
        return AugmentConfig(**{name: getattr(augment, name) for name in self.augmentations})

    def drawn(self, read: Any, augment: AugmentConfig, seed: int, epoch: Any, indices: Any) -> Any:
        """Returns the batch of rows with these indices for training: `chosen`, then `augmented`."""
        return self.augmented(self.chosen(read, augment, seed, epoch, indices), augment, seed, epoch, indices)

    def chosen(self, read: Any, augment: AugmentConfig, seed: int, epoch: Any, indices: Any) -> Any:
        """Returns the inputs of rows before they are `augmented`; of a longer row the piece that is drawn."""
        return read(indices)

    def windows(self, rows: Rows, config: DataConfig) -> tuple[Rows, np.ndarray] | None:
        """Returns the inputs of rows that have several as rows of their own, and for each the number of its
        row, int64 `(m,)`. The answer for a row is the mean of those for its inputs. None if all have one.
        """
        return

    def augmented(self, x: Any, augment: AugmentConfig, seed: int, epoch: Any, indices: Any) -> Any:
        """Returns an augmented batch, in tf.data. It is a pure function of the seed, the epoch and the row.

        Args:
            x: Batch `(b, *shape)` that the `reader` returned.
        """
        from tlkeras.data.augment import augment_batch

        return augment_batch(x, augment, seed, epoch, indices)

    def check_augment(self, augment: AugmentConfig, where: str) -> None:
        """Raises `UserError` if settings contain augmentations that this modality does not have.

        Args:
            augment: Settings of the augmentation.
            where: Path of the settings in the config.

        Raises:
            UserError: There is such a setting.
        """
        if augment != self.drawable(augment):
            allowed = " and ".join(self.augmentations) or "none"
            raise UserError(
                f"{where} has augmentations that {self.plural} cannot have. Allowed: {allowed}. "
                f"Received: {augment.model_dump(exclude_defaults=True)}"
            )

    def array_form(self, rows: Rows, white: int) -> ArrayForm | None:
        """Returns the form of training arrays. None if rows are not arrays, or if every array is allowed.

        Args:
            white: Value of a white pixel: 1, 255 or 65535.
        """
        return None

    def inputs_like_training(self, x: Any, form: ArrayForm | None, shape: Shape) -> np.ndarray:
        """Converts an array as the training arrays were converted, to a form that `Rows.inputs` may hold.

        Args:
            x: Inputs `(n, *shape)`, or a dict of inputs.
            form: Form that `array_form` returned in training.
            shape: Shape of one input of the model.

        Returns:
            Array `(n, *shape)`, or a structured array of several inputs.

        Raises:
            UserError: The array has another shape, or its values are not finite numbers.
        """
        return batch_like_training(x, shape)

    def input_files(self, paths: Any) -> list[str] | None:
        """Returns the files in `paths` that `file_batches` reads. None if a file holds several rows."""
        return None

    def file_batches(
        self, paths: Any, config: DataConfig, batch_size: int
    ) -> Iterator[tuple[Any, list[str], list[tuple[str, str]]]]:
        """Yields `(inputs, names, [(name, reason), ...])` of files. The last item lists unreadable files.

        Raises:
            UserError: This modality is not read from files, a path does not exist, or there are no files.
        """
        raise UserError(f"The model takes {self.plural}, not files.")

    def combined(self, outputs: np.ndarray, names: list) -> tuple[np.ndarray, list]:
        """Returns outputs `(n, ...)` by file or row, and their names. Each may have given several inputs.

        Args:
            outputs: Outputs of the model by input, float `(m, ...)`.
            names: Name of the file, or name or number of the row, of each input.
        """
        return outputs, names

    def pixel_spec(self, config: DataConfig) -> Any:
        """Returns the `PixelSpec` for exports that take encoded pictures. None for other modalities."""
        return

    def picture_spec(self, config: DataConfig) -> Any:
        """Returns the `PixelSpec` of the picture in each row, also beside other inputs, or None."""
        return self.pixel_spec(config)

    def image_sizes(self, rows: Rows) -> np.ndarray | None:
        """Returns the stored heights and widths of images, `(n, 2)`. None if the inputs are not images."""
        return None

    def pictures(self, x: Any) -> np.ndarray | None:
        """Returns inputs as pictures, `(n, h, w, 3)` in 0..255. None if they cannot be shown as pictures.

        Args:
            x: NumPy inputs of the model, `(n, *shape)`, or a dict of them.
        """
        return None

    def texts(self, x: Any) -> list[list[str]] | None:
        """Returns the words or tokens of each input. None if the inputs are not texts.

        Args:
            x: NumPy inputs of the model, `(n, *shape)`, or a dict of them.
        """
        return None

    def recordings(self, x: Any) -> list[bytes] | None:
        """Returns each input as the content of a short WAV file. None if the inputs cannot be heard.

        Args:
            x: NumPy inputs of the model, `(n, *shape)`, or a dict of them.
        """
        return None

    def explain(self, model, x: Any, targets: np.ndarray | None, backbone: str):
        """Returns `(maps, method)`. The maps are float `(n, h, w)` or `(n, tokens)` in 0..1, or None.

        Args:
            model: Model from inputs to logits.
            x: NumPy inputs of the model, `(n, *shape)`, or a dict of them.
            targets: Class numbers `(n,)`, or None for the predicted classes.
            backbone: Registered name of the backbone.
        """
        if self.explanation is None:
            return None, ""
        return function_at(self.explanation)(model, x, targets, backbone)


MODALITIES: Registry[Modality] = Registry("modality")
"""Kinds of input: images, texts, sounds, vectors, and pictures with texts."""
