"""What one kind of input needs, as one object."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tlkeras.config.data import AugmentConfig, DataConfig
from tlkeras.data.array_form import ArrayForm, check_numbers
from tlkeras.data.input_shapes import Shape, by_column, columns, shape_in_words, shape_of
from tlkeras.data.rows import Rows
from tlkeras.errors import UserError
from tlkeras.registry import Registry, function_at


class Modality:
    """One kind of input: how rows are read, what may be drawn at random, and how a row is shown.

    A new kind is a subclass with a name, added to `MODALITIES`. A source says in its `Table` that its rows
    are of this kind, and a backbone says in its row that it takes them. Every other member has a default:
    what a kind of input does not have (pictures, files, heat maps) is left out.

    By default the inputs are the rows' arrays. Rows of several columns (`tlkeras.data.input_shapes.columns`)
    give a dict of tensors, one for each column: shapes are then dicts as well, and the backbone is a model of
    a dict of inputs, each with the name of its column.

    Attributes:
        name: The registered name, also in a run's manifest.
        plural: The word for rows of this kind in messages.
        dtypes: The dtypes of inputs by name; float32 where there is none. A single input is called `inputs`.
        augmentations: The fields of `AugmentConfig` that change rows of this kind.
        searched: Augmentations that `tlkeras auto` tries, by a name; empty tries none.
        views_advice: How to make two views of a row differ, for methods that compare two.
        pretexts: The tasks of `data.pretext` that rows of this kind can set.
        explanation: The function that explains answers, or `module:function`: called with a model, inputs,
            class numbers `(n,)` or None, and the backbone's name, it returns maps in 0..1 that lie over the
            inputs' pictures or texts, and the method's name. None explains nothing.
    """

    name = ""
    plural = ""
    dtypes: Mapping[str, str] = {}
    augmentations: tuple[str, ...] = ("noise", "mixup")
    searched: Mapping[str, AugmentConfig] = {}
    views_advice = "adaptation.strong_augment.noise, the deviation of noise in units of the input, e.g. 0.1"
    pretexts: tuple[str, ...] = ()
    explanation: str | Callable | None = None

    def __repr__(self) -> str:
        return f"<modality {self.name}>"

    def shape_of_rows(self, rows: Rows, config: DataConfig, default_size: Any = None) -> Shape:
        """Returns the shape of one input as the model gets it, without the batch, or a dict of shapes.

        Args:
            rows: The training rows.
            config: Their domain's config.
            default_size: The backbone's image size, where it has one.
        """
        return shape_of(by_column(rows.inputs))

    def assumed_shape(self, config: DataConfig, default_size: Any = None) -> Shape:
        """Returns the shape that a plan takes where the data are not at hand."""
        raise UserError(f"The shape of {self.plural} is not known without the data.")

    def fits(self, shape: Shape) -> bool:
        """Whether inputs of this kind can have a shape."""
        return isinstance(shape, dict) or len(shape) == 1

    def image_size(self, shape: Shape) -> tuple[int, int] | None:
        """Returns the height and width in a shape of one input; None for what is no image."""
        return None

    def resolved(self, config: DataConfig, shape: Shape) -> DataConfig:
        """Returns a domain's config with what was left open set as the shape of its inputs says."""
        return config

    def check_split(self, split: str, rows: Rows, train: Rows) -> None:
        """Raises `UserError` where the rows of a split cannot stand beside the training rows."""
        found, wanted = (shape_of(by_column(part.inputs)) for part in (rows, train))
        if found != wanted:
            raise UserError(
                f"{self.plural.capitalize()} must have one shape in all splits. Received: "
                f"{shape_in_words(wanted)} in train, {shape_in_words(found)} in {split}"
            )

    def check_domain(self, name: str, shape: Shape, source: Shape) -> None:
        """Raises `UserError` where a domain's inputs cannot stand in one batch with the source's.

        Args:
            name: The domain's name in `adaptation`.
            shape: The shape of its inputs.
            source: The shape of the source's.
        """
        if shape != source:
            raise UserError(
                f"All domains must have {self.plural} of one shape. Received: data.source gives "
                f"{shape_in_words(source)}, adaptation.{name} {shape_in_words(shape)}"
            )

    def reader(self, rows: Rows, config: DataConfig) -> Callable:
        """Returns a function from row indices, int64 `(b,)`, to inputs `(b, *shape)`, for use in tf.data.

        Of several inputs it returns a dict. The pipeline casts what it returns to `dtypes`.
        """
        from tlkeras.data.reading import array_reader

        return array_reader(rows)

    def drawable(self, augment: AugmentConfig) -> AugmentConfig:
        """Returns the part of the settings that changes rows of this kind."""
        return AugmentConfig(**{name: getattr(augment, name) for name in self.augmentations})

    def augmented(self, x: Any, augment: AugmentConfig, seed: int, epoch: Any, indices: Any) -> Any:
        """Returns a batch changed at random: a pure function of the seed, the epoch and the row, in tf.data.

        Args:
            x: What the `reader` returned.
            augment: What may be drawn; see `drawable`.
            seed: The stage's seed.
            epoch: int64 scalar, the epoch, or the number of a fixed view.
            indices: int64 `(b,)`, the rows.
        """
        from tlkeras.data.augment import augment_batch

        return augment_batch(x, augment, seed, epoch, indices)

    def check_augment(self, augment: AugmentConfig, where: str) -> None:
        """Raises `UserError` where settings ask for more than can be done to rows of this kind.

        Args:
            augment: The settings.
            where: Their place in the config.
        """
        if augment != self.drawable(augment):
            allowed = " and ".join(self.augmentations) or "nothing yet"
            raise UserError(
                f"{where}: {self.plural} can be augmented by {allowed}. "
                f"Received: {augment.model_dump(exclude_defaults=True)}"
            )

    def array_form(self, rows: Rows, white: int) -> ArrayForm | None:
        """Returns what training arrays were like; None where rows are no arrays, or any array will do."""
        return None

    def inputs_like_training(self, x: Any, form: ArrayForm | None, shape: Shape) -> np.ndarray:
        """Does to an array what was done to the training arrays; returns what `Rows.inputs` may hold.

        Args:
            x: Inputs `(n, *shape)`, or a dict of such.
            form: What `array_form` returned in training.
            shape: The shape of one input of the model.

        Raises:
            UserError: The array has another shape, or its values are not finite numbers.
        """
        if isinstance(shape, dict):
            return self._columns_like_training(x, shape)
        x = np.asarray(x)
        if x.shape[1:] != shape or not len(x):
            wanted = ", ".join(["n", *map(str, shape)])
            raise UserError(f"x must be a batch ({wanted}). Received: {x.shape}")
        check_numbers(x, "predict")
        return x.astype(np.float32)

    def _columns_like_training(self, x: Any, shape: dict[str, tuple[int, ...]]) -> np.ndarray:
        wanted = f"a dict of batches of {shape_in_words(shape)}"
        try:
            rows = columns({name: x[name] for name in shape})
        except (KeyError, IndexError, TypeError, ValueError) as error:
            received = ", ".join(x) if isinstance(x, Mapping) else type(x).__name__
            raise UserError(f"x must be {wanted}. Received: {received} ({error})") from error
        parts = by_column(rows)
        if shape_of(parts) != shape or not len(rows):
            raise UserError(f"x must be {wanted}. Received: batches of {shape_in_words(shape_of(parts))}")
        for part in parts.values():
            check_numbers(part, "predict")
        return rows

    def file_batches(
        self, paths: Iterable, config: DataConfig, batch_size: int
    ) -> Iterator[tuple[np.ndarray, list[str], list[tuple[str, str]]]]:
        """Yields `(inputs, their names, [(name, reason) of the unreadable, ...])` of files and folders.

        Raises:
            UserError: This kind of input is not read from files, a path does not exist, or holds nothing.
        """
        raise UserError(f"The model takes {self.plural}, not files.")

    def pixel_spec(self, config: DataConfig):
        """Returns how encoded pictures become inputs, for exports that take them; None for other kinds."""
        return

    def image_sizes(self, rows: Rows) -> np.ndarray | None:
        """Returns heights and widths of images as they are stored, `(n, 2)`; None for what is no image."""
        return None

    def pictures(self, x: Any) -> np.ndarray | None:
        """Returns inputs as pictures, `(n, h, w, 3)` in 0..255; None where they cannot be shown so.

        Args:
            x: NumPy, as the model gets them: `(n, *shape)`, or a dict of such.
        """
        return None

    def texts(self, x: Any) -> list[list[str]] | None:
        """Returns inputs as the words or tokens that they consist of; None where they are no texts.

        Args:
            x: As in `pictures`.
        """
        return None

    def explain(self, model, x: Any, targets: np.ndarray | None, backbone: str):
        """Returns `(maps, method)`; maps are float `(n, h, w)` or `(n, tokens)` in 0..1, or None."""
        if self.explanation is None:
            return None, ""
        return function_at(self.explanation)(model, x, targets, backbone)


MODALITIES: Registry[Modality] = Registry("modality")
