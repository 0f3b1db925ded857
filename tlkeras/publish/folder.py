"""Writes the folder of a run that can be published: its card, its model, and all that its inputs need.

The folder is a run directory too, so `load_run`, `predict` and `model.weights` take it.
"""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlkeras.data.rows import row_ids
from tlkeras.data.sound_files import SoundSpec
from tlkeras.errors import UserError
from tlkeras.evaluation import calibration, unlike_training
from tlkeras.evaluation.prediction_files import one_line
from tlkeras.evaluation.predictions import Predictions
from tlkeras.export.row_readers import row_readers
from tlkeras.models.weights.hub import CARD, stated_licence
from tlkeras.report.card import finished_run, write_card
from tlkeras.run_dir import make_folder, write_json, write_text
from tlkeras.runs.saved_run import SavedRun, load_run

_MEASURED = ("metrics.json", calibration.FILE, unlike_training.FILE)
_VALIDATION = "predictions_val.npz"  # conformal sets need it
# fields of the manifest that describe the machine and not the model
_PRIVATE = ("command", "machine", "runtime", "git")
_PATH = re.compile(r"(?!hf://)((?:[\w+.-]+:)?)(?:~|/|[A-Za-z]:\\).*?([^/\\]+)[/\\]?")


def write_folder(
    run: str | os.PathLike,
    folder: str | os.PathLike | None = None,
    license: str | None = None,
    *,
    keep_card: bool = False,
) -> Path:
    """Writes the published form of a finished run.

    It consists of the model card `README.md`, `best.keras`, `labels.txt`, `config.json`, `manifest.json`,
    what was measured (metrics, temperature, the answers to the validation rows without their names, and the
    features of training rows that tell unlike inputs), and the modules and files that read rows: for
    pictures, for sounds, for texts with their tokenizer, and for columns. Paths of this machine are shortened
    to their last part.

    Args:
        run: Directory of a finished run.
        folder: Folder to write. None uses `RUN/card`.
        license: Licence of the model, as an identifier of the Hub, e.g. `"apache-2.0"`. None means
            `"unknown"` for a new card.
        keep_card: Whether a card that is there already stays as it is, because a person may have edited it.

    Returns:
        Path of the card.

    Raises:
        UserError: The path is not a finished run, the folder holds something else, or the card that stays
            states another licence.
    """
    record, saved = finished_run(run), load_run(run)
    folder = Path(folder or record.path / "card").expanduser()
    refuse_other_content(folder)
    card = folder / CARD
    keep_card = keep_card and card.is_file()
    if keep_card and license not in (None, stated := stated_licence(folder)):
        raise UserError(
            f"{card} states the licence {stated!r}: change it there, or write the card again with: tlkeras "
            f"card {record.path} --license={license}. Received: --license={license}"
        )
    make_folder(folder / "evaluation")
    shutil.copy(record.run_dir.best_model, folder)
    for path in (record.run_dir.evaluation / name for name in _MEASURED):
        if path.is_file():
            shutil.copy(path, folder / "evaluation")
    if (path := record.run_dir.evaluation / _VALIDATION).is_file():
        _without_names(Predictions.load(path)).save(folder / "evaluation" / _VALIDATION)
    texts = _texts(saved)
    for name, text in texts.items():
        write_text(folder / name, text)
    write_json(folder / "config.json", portable(saved.run_dir.read_json("config.json")))
    kept = {name: value for name, value in saved.manifest.items() if name not in _PRIVATE}
    write_json(folder / "manifest.json", portable(kept))
    return card if keep_card else write_card(record, card, license or "unknown", tuple(texts))


def refuse_other_content(folder: str | os.PathLike) -> None:
    """Raises `UserError` if a folder holds files that are not those of a published run."""
    folder = Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"A model is published as a folder. Received: {folder}, which is a file")
    others = sorted(path.name for path in folder.glob("[!.]*"))
    published = {CARD, "best.keras"} <= set(others) and "ledger.jsonl" not in others  # as a run has it
    if others and not published:
        raise UserError(
            f"{folder} is not empty and holds no published model (it holds {others[0]!r}): choose another "
            f"folder. Received: {folder}"
        )


def _without_names(predictions: Predictions) -> Predictions:
    """Returns predictions with the numbers of the rows in place of the names of files."""
    return replace(predictions, ids=row_ids(len(predictions)))


def _texts(run: SavedRun) -> dict[str, str]:
    """Returns the text files by name that a user of the model needs: labels, readers and their files."""
    modality, shape = run.modality, run.input_shape
    data = modality.resolved(run.config.data, shape)
    spec, sound = modality.picture_spec(data), SoundSpec.of_files(data)
    texts = dict(modality.files)
    if run.class_names:
        texts["labels.txt"] = "".join(f"{one_line(str(name))}\n" for name in run.class_names)
    return texts | row_readers(".", shape, spec, modality.files, sound)


def portable(value: Any) -> Any:
    """Returns JSON values in which absolute paths are shortened to their last part.

    Example:
        >>> portable({"source": "folder:/home/me/pictures", "weights": "~/runs/mine"})
        {'source': 'folder:pictures', 'weights': 'mine'}
    """
    if isinstance(value, dict):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [portable(item) for item in value]
    if isinstance(value, str) and (match := _PATH.fullmatch(value)):
        return match[1] + match[2]
    return value
