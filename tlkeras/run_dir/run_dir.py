"""Names and files of a run directory."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from tlkeras import messages
from tlkeras.config.loading import as_of_today
from tlkeras.errors import UserError
from tlkeras.run_dir.atomic import (
    disk_errors,
    plain,
    remove_leftovers,
    replacing,
    write_json,
    write_text,
)
from tlkeras.run_dir.checkpoints import CheckpointStore
from tlkeras.run_dir.ledger import Ledger
from tlkeras.run_dir.lock import RunLock

RUN = "run"  # the stage name in the ledger for events of the whole run
OWN_DOMAIN = "source"  # the name of the run's own (labelled) domain
_LOCK = ".lock"

# A resumed run may use another number of devices or other trackers; its weights stay the same.
MAY_DIFFER = ("runtime.strategy", "runtime.devices", "tracking")


class RunDir:
    """One run on disk. Creating the object changes nothing on disk; `start` does.

    Args:
        path: Path of the run directory (`--workdir`).

    Example:
        >>> run_dir = RunDir("runs/quickstart")
        >>> with run_dir.lock:
        ...     state = run_dir.start(config.model_dump(mode="json"))
        'new'
    """

    def __init__(self, path: str | os.PathLike):
        if not isinstance(path, str | os.PathLike):
            raise UserError(f"A run directory is named by its path. Received: {type(path).__name__} {path!r}")
        self.path = Path(path).expanduser()
        self.config = self.path / "config.json"
        self.manifest = self.path / "manifest.json"
        self.best_model = self.path / "best.keras"
        self.report = self.path / "report.html"
        self.tensorboard = self.path / "tensorboard"
        self.evaluation = self.path / "evaluation"
        self.export = self.path / "export"
        self.ledger = Ledger(self.path / "ledger.jsonl")
        self.lock = RunLock(self.path / _LOCK)

    def twin(self, name: str) -> "RunDir":
        """Returns the run directory of a twin: `twin` for `source_only`, and `twins/NAME` for any other.

        A run of version 0.1 has it in `baselines/NAME`.
        """
        if name == "source_only":
            return RunDir(self.path / "twin")
        before = self.path / "baselines" / name
        return RunDir(before if before.is_dir() else self.path / "twins" / name)

    def evaluation_of(self, domain: str) -> Path:
        """Returns the evaluation folder of a domain. That of the run's own domain is `evaluation` itself."""
        return self.evaluation if domain == OWN_DOMAIN else self.evaluation / domain

    def stage(self, index: int, name: str) -> Path:
        """Returns the folder of a stage, such as `stages/00_head`."""
        return self.path / "stages" / f"{index:02d}_{name}"

    def stage_metrics(self, index: int, name: str) -> Path:
        """Returns the path of a stage's `metrics.csv`, which has one row per epoch."""
        return self.stage(index, name) / "metrics.csv"

    def checkpoints(self, index: int, name: str, keep: int = 2) -> CheckpointStore:
        """Returns the checkpoints of a stage.

        Args:
            index: Index of the stage.
            name: Name of the stage.
            keep: Number of newest checkpoints that stay on disk.
        """
        return CheckpointStore(self.stage(index, name) / "checkpoint", keep)

    def mark_stage_done(self, index: int, name: str) -> None:
        """Writes the file `DONE` of a stage."""
        write_text(self.stage(index, name) / "DONE", "")

    def mark_finished(self, **facts: Any) -> None:
        """Writes to the ledger that the run is complete."""
        self.ledger.append(stage=RUN, event="finished", **facts)

    @property
    def is_finished(self) -> bool:
        """Whether the run is complete."""
        return self.ledger.last(stage=RUN, event="finished") is not None

    @property
    def is_run(self) -> bool:
        """Whether a run was started here."""
        with disk_errors(self.path):
            return self.config.is_file()

    def require_run(self) -> "RunDir":
        """Returns itself. Raises `UserError` if the path is not a run directory."""
        if self.is_run:
            return self
        what = (
            "does not exist" if not self.path.exists() else "is not a run directory (it has no config.json)"
        )
        raise UserError(
            f"{self.path} {what}: expected a folder that `tlkeras train --workdir=...` wrote. "
            f"Received: run={str(self.path)!r}"
        )

    def require_one_run(self) -> "RunDir":
        """Returns itself. Raises `UserError` if the folder holds the runs of several tasks or folds."""
        inner = [n for n in ("target", "source", "fold_0") if (self.path / n / "config.json").is_file()]
        if inner and not self.best_model.is_file():
            raise UserError(
                f"{self.path} holds several runs, each with its own model: name one of them, for "
                f"example {self.path / inner[0]}. Received: run={str(self.path)!r}"
            )
        return self

    def check(self, config: dict[str, Any]) -> Literal["new", "resume", "finished"]:
        """Returns what `start` would do with this config, without changing anything.

        Args:
            config: Resolved config as JSON values. Its fields `MAY_DIFFER` are not compared with the
                existing run.

        Raises:
            UserError: The workdir holds a run of another config, or something that is not a run.
        """
        with disk_errors(self.path):
            if not self.path.exists():
                return "new"
            if not self.path.is_dir():
                raise UserError(f"The workdir must be a folder. Received: workdir={str(self.path)!r}")
            if not self.is_run:
                self._refuse_foreign_content()
                return "new"
        there = as_of_today(self.read_json(self.config))
        differences = config_differences(config, there, ignore=MAY_DIFFER)
        if differences:
            shown = "; ".join(differences[:8]) + ("; ..." if len(differences) > 8 else "")
            raise UserError(
                f"The workdir {self.path} holds a run with another config: choose another --workdir, or "
                f"start over with --fresh (the old run is kept). Differences: {shown}"
            )
        return "finished" if self.is_finished else "resume"

    def start(self, config: dict[str, Any], *, fresh: bool = False) -> Literal["new", "resume", "finished"]:
        """Prepares the directory for a run with this config and takes the lock.

        A refused start leaves the directory unchanged. The lock is held until `lock.release()` or the end
        of the process.

        Args:
            config: Resolved config as JSON values. A new run writes it to `config.json`.
            fresh: Whether to start over. An old run with any config is renamed to `NAME.old-1` (2, 3, ...).

        Returns:
            `"new"`, `"resume"` (an incomplete run with the same config exists) or `"finished"`.

        Raises:
            UserError: The directory holds a run with another config or something that is not a run, or
                another process works there.
            RunError: The disk is full.
        """
        # The state is checked twice: before locking, so that a refusal leaves no lock file behind, and
        # after locking, because another process may have started a run here in between.
        fresh = fresh and self.is_run
        if not fresh and self.check(config) == "finished":
            return "finished"
        self.lock.acquire()
        try:
            if fresh:
                self._set_aside()
            state = self.check(config)
            if state == "new":
                write_json(self.config, config)
            if state != "finished":
                remove_leftovers(self.path)
            return state
        except BaseException:
            self.lock.release()
            raise

    def say_finished(self) -> None:
        """Tells the user that nothing is left to do here."""
        messages.note(f"{self.path} is finished already; --fresh starts over and keeps the old run.")

    def replacing(self, path: str | os.PathLike) -> contextlib.AbstractContextManager[Path]:
        """Yields a temporary path whose content replaces `path` at the end. See `atomic.replacing`."""
        return replacing(self._within(path))

    def write_text(self, path: str | os.PathLike, text: str) -> None:
        """Writes a complete UTF-8 file. `path` may be relative to the run directory."""
        write_text(self._within(path), text)

    def write_texts(self, files: Mapping[str, str]) -> None:
        """Writes complete UTF-8 files: texts by their names in the run directory."""
        for name, text in files.items():
            self.write_text(name, text)

    def write_json(self, path: str | os.PathLike, value: Any) -> None:
        """Writes a complete JSON file. `path` may be relative to the run directory."""
        write_json(self._within(path), value)

    def write_rows(self, path: str | os.PathLike, rows: list[dict[str, Any]]) -> None:
        """Writes a complete CSV file with one line per dict. Columns are in order of first appearance."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self._within(path), text.getvalue())

    def read_rows(self, path: str | os.PathLike) -> list[dict[str, str]]:
        """Returns the rows of a CSV file of `write_rows` as text, or an empty list if there is no file."""
        path = self._within(path)
        if not path.exists():
            return []
        with disk_errors(path):
            return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))

    def read_json(self, path: str | os.PathLike) -> Any:
        """Reads a JSON file of this run. Raises `UserError` if it is missing or damaged."""
        path = self._within(path)
        try:
            with disk_errors(path):
                return json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise UserError(f"The run {self.path} has no {path.name}. Received: {path}") from None
        except ValueError as error:
            raise UserError(f"{path} is damaged: {error}. Restore it or start over.") from None

    def _within(self, path: str | os.PathLike) -> Path:
        """Returns a path inside the run. A path that begins with the run's own path is returned unchanged."""
        path = Path(path)
        return path if path.is_relative_to(self.path) else self.path / path

    def _refuse_foreign_content(self) -> None:
        others = sorted(
            entry.name
            for entry in self.path.iterdir()
            if entry.name != _LOCK and not entry.name.startswith(".config.")
        )
        if others:
            raise UserError(
                f"The workdir {self.path} is not a run directory and is not empty (it holds "
                f"{others[0]!r}): choose another --workdir. Received: workdir={str(self.path)!r}"
            )

    def _set_aside(self) -> None:
        here, number = self.path.resolve(), 1
        while (aside := here.with_name(f"{here.name}.old-{number}")).exists():
            number += 1
        with disk_errors(here):
            here.rename(aside)
        # The lock file moved with the old folder. Another process can hold the lock of the new one only
        # briefly.
        self.lock.release()
        self.lock.acquire()


def config_differences(
    received: dict[str, Any], there: dict[str, Any], *, ignore: Iterable[str] = ()
) -> list[str]:
    """Returns the differences between two configs, e.g. `"stages.0.epochs: received 7, there 3"`.

    Args:
        received: Config of the user, as JSON values.
        there: Config of the existing run, as JSON values.
        ignore: Dotted paths that are not compared, with all fields below them.
    """
    ignore = tuple(ignore)
    new, old = (dict(leaves(_with_open_monitors(tree))) for tree in (received, there))
    differing = [
        path
        for path in dict.fromkeys((*old, *new))
        if new.get(path, _ABSENT) != old.get(path, _ABSENT)
        and not any(path == name or path.startswith(f"{name}.") for name in ignore)
    ]
    return [f"{path}: received {_shown(new, path)}, there {_shown(old, path)}" for path in differing]


def _with_open_monitors(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a config in which early stopping by the usual monitor names none, as version 0.1 named it."""
    config = plain(config)
    stages = config.get("stages") if config.get("judged_by") is None else None
    for stage in stages if isinstance(stages, list) else ():
        if (stopping := stage.get("early_stopping")) and stopping.get("monitor") == "val_loss":
            stopping["monitor"] = None
    return config


_ABSENT = object()


def _shown(values: dict[str, Any], path: str) -> str:
    return json.dumps(values[path]) if path in values else "nothing"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields `(dotted path, value)` of all values in nested dicts and lists. Empty ones are values."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from leaves(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


__all__ = ["RUN", "RunDir", "config_differences"]
