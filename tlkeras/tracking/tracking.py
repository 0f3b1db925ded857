"""Reports a run to its trackers, from the files of the run directory."""

import json
import math
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkeras import messages
from tlkeras.config import ExperimentConfig, TrackerConfig, load_config
from tlkeras.errors import Interrupted, UserError
from tlkeras.registry import function_at
from tlkeras.run_dir import RunDir
from tlkeras.run_dir.run_dir import leaves
from tlkeras.tracking.trackers import TRACKERS, Facts, Tracker, check_trackers

FILE = "tracking.json"  # in the run directory: the identifier by which the trackers know the run


class Tracking:
    """The trackers of a run, as a context in which the run trains.

    Everything that is reported comes from the run directory. After a resume, or after its service was away, a
    tracker therefore receives exactly the epochs that it lacks. An error of a tracker does not end the run:
    there is one warning, and the tracker gets a second chance at the end of the run.

    Args:
        config: Config of the run, or None for no trackers.
        run_dir: Run directory, or None for no trackers.
    """

    def __init__(self, config: ExperimentConfig | None = None, run_dir: RunDir | None = None):
        self._connections: list[_Connection] = []
        if config is not None and run_dir is not None and config.tracking:
            facts = Facts(_identifier(run_dir), config.name, run_dir.path, _parameters(config))
            self._connections = [_Connection(tracker, facts, run_dir) for tracker in config.tracking]

    def __enter__(self) -> "Tracking":
        for connection in self._connections:
            connection.open()
        return self

    def __exit__(self, kind, error, trace) -> None:
        stopped = isinstance(error, KeyboardInterrupt | Interrupted)
        for connection in self._connections:
            connection.close("FINISHED" if error is None else "KILLED" if stopped else "FAILED")

    def report(self) -> None:
        """Reports the epochs that a tracker does not have yet."""
        for connection in self._connections:
            connection.report()

    def finish(self) -> None:
        """Reports the results of the run."""
        for connection in self._connections:
            connection.finish()


def report_run(run: str | os.PathLike, trackers: Sequence[str | dict[str, Any]]) -> None:
    """Reports a finished run to trackers, for example because it trained without them.

    Args:
        run: Run directory.
        trackers: Names of trackers, or the fields of `TrackerConfig`.

    Raises:
        UserError: The run is not finished, or a tracker is unknown or not installed.
    """
    run_dir = RunDir(run).require_run()
    if not run_dir.is_finished:
        raise UserError(
            f"The run is not finished: complete it with tlkeras train. Received: run={run_dir.path}"
        )
    config = load_config(str(run_dir.config), [f"tracking={json.dumps(list(trackers))}"])
    check_trackers(config.tracking)
    with Tracking(config, run_dir) as tracking:
        tracking.finish()


class _Connection:
    """A tracker whose errors become one warning. After an error it is not called until it is opened again.

    Args:
        config: Config of the tracker.
        facts: Facts about the run.
        run_dir: Run directory.
    """

    def __init__(self, config: TrackerConfig, facts: Facts, run_dir: RunDir):
        self.config = config
        self.facts = facts
        self.run_dir = run_dir
        self._tracker: Tracker | None = None
        self._there: set[int] = set()
        self._warned = False

    def open(self) -> None:
        self._attempt(self._open)

    def report(self) -> None:
        if self._tracker is not None:
            self._attempt(self._report, self._tracker)

    def finish(self) -> None:
        if self._tracker is None:
            self.open()
        self.report()
        if self._tracker is not None:
            results = _results(self.run_dir)
            self._attempt(self._tracker.finish, *results)

    def close(self, status: str) -> None:
        if self._tracker is not None:
            self._attempt(self._tracker.close, status)

    def _open(self) -> None:
        tracker = function_at(TRACKERS.get(self.config.name).make)(self.facts, **self.config.options)
        self._there = set(tracker.begin())
        self._tracker = tracker
        messages.note(f"{self.config.name}: {tracker.place}")

    def _report(self, tracker: Tracker) -> None:
        epochs = _epochs(self.run_dir)
        for step in sorted(epochs.keys() - self._there):
            tracker.log(step, epochs[step])
            self._there.add(step)

    def _attempt(self, action: Callable[..., None], *arguments: Any) -> None:
        try:
            action(*arguments)
        except Exception as error:  # whatever the client of a tracker raises
            self._tracker = None
            if not self._warned:
                what = str(error).strip().partition("\n")[0] or type(error).__name__
                messages.warn(
                    f"The tracker {self.config.name} fails: {what[:300]}. Training goes on, and at its end "
                    "the run is reported once more."
                )
            self._warned = True


def _identifier(run_dir: RunDir) -> str:
    """Returns the identifier of the run, which is made once and kept in the run directory."""
    if not (run_dir.path / FILE).is_file():
        run_dir.write_json(FILE, {"id": secrets.token_hex(4)})
    return run_dir.read_json(FILE)["id"]


def _parameters(config: ExperimentConfig) -> dict[str, Any]:
    """Returns the fields of the config by their paths, without empty ones and those of the trackers."""
    found = leaves(config.model_dump(mode="json", exclude={"tracking"}))
    return {path: value for path, value in found if value not in (None, [], {})}


def _epochs(run_dir: RunDir) -> dict[int, dict[str, float]]:
    """Returns the metrics of all epochs of the run by the step at their end."""
    found = {}
    for stage, path in enumerate(sorted(run_dir.path.glob("stages/*/metrics.csv"))):
        for row in run_dir.read_rows(path):
            values = {name: float(value) for name, value in row.items() if value and name != "step"}
            found[int(row["step"])] = _finite(values | {"stage": float(stage)})
    return found


def _results(run_dir: RunDir) -> tuple[dict[str, float], dict[str, str], list[Path]]:
    """Returns the final metrics, the tags and the files of a run."""
    metrics, tags = {}, {"workdir": str(run_dir.path.absolute())}
    for domain, splits in run_dir.read_json("evaluation/metrics.json").items():
        for split, values in splits.items():
            metrics |= {f"{domain}/{split}/{name}": value for name, value in values.items()}
    if (run_dir.evaluation / "verdict.json").is_file():
        verdict = run_dir.read_json("evaluation/verdict.json")
        tags["verdict"] = verdict["verdict"]
        metrics["verdict/gain"] = verdict["gain"]
        if loss := verdict.get("log_loss"):  # a regression and runs of earlier versions have none
            tags["log_loss"] = loss["verdict"]
            metrics["verdict/log_loss_gain"] = loss["gain"]
    files = [run_dir.config, run_dir.report, run_dir.best_model, *sorted(run_dir.evaluation.glob("*.json"))]
    return _finite(metrics), tags, [path for path in files if path.is_file()]


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    """Returns the entries that are finite numbers."""
    numbers = {k: v for k, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
