"""Images: files, encoded images or arrays of pixels, resized to one size."""

import numpy as np

from tlkeras.config.data import SOUND_CHANGES, WORD_CHANGES, AugmentConfig
from tlkeras.data.array_form import ArrayForm, images_like_training
from tlkeras.data.modalities.base import Modality
from tlkeras.data.rows import Rows
from tlkeras.errors import UserError

# The size for encoded images of different sizes if neither the config nor the backbone has a size.
FALLBACK_SIZE = (224, 224)


class Image(Modality):
    """RGB pixels in 0..255, `(height, width, 3)`."""

    name = "image"
    plural = "images"
    hub_name = "image"
    values = "float32 RGB pixels in 0..255"
    augmentations = tuple(
        name for name in AugmentConfig.model_fields if name not in (*WORD_CHANGES, *SOUND_CHANGES)
    )
    searched = {"crop": AugmentConfig(crop=0.7), "crop and colour": AugmentConfig(crop=0.6, color=0.3)}
    views_advice = "adaptation.strong_augment, e.g. randaugment=2 and cutout=0.4"
    pretexts = ("rotation", "simclr")
    explanation = "tlkeras.evaluation.explain:explain_images"

    def of_table(self, table, config):
        if any(rows.kind == "files" and rows.inputs.ndim > 1 for rows in table.splits.values()):
            raise UserError(
                f"Pairs of texts need data.tokenizer. Received: data.tokenizer=none, {config.source}"
            )
        return super().of_table(table, config)

    def shape_of_rows(self, rows, config, default_size=None):
        return image_shape(config.image_size or default_size or _own_size(rows))

    def assumed_shape(self, config, default_size=None):
        return image_shape(config.image_size or default_size or FALLBACK_SIZE)

    def fits(self, shape):
        return not isinstance(shape, dict) and len(shape) == 3

    def image_size(self, shape):
        return tuple(shape[:2])

    def resolved(self, config, shape):
        return config.model_copy(update={"image_size": tuple(shape[:2])})

    def check_split(self, split, rows, train):
        pass  # all images are resized to the same size

    def check_domain(self, name, shape, source):
        if shape != source:
            raise UserError(
                f"adaptation.{name}.image_size must equal data.image_size, because both are in one batch: "
                f"leave it out. Received: adaptation.{name}.image_size={shape[:2]}, "
                f"data.image_size={source[:2]}"
            )

    def reader(self, rows, config):
        from tlkeras.data.reading import image_reader

        return image_reader(rows, config)

    def array_form(self, rows, white):
        return ArrayForm.of_images(rows.inputs, white) if rows.kind == "images" else None

    def inputs_like_training(self, x, form, shape) -> np.ndarray:
        return images_like_training(x, form, shape)

    def input_files(self, paths):
        from tlkeras.data.files import files_in

        return files_in(paths)

    def file_batches(self, paths, config, batch_size):
        from tlkeras.data.files import readable_batches

        return readable_batches(self.input_files(paths), config, batch_size)

    def pixel_spec(self, config):
        from tlkeras.data.reading import PixelSpec

        return PixelSpec.of(config)

    def image_sizes(self, rows):
        if rows.kind == "images":
            return np.array([rows.inputs.shape[1:3]])
        sides = np.stack([rows.facts["height"], rows.facts["width"]], axis=1)
        return sides[sides[:, 0] > 0]

    def pictures(self, x):
        return x


def image_shape(size: int | tuple[int, int]) -> tuple[int, int, int]:
    """Returns the shape of one image with this side, or this height and width."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width), 3


def _own_size(rows: Rows) -> tuple[int, int]:
    if rows.kind == "images":
        return rows.inputs.shape[1:3]
    facts = rows.scan(rows.inputs[:16])
    readable = facts.readable
    sizes = set(zip(facts["height"][readable].tolist(), facts["width"][readable].tolist(), strict=True))
    return sizes.pop() if len(sizes) == 1 else FALLBACK_SIZE
