"""Names and I/O of a run directory."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

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

RUN = "run"  # the name under which the ledger holds what concerns no single stage
OWN_DOMAIN = "source"  # the name of the domain that a run is about
_LOCK = ".lock"

# A run goes on with another number of devices and ends at the same weights.
MAY_DIFFER = ("runtime.strategy", "runtime.devices")


class RunDir:
    """One run on disk. Making the object touches nothing; `start` does.

    Args:
        path: The run directory (`--workdir`).

    Example:
        >>> run_dir = RunDir("runs/quickstart")
        >>> with run_dir.lock:
        ...     state = run_dir.start(config.model_dump(mode="json"))
        'new'
    """

    def __init__(self, path: str | os.PathLike):
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

    @property
    def twin(self) -> "RunDir":
        """The run of the verdict's baseline, inside this one."""
        return RunDir(self.path / "twin")

    def evaluation_of(self, domain: str) -> Path:
        """Returns where the evaluation of a domain lies: the run's own at the top, others below."""
        return self.evaluation if domain == OWN_DOMAIN else self.evaluation / domain

    def stage(self, index: int, name: str) -> Path:
        """Returns the folder of a stage, e.g. `stages/00_head`."""
        return self.path / "stages" / f"{index:02d}_{name}"

    def stage_metrics(self, index: int, name: str) -> Path:
        """Returns the path of a stage's `metrics.csv`: one row per epoch."""
        return self.stage(index, name) / "metrics.csv"

    def checkpoints(self, index: int, name: str, keep: int = 2) -> CheckpointStore:
        """Returns the checkpoints of a stage."""
        return CheckpointStore(self.stage(index, name) / "checkpoint", keep)

    def mark_stage_done(self, index: int, name: str) -> None:
        """Writes the stage's `DONE`."""
        write_text(self.stage(index, name) / "DONE", "")

    def mark_finished(self, **facts: Any) -> None:
        """Writes into the ledger that nothing of this run is left to do."""
        self.ledger.append(stage=RUN, event="finished", **facts)

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end."""
        return self.ledger.last(stage=RUN, event="finished") is not None

    @property
    def is_run(self) -> bool:
        """Whether a run was started here."""
        with disk_errors(self.path):
            return self.config.is_file()

    def require_run(self) -> "RunDir":
        """Returns itself. Raises `UserError` where the path is no run directory."""
        if self.is_run:
            return self
        what = "does not exist" if not self.path.exists() else "is no run directory (no config.json)"
        raise UserError(
            f"{self.path} {what}: expected a folder that `tlkeras train --workdir=...` wrote. "
            f"Received: run={str(self.path)!r}"
        )

    def require_one_run(self) -> "RunDir":
        """Returns itself. Raises `UserError` where the run is several, of tasks or of folds."""
        inner = [n for n in ("target", "source", "fold_0") if (self.path / n / "config.json").is_file()]
        if inner and not self.best_model.is_file():
            raise UserError(
                f"{self.path} holds several runs, each with a model of its own: name one of them, "
                f"{self.path / inner[0]} for instance. Received: run={str(self.path)!r}"
            )
        return self

    def check(self, config: dict[str, Any]) -> Literal["new", "resume", "finished"]:
        """Returns what a start with this config would do here, without touching anything.

        Args:
            config: The resolved config as JSON values; `MAY_DIFFER` from that of the run that lies here.

        Raises:
            UserError: The workdir holds a run of another config, or something that is no run.
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
                f"The workdir {self.path} holds a run of another config: choose another --workdir, or "
                f"start over with --fresh (the old run is kept). Differences: {shown}"
            )
        return "finished" if self.is_finished else "resume"

    def start(self, config: dict[str, Any], *, fresh: bool = False) -> Literal["new", "resume", "finished"]:
        """Prepares the directory for a run with this config and takes the lock.

        A refused start leaves the directory as it was. The lock is held until `lock.release()` or the
        end of the process.

        Args:
            config: The resolved config as JSON values; written to `config.json` in a new run.
            fresh: Whether an old run (of any config) is moved to `NAME.old-1` (2, 3, ...) first.

        Returns:
            `"new"`, `"resume"` (a run of the same config that has not ended) or `"finished"`.

        Raises:
            UserError: Another config, another process, or something that is no run is there.
            RunError: The disk is full.
        """
        # Looked at twice: before the lock, so that a refusal leaves no lock file behind, and after
        # it, because another process may have started a run here in between.
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

    def replacing(self, path: str | os.PathLike) -> contextlib.AbstractContextManager[Path]:
        """Yields a temporary path whose content replaces `path` at the end. See `atomic.replacing`."""
        return replacing(self._within(path))

    def write_text(self, path: str | os.PathLike, text: str) -> None:
        """Writes a whole UTF-8 file or none; `path` may be relative to the run directory."""
        write_text(self._within(path), text)

    def write_json(self, path: str | os.PathLike, value: Any) -> None:
        """Writes a whole JSON file or none; `path` may be relative to the run directory."""
        write_json(self._within(path), value)

    def write_rows(self, path: str | os.PathLike, rows: list[dict[str, Any]]) -> None:
        """Writes a whole CSV file or none: one line per dict, the columns in order of appearance."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self._within(path), text.getvalue())

    def read_rows(self, path: str | os.PathLike) -> list[dict[str, str]]:
        """Returns the lines of a CSV file of `write_rows` as text, an empty list where there is none."""
        path = self._within(path)
        if not path.exists():
            return []
        with disk_errors(path):
            return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))

    def read_json(self, path: str | os.PathLike) -> Any:
        """Reads a JSON file of this run. Raises `UserError` where it is missing or damaged."""
        path = self._within(path)
        try:
            with disk_errors(path):
                return json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise UserError(f"The run {self.path} has no {path.name}. Received: {path}") from None
        except ValueError as error:
            raise UserError(f"{path} is damaged: {error}. Restore it or start over.") from None

    def _within(self, path: str | os.PathLike) -> Path:
        """Returns a path inside the run; one that begins with the run's own path is left as it is."""
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
                f"The workdir {self.path} is no run directory, and not empty (it holds {others[0]!r}): "
                f"choose another --workdir. Received: workdir={str(self.path)!r}"
            )

    def _set_aside(self) -> None:
        here, number = self.path.resolve(), 1
        while (aside := here.with_name(f"{here.name}.old-{number}")).exists():
            number += 1
        with disk_errors(here):
            here.rename(aside)
        # The lock went with the old folder, and nobody else can hold that of the new one for long.
        self.lock.release()
        self.lock.acquire()


def config_differences(
    received: dict[str, Any], there: dict[str, Any], *, ignore: Iterable[str] = ()
) -> list[str]:
    """Returns the differences of two configs, e.g. `"stages.0.epochs: received 7, there 3"`.

    Args:
        received: The config that was asked for, as JSON values.
        there: The config that was found.
        ignore: Dotted paths left out, with all below them.
    """
    ignore = tuple(ignore)
    new, old = dict(_leaves(plain(received))), dict(_leaves(plain(there)))
    differing = [
        path
        for path in dict.fromkeys((*old, *new))
        if new.get(path, _ABSENT) != old.get(path, _ABSENT)
        and not any(path == name or path.startswith(f"{name}.") for name in ignore)
    ]
    return [f"{path}: received {_shown(new, path)}, there {_shown(old, path)}" for path in differing]


_ABSENT = object()


def _shown(leaves: dict[str, Any], path: str) -> str:
    return json.dumps(leaves[path]) if path in leaves else "nothing"


def _leaves(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


__all__ = ["RUN", "RunDir", "config_differences"]
