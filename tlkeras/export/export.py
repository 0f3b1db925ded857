"""Exports a model: writes it, loads it again, compares it with `predict`, and then publishes it."""

import contextlib
import importlib.util
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from tlkeras.data import Domain, kept_rows
from tlkeras.data.sound_files import SoundSpec
from tlkeras.data.sources import arrays
from tlkeras.errors import RunError, UserError, install
from tlkeras.evaluation.prediction_files import one_line
from tlkeras.export import parity
from tlkeras.export.formats import FORMATS, Format, load_encoded
from tlkeras.export.row_readers import row_readers
from tlkeras.export.sample import Sample, one_by_one, sample_rows
from tlkeras.export.served_model import ServedModel, answering_model
from tlkeras.export.serving_notes import serving_notes
from tlkeras.prepare import read_domains
from tlkeras.run_dir import write_json, write_text
from tlkeras.runs.saved_run import SavedRun, load_run

CHECKED_ROWS = 128
REPRESENTATIVE_ROWS = 128
ACCURACY_DROP = 0.03


def export_run(
    run: str | os.PathLike | SavedRun,
    formats: Iterable[str] = ("saved_model",),
    *,
    data: Mapping[str, tuple] | None = None,
    rows: int = CHECKED_ROWS,
    accuracy_drop: float = ACCURACY_DROP,
) -> dict[str, parity.Parity]:
    """Exports the best model of a run to `RUN/export/FORMAT/`, if its answers agree with `predict`.

    `labels.txt` and `model.json` are next to the model. `RUN/export/serve.md` explains how to use each
    format, and `RUN/export/preprocess.py` reads pictures for it. An earlier export of the same format is
    replaced, unless the new export is refused.

    Args:
        run: Path of a run directory.
        formats: Names of formats in `FORMATS`.
        data: Arrays on which the run was trained, if `run_experiment` received arrays from Python. None
            uses the rows that the run kept.
        rows: Largest number of validation rows on which the export is compared with `predict`.
        accuracy_drop: Largest accepted loss of accuracy of a format, as a fraction.

    Returns:
        Comparison of each format with `predict`, a `Parity` by the name of the format.

    Raises:
        UserError: A format is unknown, a package is missing, or the data cannot be read or have changed.
        ExportRefused: Some formats were refused. The message names them; the other formats were written.
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
    """Returns the data of a run. For missing arrays from Python, these are the kept rows."""
    if "adapted" in run.manifest:
        return run.domains()["target"]
    kept = run.path / kept_rows.FILE
    if data is not None or run.config.data.source != arrays.SOURCE.name or not kept.is_file():
        return read_domains(run.data_config, data)["source"]
    shape, names, task = run.input_shape, run.class_names, run.manifest["task"]
    config, outputs = run.modality.resolved(run.config.data, shape), 1 if task == "binary" else len(names)
    like = Domain("source", {}, names, task, run.modality, outputs, shape, config)
    return kept_rows.read_kept_rows(kept, like)


def serve(run: SavedRun, domain: Domain) -> ServedModel:
    """Returns the best model of a run, ready to be written in any format."""
    train = domain.splits["train"]
    return ServedModel(
        model=answering_model(run.model, domain.task, run.temperature),
        task=domain.task,
        class_names=() if domain.task == "regression" else run.class_names,
        input_shape=domain.input_shape,
        spec=domain.modality.pixel_spec(domain.config),
        picture=domain.modality.picture_spec(domain.config),
        representative=lambda: one_by_one(train.spread(REPRESENTATIVE_ROWS), domain),
        dtypes=domain.modality.dtypes,
        files=domain.modality.files,
        sound=SoundSpec.of_files(domain.config),
        facts={
            "name": run.config.name,
            "backbone": run.config.model.backbone,
            "arrays": run.manifest.get("arrays"),
            "versions": run.manifest["versions"],
            "git": run.manifest["git"],
            "data_fingerprint": run.manifest["data_fingerprint"],
            "temperature": run.temperature,
        },
    )


def _export(
    name: str, row: Format, served: ServedModel, sample: Sample, run: SavedRun, accuracy_drop: float
) -> parity.Parity:
    """Writes one format to a temporary folder, checks it, and moves it to its final place."""
    tolerance = None if row.tolerance is None else max(row.tolerance, sample.tolerance)
    try:
        with run.run_dir.replacing(run.run_dir.export / name) as folder:
            folder.mkdir()
            answers, odd = _written_and_asked(name, row, served, folder, sample)
            compared = parity.compare(answers, sample.reference)
            parity.check(compared, name, tolerance=tolerance, accuracy_drop=accuracy_drop)
            if name == "saved_model" and sample.encoded is not None:
                _check_encoded(folder, sample, accuracy_drop)
            compared_odd = None if odd is None else parity.compare(odd, sample.odd.reference)
            if compared_odd is not None:
                what = f"{name} (odd pictures by preprocess.py)"
                parity.check(compared_odd, what, tolerance=tolerance, accuracy_drop=1.0)
            _describe(folder, name, row, served, sample, compared, compared_odd)
    except BaseException:
        with contextlib.suppress(OSError):
            run.run_dir.export.rmdir()  # removes the folder only if it is empty
        raise
    return compared


def _written_and_asked(name, row, served, folder, sample) -> tuple[np.ndarray, np.ndarray | None]:
    """Writes the model and returns its answers for the rows and for the odd pictures.

    A failure of the converter counts as a refused export.
    """
    try:
        row.write(served, folder)
        answer = row.load(folder)
        return answer(sample.inputs), None if sample.odd is None else answer(sample.odd.pixels)
    except (UserError, RunError, OSError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise parity.ExportRefused(
            f"The {name} export failed in its converter or its runtime. Received: "
            f"{type(error).__name__}: {reason}"
        ) from error


def _check_encoded(folder: Path, sample: Sample, accuracy_drop: float) -> None:
    answer, what = load_encoded(folder), "saved_model (encoded images)"
    tolerance = max(FORMATS.get("saved_model").tolerance or 0.0, sample.tolerance)
    compared = parity.compare(answer(sample.encoded.contents), sample.encoded.reference)
    parity.check(compared, what, tolerance=tolerance, accuracy_drop=accuracy_drop)
    odd = parity.compare(answer(sample.odd.contents), sample.odd.reference)
    parity.check(odd, f"{what}, odd pictures", tolerance=tolerance, accuracy_drop=1.0)


def _describe(folder, name, row, served, sample, compared, compared_odd) -> None:
    facts = {"format": name, "file": row.file or ".", **served.describe()}
    facts["parity"] = compared.to_dict() | {"split": sample.split, "tolerance": row.tolerance}
    if compared_odd is not None:
        facts["parity_on_odd_pictures"] = compared_odd.to_dict()
    write_json(folder / "model.json", facts)
    for file, text in served.files.items():
        write_text(folder / file, text)
    if served.class_names:
        write_text(folder / "labels.txt", "".join(f"{one_line(str(n))}\n" for n in served.class_names))


def _write_notes(run: SavedRun, served: ServedModel) -> None:
    present = [name for name in FORMATS.names() if (run.run_dir.export / name).is_dir()]
    if present:
        run.run_dir.write_text(run.run_dir.export / "serve.md", serving_notes(present, served))
        shape, files = served.input_shape, served.files
        for name, text in row_readers(present[0], shape, served.picture, files, served.sound).items():
            run.run_dir.write_text(run.run_dir.export / name, text)


def _ready(name: str) -> Format:
    row = FORMATS.get(name)
    missing = [package for package in row.packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(
            f"The format {name} needs {', '.join(missing)}: {install('export')}. Received: --format={name}"
        )
    return row
