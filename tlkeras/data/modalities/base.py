"""What one kind of input needs, as one object."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tlkeras.config.data import AugmentConfig, DataConfig
from tlkeras.data.array_form import ArrayForm, check_numbers
from tlkeras.data.rows import Rows
from tlkeras.errors import UserError
from tlkeras.registry import Registry, function_at


class Modality:
    """One kind of input: how rows are read, what may be drawn at random, and how a row is shown.

    A new kind is a subclass with a name and a `shape_of_rows`, added to `MODALITIES`. A source says in its
    `Table` that its rows are of this kind, and a backbone says in its row that it takes them. Every other
    member has a default: what a kind of input does not have (pictures, files, heat maps) is left out.

    Attributes:
        name: The registered name, also in a run's manifest.
        plural: The word for rows of this kind in messages.
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
    augmentations: tuple[str, ...] = ("noise", "mixup")
    searched: Mapping[str, AugmentConfig] = {}
    views_advice = "adaptation.strong_augment.noise, the deviation of noise in units of the input, e.g. 0.1"
    pretexts: tuple[str, ...] = ()
    explanation: str | Callable | None = None

    def __repr__(self) -> str:
        return f"<modality {self.name}>"

    def shape_of_rows(self, rows: Rows, config: DataConfig, default_size: Any = None) -> tuple[int, ...]:
        """Returns the shape of one input as the model gets it, without the batch.

        Args:
            rows: The training rows.
            config: Their domain's config.
            default_size: The backbone's image size, where it has one.
        """
        return tuple(int(side) for side in rows.inputs.shape[1:])

    def assumed_shape(self, config: DataConfig, default_size: Any = None) -> tuple[int, ...]:
        """Returns the shape that a plan takes where the data are not at hand."""
        raise UserError(f"The shape of {self.plural} is not known without the data.")

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether inputs of this kind can have a shape."""
        return len(shape) == 1

    def image_size(self, shape: tuple[int, ...]) -> tuple[int, int] | None:
        """Returns the height and width in a shape of one input; None for what is no image."""
        return None

    def resolved(self, config: DataConfig, shape: tuple[int, ...]) -> DataConfig:
        """Returns a domain's config with what was left open set as the shape of its inputs says."""
        return config

    def check_split(self, split: str, rows: Rows, train: Rows) -> None:
        """Raises `UserError` where the rows of a split cannot stand beside the training rows."""

    def check_domain(self, name: str, shape: tuple[int, ...], source: tuple[int, ...]) -> None:
        """Raises `UserError` where a domain's inputs cannot stand in one batch with the source's.

        Args:
            name: The domain's name in `adaptation`.
            shape: The shape of its inputs.
            source: The shape of the source's.
        """
        if shape != source:
            raise UserError(
                f"All domains must have {self.plural} of one width. Received: data.source gives "
                f"{source[0]} numbers, adaptation.{name} {shape[0]}"
            )

    def reader(self, rows: Rows, config: DataConfig) -> Callable:
        """Returns a function from row indices, int64 `(b,)`, to inputs `(b, *shape)`, for use in tf.data."""
        from tlkeras.data.reading import array_reader

        return array_reader(rows)

    def drawable(self, augment: AugmentConfig) -> AugmentConfig:
        """Returns the part of the settings that changes rows of this kind."""
        return AugmentConfig(**{name: getattr(augment, name) for name in self.augmentations})

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

    def inputs_like_training(self, x: Any, form: ArrayForm | None, shape: tuple[int, ...]) -> np.ndarray:
        """Does to an array what was done to the training arrays; returns what `Rows.inputs` may hold.

        Args:
            x: Inputs `(n, *shape)`.
            form: What `array_form` returned in training.
            shape: The shape of one input of the model.

        Raises:
            UserError: The array has another shape, or its values are not finite numbers.
        """
        x = np.asarray(x)
        if x.shape[1:] != shape or not len(x):
            wanted = ", ".join(["n", *map(str, shape)])
            raise UserError(f"x must be a batch ({wanted}). Received: {x.shape}")
        check_numbers(x, "predict")
        return x.astype(np.float32)

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

    def pictures(self, x: np.ndarray) -> np.ndarray | None:
        """Returns inputs as pictures, `(n, h, w, 3)` in 0..255; None where they cannot be shown so."""
        return None

    def texts(self, x: np.ndarray) -> list[list[str]] | None:
        """Returns inputs as the words or tokens that they consist of; None where they are no texts."""
        return None

    def explain(self, model, x: np.ndarray, targets: np.ndarray | None, backbone: str):
        """Returns `(maps, method)`; maps are float `(n, h, w)` or `(n, tokens)` in 0..1, or None."""
        if self.explanation is None:
            return None, ""
        return function_at(self.explanation)(model, x, targets, backbone)


MODALITIES: Registry[Modality] = Registry("modality")
