"""Rows of several inputs: pictures with texts."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tlkeras.data.array_form import ArrayForm
from tlkeras.data.input_shapes import by_column, columns
from tlkeras.data.modalities.base import Modality
from tlkeras.data.modalities.image import Image
from tlkeras.data.modalities.text import Text
from tlkeras.data.rows import Rows
from tlkeras.errors import UserError
from tlkeras.lazy import LateModule

PIL = LateModule("PIL")

# The parts of a row, in the order of the towers of the model, and the inputs of each.
PARTS = {"image": ("image",), "text": ("ids", "mask")}


def missing_picture() -> bytes:
    """Returns what stands for the missing picture of a row: a black picture, as a PNG file."""
    file = io.BytesIO()
    PIL.Image.new("RGB", (1, 1)).save(file, "PNG")
    return file.getvalue()


class ImageText(Modality):
    """A picture, `image` float32 `(height, width, 3)`, with a text, `ids` and `mask` int32 `(max_length,)`.

    Either part of a row may be missing. A missing picture is black, and a missing text has a mask of zeros.

    Args:
        text: The modality of the texts, with its tokenizer.
    """

    name = "image_text"
    plural = "pictures with texts"
    hub_name = "image"  # the Hub has no task of classifying pictures with texts
    values = "float32 RGB pixels in 0..255, with token ids and their mask"
    dtypes = {name: Text.dtypes[name] for name in PARTS["text"]}
    augmentations = (
        *(name for name in Image.augmentations if name not in ("mixup", "cutmix")),
        *Text.augmentations,
    )
    made_of = tuple(PARTS)
    searched = Image.searched
    views_advice = Image.views_advice
    backbones_advice = ": set model.beside.text.backbone"

    def __init__(self, text: Text | None = None):
        self.image, self.text = Image(), text or Text()

    def with_config(self, config):
        return ImageText(self.text.with_config(config))

    def of_table(self, table, config):
        if config.tokenizer is None:
            return super().of_table(table, config)

        def draw(rows):
            """Returns the columns `image`, `ids` and `mask` of rows with the columns `image` and `text`."""
            image = rows["image"] if table.draw is None else table.draw(rows["image"])
            tokens = self.text.tokenizer.encode(rows["text"], length=config.max_length, missing=True)
            return columns({"image": image, **{name: tokens[name] for name in PARTS["text"]}})

        return replace(table, modality=self, draw=draw)

    def without(self, rows, part):
        inputs = rows.inputs.copy()
        for name in PARTS[part]:
            inputs[name] = missing_picture() if inputs.dtype[name].hasobject else 0
        return replace(rows, inputs=inputs)

    def of_run(self, folder):
        return ImageText(self.text.of_run(folder))

    def config_of_run(self, config, folder):
        return self.text.config_of_run(config, folder)

    def check_kind(self, name, other):
        if isinstance(other, ImageText):
            self.text.check_kind(name, other.text)
        else:
            super().check_kind(name, other)

    @property
    def files(self):
        return self.text.files

    def check_model(self, backbone):
        self.text.check_model(backbone)

    def shape_of_rows(self, rows, config, default_size=None):
        image = self.image.shape_of_rows(rows.part("image"), config, default_size)
        return {"image": image, **super().shape_of_rows(rows.part(*PARTS["text"]), config)}

    def assumed_shape(self, config, default_size=None):
        return {"image": self.image.assumed_shape(config, default_size), **self.text.assumed_shape(config)}

    def fits(self, shape):
        return isinstance(shape, dict) and set(shape) == {"image", *self.dtypes}

    def image_size(self, shape):
        return self.image.image_size(shape["image"])

    def resolved(self, config, shape):
        return self.image.resolved(config, shape["image"])

    def check_split(self, split, rows, train):
        super().check_split(split, rows.part(*PARTS["text"]), train.part(*PARTS["text"]))

    def reader(self, rows, config):
        image = self.image.reader(rows.part("image"), config)
        text = self.text.reader(rows.part(*PARTS["text"]), config)
        return lambda indices: {"image": image(indices), **text(indices)}

    def augmented(self, x, augment, seed, epoch, indices):
        where = (seed, epoch, indices)
        image = self.image.augmented(x["image"], self.image.drawable(augment), *where)
        text = {name: x[name] for name in PARTS["text"]}
        return {"image": image, **self.text.augmented(text, self.text.drawable(augment), *where)}

    def facts_of_rows(self, rows, config):
        there = np.asarray(rows.part(*PARTS["text"]).inputs["mask"].any(axis=1))
        facts = {"without a text": int((~there).sum())}
        if rows.encoded is not None:
            facts["without a picture"] = int((rows.encoded == missing_picture()).sum())
        return facts | self.text.facts_of_rows(self._texts_of(rows, there), config)

    def note_on_rows(self, rows, config):
        there = np.asarray(rows.part(*PARTS["text"]).inputs["mask"].any(axis=1))
        return self.text.note_on_rows(self._texts_of(rows, there), config)

    def _texts_of(self, rows: Rows, there: np.ndarray) -> Rows:
        """Returns the rows that have a text as rows of texts."""
        texts = None if rows.originals is None else rows.originals["text"][there]
        part = rows.part(*PARTS["text"]).take(there)
        return replace(part, originals=texts if there.any() else None)

    def array_form(self, rows, white) -> ArrayForm | None:
        return self.image.array_form(rows.part("image"), white)

    def inputs_like_training(self, x, form, shape):
        if not isinstance(x, Mapping) and getattr(getattr(x, "dtype", None), "names", None) is None:
            raise UserError(f"x must be a dict of image and text. Received: {type(x).__name__}")
        parts = x if isinstance(x, Mapping) else {name: x[name] for name in x.dtype.names}
        text = [name for name in (PARTS["text"] if "ids" in parts else ("text",)) if name not in parts]
        if "image" not in parts or text:
            received = ", ".join(map(str, parts)) or "nothing"
            raise UserError(f"x must be a dict of image and text (or ids and mask). Received: {received}")
        image = self.image.inputs_like_training(parts["image"], form, shape["image"])
        return columns({"image": image, **self._encoded(parts, shape["ids"][0])})

    def _encoded(self, parts: Mapping[str, Any], length: int) -> dict[str, np.ndarray]:
        if "ids" in parts:
            return {name: np.asarray(parts[name], np.int32) for name in PARTS["text"]}
        if self.text.tokenizer is None:
            raise UserError("The run has no tokenizer: give ids and mask. Received: texts")
        texts = texts_or_missing(parts["text"])
        rows = self.text.tokenizer.encode(texts, length, missing=True)
        return by_column(rows)

    def image_sizes(self, rows):
        return self.image.image_sizes(rows.part("image"))

    def pictures(self, x):
        return x["image"]

    def texts(self, x):
        return self.text.texts(x)


def texts_or_missing(texts: Iterable) -> list[str]:
    """Returns texts in which None became an empty text. Raises `UserError` for anything but texts."""
    if isinstance(texts, str):
        raise UserError(f"Texts come as a list, even a single one. Received: {texts[:60]!r}")
    texts = ["" if one is None else one for one in texts]
    other = next((one for one in texts if not isinstance(one, str)), None)
    if other is not None:
        raise UserError(f"text must hold texts. Received: {type(other).__name__}")
    return texts
