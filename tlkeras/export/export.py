"""The story of an export: write, run it again, compare with `predict`, and only then let it be seen."""

import contextlib
import importlib.util
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkeras.data import Domain, evaluation_batches, kept_rows, read_image
from tlkeras.data.reading import PixelSpec
from tlkeras.data.rows import Rows
from tlkeras.data.scan import contents
from tlkeras.data.sources import arrays
from tlkeras.errors import RunError, UserError
from tlkeras.evaluation import Predictions
from tlkeras.evaluation.prediction_files import one_line
from tlkeras.export import parity
from tlkeras.export.formats import FORMATS, Format, load_encoded
from tlkeras.export.served_model import ServedModel, answering_model
from tlkeras.export.serving_notes import serving_notes
from tlkeras.prepare import read_domains
from tlkeras.saved_run import SavedRun, load_run

CHECKED_ROWS = 128
REPRESENTATIVE_ROWS = 128
ACCURACY_DROP = 0.03
ENCODED_TOLERANCE = 1e-2  # TensorFlow's decoders and Pillow round transparent pixels differently
HALF_PRECISION_TOLERANCE = 5e-2  # of `predict` itself, for a model trained in half precision


@dataclass(frozen=True)
class Sample:
    """Rows of a run with what `predict` says of them.

    Attributes:
        split: Where they are from: `val`, else `test`, else `train`.
        inputs: Raw inputs, float32 `(n, *input_shape)`.
        reference: The predictions for them.
        encoded: The rows as encoded images, and the predictions for those; None for vectors.
        tolerance: Least tolerance for any format, from the precision of `predict` itself.
    """

    split: str
    inputs: np.ndarray
    reference: Predictions
    encoded: tuple[list[bytes], Predictions] | None
    tolerance: float


def export_run(
    run: str | os.PathLike | SavedRun,
    formats: Iterable[str] = ("saved_model",),
    *,
    data: Mapping[str, tuple] | None = None,
    rows: int = CHECKED_ROWS,
    accuracy_drop: float = ACCURACY_DROP,
) -> dict[str, parity.Parity]:
    """Exports a run's best model into `RUN/export/FORMAT/`, each format only if it answers as `predict` does.

    Beside the model lie `labels.txt` and `model.json`; `RUN/export/serve.md` says how to use each.
    An earlier export of the same format is replaced, but not by one that is refused.

    Args:
        run: A run directory.
        formats: Names in `FORMATS`.
        data: The arrays that the run was trained on, where `run_experiment` got them from Python; None is the
            rows of them that the run kept.
        rows: On how many validation rows the export is compared with `predict`.
        accuracy_drop: Largest loss of accuracy that any format may have, as a fraction.

    Returns:
        How each format compares, by name.

    Raises:
        UserError: An unknown format, a missing package, data that cannot be read or are others now.
        ExportRefused: Names the formats that were refused; the others are there.
    """
    run = run if isinstance(run, SavedRun) else load_run(run)
    chosen = {name: _ready(name) for name in dict.fromkeys(formats)}
    domain = _domain(run, data)
    served, sample = serve(run, domain), sample_rows(run, domain, rows)
    compared, refused = {}, []
    for name, row in chosen.items():
        try:
            compared[name] = _export(name, row, served, sample, run, accuracy_drop)
        except parity.ExportRefused as error:
            refused.append(str(error))
    _write_notes(run, served)
    if refused:
        raise parity.ExportRefused(" ".join(refused))
    return compared


def _domain(run: SavedRun, data: Mapping[str, tuple] | None) -> Domain:
    """Returns the labelled data of a run; of arrays from Python that are not given again, what it kept."""
    kept = run.path / kept_rows.FILE
    if data is not None or run.config.data.source != arrays.SOURCE.name or not kept.is_file():
        return read_domains(run.config, data)["source"]
    shape, names, task = tuple(run.manifest["input_shape"]), run.class_names, run.manifest["task"]
    image = run.manifest["modality"] == "image"
    config = run.config.data.model_copy(update={"image_size": shape[:2]}) if image else run.config.data
    outputs = 1 if task == "binary" else len(names)
    like = Domain("source", {}, names, task, run.manifest["modality"], outputs, shape, config)
    return kept_rows.read_kept_rows(kept, like)


def serve(run: SavedRun, domain: Domain) -> ServedModel:
    """Returns a run's best model, ready to be written in any format."""
    image = domain.modality == "image"
    train = domain.splits["train"]
    return ServedModel(
        model=answering_model(run.model, domain.task),
        task=domain.task,
        class_names=() if domain.task == "regression" else run.class_names,
        input_shape=tuple(domain.input_shape),
        spec=PixelSpec.of(domain.config) if image else None,
        representative=lambda: _one_by_one(train.spread(REPRESENTATIVE_ROWS), domain),
        facts={
            "name": run.config.name,
            "backbone": run.config.model.backbone,
            "versions": run.manifest["versions"],
            "git": run.manifest["git"],
            "data_fingerprint": run.manifest["data_fingerprint"],
        },
    )


def sample_rows(run: SavedRun, domain: Domain, count: int) -> Sample:
    """Returns rows on which exports are compared, spread evenly over the validation split."""
    if domain.input_shape != tuple(run.manifest["input_shape"]) or (domain.class_names != run.class_names):
        raise UserError(
            f"The data are not those of the run {run.path}. Received: input shape {domain.input_shape}, "
            f"classes {', '.join(domain.class_names)}"
        )
    split = next(s for s in ("val", "test", "train") if s in domain.splits)
    rows = domain.splits[split].spread(count)
    inputs = np.concatenate(list(_one_by_one(rows, domain)))
    half = any(layer.compute_dtype in ("float16", "bfloat16") for layer in run.model.layers)
    return Sample(
        split=split,
        inputs=inputs,
        reference=_predictions(run, inputs, rows),
        encoded=_encoded(run, rows, domain) if domain.modality == "image" else None,
        tolerance=HALF_PRECISION_TOLERANCE if half else 0.0,
    )


def _export(
    name: str, row: Format, served: ServedModel, sample: Sample, run: SavedRun, accuracy_drop: float
) -> parity.Parity:
    """Writes one format beside its place, checks it, and puts it there."""
    try:
        with run.run_dir.replacing(run.run_dir.export / name) as folder:
            folder.mkdir()
            answers = _written_and_asked(name, row, served, folder, sample.inputs)
            compared = parity.compare(answers, sample.reference)
            tolerance = None if row.tolerance is None else max(row.tolerance, sample.tolerance)
            parity.check(compared, name, tolerance=tolerance, accuracy_drop=accuracy_drop)
            if name == "saved_model" and sample.encoded is not None:
                _check_encoded(folder, sample, accuracy_drop)
            _describe(folder, name, row, served, sample, compared)
    except BaseException:
        with contextlib.suppress(OSError):
            run.run_dir.export.rmdir()  # made for this; stays where it holds other formats
        raise
    return compared


def _written_and_asked(name, row, served, folder, inputs) -> np.ndarray:
    """Writes the model and returns what it answers; a converter's own failure is a refusal like others."""
    try:
        row.write(served, folder)
        return row.load(folder)(inputs)
    except (UserError, RunError, OSError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise parity.ExportRefused(
            f"The {name} export failed in its converter or its runtime. Received: "
            f"{type(error).__name__}: {reason}"
        ) from error


def _check_encoded(folder: Path, sample: Sample, accuracy_drop: float) -> None:
    encoded, reference = sample.encoded
    compared = parity.compare(load_encoded(folder)(encoded), reference)
    tolerance = max(ENCODED_TOLERANCE, sample.tolerance)
    parity.check(compared, "saved_model (encoded images)", tolerance=tolerance, accuracy_drop=accuracy_drop)


def _describe(folder, name, row, served, sample, compared) -> None:
    from tlkeras.run_dir import write_json, write_text

    facts = {"format": name, "file": row.file or ".", **served.describe()}
    facts["parity"] = compared.to_dict() | {"split": sample.split, "tolerance": row.tolerance}
    write_json(folder / "model.json", facts)
    if served.class_names:
        write_text(folder / "labels.txt", "".join(f"{one_line(str(n))}\n" for n in served.class_names))


def _write_notes(run: SavedRun, served: ServedModel) -> None:
    present = [name for name in FORMATS.names() if (run.run_dir.export / name).is_dir()]
    if present:
        text = serving_notes(present, served, run.run_dir.export.resolve())
        run.run_dir.write_text(run.run_dir.export / "serve.md", text)


def _ready(name: str) -> Format:
    row = FORMATS.get(name)
    missing = [package for package in row.packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(
            f"The format {name} needs {', '.join(missing)}: pip install 'tlkeras[export]'. "
            f"Received: --format={name}"
        )
    return row


def _one_by_one(rows: Rows, domain: Domain):
    for x, _, _ in evaluation_batches(rows, domain, batch_size=1):
        yield x.numpy()


def _predictions(run: SavedRun, inputs: np.ndarray, rows: Rows) -> Predictions:
    return Predictions.from_logits(
        run.model.predict(inputs, verbose=0),
        task=run.manifest["task"],
        labels=rows.labels,
        ids=rows.ids,
        class_names=run.class_names,
    )


def _encoded(run: SavedRun, rows: Rows, domain: Domain) -> tuple[list[bytes], Predictions] | None:
    """Returns the rows as encoded images with predictions for what `predict` reads from them."""
    if rows.kind in ("files", "bytes"):
        encoded = [contents(item) for item in rows.inputs]
    elif rows.inputs.dtype == np.uint8:
        encoded = [_as_png(image) for image in rows.inputs]
    else:
        return None  # float pixels have no encoded form
    inputs = np.stack([read_image(content, domain.config) for content in encoded])
    return encoded, _predictions(run, inputs.astype(np.float32), rows)


def _as_png(image: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image).save(file, "PNG")
    return file.getvalue()
