"""The rows on which exports are compared with `predict`, and the predictions for them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkeras.data import Domain, evaluation_batches, read_image
from tlkeras.data.array_form import as_png
from tlkeras.data.input_shapes import joined
from tlkeras.data.reading import PixelSpec
from tlkeras.data.rows import Rows
from tlkeras.data.scan import contents
from tlkeras.errors import UserError
from tlkeras.evaluation import Predictions
from tlkeras.export.odd_pictures import odd_pictures
from tlkeras.export.preprocess_file import preprocess_text, reader_of
from tlkeras.maybe import MaybeNone
from tlkeras.runs.saved_run import SavedRun

HALF_PRECISION_TOLERANCE = 5e-2  # accuracy of `predict` itself for a model that was trained in half precision


@dataclass(frozen=True)
class Pictures:
    """Encoded pictures with the predictions for them.

    Attributes:
        contents: Contents of picture files.
        pixels: Pixels as the written `preprocess.py` reads them, float32 `(n, height, width, 3)`.
        reference: Predictions for the pictures as `predict` reads them.
    """

    contents: list[bytes]
    pixels: np.ndarray
    reference: Predictions


@dataclass(frozen=True)
class Sample:
    """Rows of a run with the predictions for them.

    Attributes:
        split: Split of the rows: `val`, else `test`, else `train`.
        inputs: Raw inputs, `(n, *input_shape)`, or a dict of them.
        reference: Predictions for the rows.
        encoded: Rows as encoded pictures. None for vectors and for pixels that are not whole numbers.
        odd: Pictures of kinds that are easy to read wrongly, made from the rows. None for vectors.
        tolerance: Smallest tolerance for any format, given by the precision of `predict` itself.
    """

    split: str
    inputs: Any
    reference: Predictions
    encoded: Pictures | MaybeNone
    odd: Pictures | MaybeNone
    tolerance: float


def sample_rows(run: SavedRun, domain: Domain, count: int) -> Sample:
    """Returns the rows for the comparison, spread evenly over the validation split."""
    if domain.input_shape != run.input_shape or (domain.class_names != run.class_names):
        raise UserError(
            f"The data differ from those of the run {run.path}. Received: input shape {domain.input_shape}, "
            f"classes {', '.join(domain.class_names)}"
        )
    split = next(s for s in ("val", "test", "train") if s in domain.splits)
    rows = domain.splits[split].spread(count)
    inputs = joined(list(one_by_one(rows, domain)))
    half = any(layer.compute_dtype in ("float16", "bfloat16") for layer in run.model.layers)
    encoded = odd = None
    if domain.modality.pixel_spec(domain.config) is not None:
        own = _own_contents(rows)
        encoded = None if own is None else _pictures(run, own, domain, rows)
        odd = _pictures(run, [content for _, content in odd_pictures(inputs)], domain)
    return Sample(
        split=split,
        inputs=inputs,
        reference=_predictions(run, inputs, rows),
        encoded=encoded,
        odd=odd,
        tolerance=HALF_PRECISION_TOLERANCE if half else 0.0,
    )


def one_by_one(rows: Rows, domain: Domain) -> Iterator[Any]:
    """Yields the raw inputs of rows, `(1, *input_shape)`, or a dict of them."""
    for x, _, _ in evaluation_batches(rows, domain, batch_size=1):
        yield {name: part.numpy() for name, part in x.items()} if isinstance(x, dict) else x.numpy()


def _predictions(run: SavedRun, inputs: Any, rows: Rows | None) -> Predictions:
    return Predictions.from_logits(
        run.model.predict(inputs, verbose=0),
        task=run.manifest["task"],
        labels=None if rows is None else rows.labels,
        ids=None if rows is None else np.asarray(rows.ids),
        class_names=run.class_names,
    ).at_temperature(run.temperature)


def _pictures(run: SavedRun, encoded: list[bytes], domain: Domain, rows: Rows | None = None) -> Pictures:
    inputs = np.stack([read_image(content, domain.config) for content in encoded])
    read_picture = reader_of(preprocess_text(PixelSpec.of(domain.config)))
    return Pictures(
        contents=encoded,
        pixels=np.stack([read_picture(content) for content in encoded]),
        reference=_predictions(run, inputs.astype(np.float32), rows),
    )


def _own_contents(rows: Rows) -> list[bytes] | None:
    if rows.kind in ("files", "bytes"):
        return [contents(item) for item in rows.inputs]
    if rows.inputs.dtype == np.uint8:
        return [as_png(image) for image in rows.inputs]
    return None  # float pixels have no encoded form
