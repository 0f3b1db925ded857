"""Runs a sweep, in this process or in several on any number of machines, and compares the results."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tlkeras import messages
from tlkeras.backend import check_single_process
from tlkeras.config import dump_config
from tlkeras.config.loading import as_of_today
from tlkeras.errors import Interrupted, RunError, UserError
from tlkeras.report import write_comparison
from tlkeras.run_dir import (
    InUse,
    RunDir,
    SharedWork,
    check_place,
    refuse_differences,
    write_json,
    write_text,
)
from tlkeras.studies.experiment import rehearse, run_experiment
from tlkeras.studies.sweep_plan import SweepRun
from tlkeras.studies.sweep_results import results_table

PAGE = "compare.html"
_FILE, _LOGS = "sweep.json", "logs"
_STOPPED = (-signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGTERM)  # exit codes


def run_sweep(runs: list[SweepRun], workdir: str | os.PathLike, processes: int = 1) -> list[dict[str, Any]]:
    """Runs all unfinished runs of a sweep, and writes `sweep.csv` and `compare.html`.

    Several processes with the same workdir, on one machine or on several, divide the runs. Each of them waits
    for the runs of the others, takes up the run of a process that died, and returns the same rows (see
    `tlkeras.run_dir.SharedWork`).

    A failed run is listed and does not stop the others. It is tried again when the sweep is started again.
    Runs share the feature cache of their config.

    Args:
        runs: Runs from `plan_sweep`.
        workdir: Directory of the sweep, in which each run gets a directory of its name.
        processes: Number of parallel runs. 1 runs them one after another in this process.

    Returns:
        The rows of `sweep.csv`, best validation metric first.

    Raises:
        UserError: The workdir holds another sweep, or something else.
    """
    check_single_process("sweep")
    folder = Path(workdir).expanduser()
    as_json = _as_json(runs)
    _check(folder, as_json)
    with SharedWork(folder) as shared:
        shared.once(folder / _FILE, lambda path: write_json(path, as_json))
        _check(folder, as_json)  # another sweep may have begun here at the same time
        failures = _run_all(runs, folder, processes, shared)
        rows = results_table(runs, folder, failures)
        RunDir(folder).write_rows("sweep.csv", rows)
        _write_comparison([folder / row["run"] for row in rows if not row["error"]], folder / PAGE)
    return rows


def rehearse_sweep(runs: list[SweepRun], workdir: str | os.PathLike) -> None:
    """Checks all runs of a sweep without writing (see `rehearse`).

    Of several runs with equal data and model, one is checked.

    Raises:
        UserError: A run would be refused. The message names the first one in one line.
    """
    folder = Path(workdir).expanduser()
    _check(folder, _as_json(runs))
    parts = lambda config: (config.data, config.model, config.adaptation, config.tasks)  # noqa: E731
    distinct = {repr(parts(run.config)): run for run in runs}
    for run in distinct.values():
        # threads and determinism are settings of a process: all runs share those of the first
        config = run.config.model_copy(update={"runtime": runs[0].config.runtime})
        try:
            rehearse(config, folder / run.name, fresh=True)
        except UserError as error:
            raise UserError(f"{run.name} ({' '.join(run.overrides) or 'as configured'}): {error}") from error


def _check(folder: Path, as_json: dict[str, Any]) -> None:
    if not check_place(folder, _FILE, "sweep"):
        return
    there = RunDir(folder).read_json(_FILE)
    there = {n: run | {"config": as_of_today(run.get("config", {}))} for n, run in there.items()}
    refuse_differences(folder, "sweep", as_json, there)


def _as_json(runs: list[SweepRun]) -> dict[str, Any]:
    return {
        run.name: {"overrides": list(run.overrides), "config": run.config.model_dump(mode="json")}
        for run in runs
    }


def _write_comparison(paths: list[Path], page: Path) -> None:
    if not paths:
        return
    try:
        write_comparison(paths, page)
    except UserError as error:  # the runs and their table exist anyway
        messages.note(f"{page} is not written: {error}")


def _run_all(runs: list[SweepRun], folder: Path, processes: int, shared: SharedWork) -> dict[str, str]:
    """Returns the reason of each failed run, by name."""
    # Threads and determinism are settings of a whole process: runs that differ in them need separate
    # processes.
    apart = processes > 1 or len({run.config.runtime.model_dump_json() for run in runs}) > 1
    by_name = {run.name: run for run in runs}
    children = _Children(folder)

    def one(name: str) -> str:
        run = by_name[name]
        messages.note(f"{name}: {' '.join(run.overrides) or 'as configured'}, seed {run.seed}")
        begun = time.monotonic()
        failure = children.train(run) if apart else _here(run, folder)
        took = f"after {time.monotonic() - begun:.0f} s"
        messages.note(f"{name}: failed {took}: {failure}" if failure else f"{name}: done {took}")
        return failure

    def is_finished(name: str) -> bool:
        there = RunDir(folder / name)
        return there.is_finished and there.check(by_name[name].config.model_dump(mode="json")) == "finished"

    divide = lambda *_: shared.divide(by_name, one, is_finished)  # noqa: E731
    with ThreadPoolExecutor(processes) as pool:
        try:
            return divide() if processes == 1 else next(iter([*pool.map(divide, range(processes))]))
        except BaseException:
            children.stop()
            raise


def _here(run: SweepRun, folder: Path) -> str:
    try:
        if keras := sys.modules.get("keras"):  # state of an earlier run; the runtime must import Keras first
            keras.backend.clear_session()
        run_experiment(run.config, folder / run.name)
    except InUse:
        raise
    except (UserError, RunError, OSError, MemoryError) as error:
        return " ".join(str(error).split())
    except Exception as error:  # a bug in one run must not end the others
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return ""


class _Children:
    """Processes that train one run each and write to `logs/NAME.txt`.

    Args:
        folder: Directory of the sweep.
    """

    def __init__(self, folder: Path):
        self.folder, self._started, self._stopped = folder, [], False

    def train(self, run: SweepRun) -> str:
        """Trains in a process. Returns why it failed, or an empty string.

        Raises:
            InUse: Another process trains the run, such as a child whose parent was killed.
            Interrupted: The process was stopped.
        """
        with RunDir(self.folder / run.name).lock:
            pass
        config = self.folder / _LOGS / f"{run.name}.json"
        write_text(config, dump_config(run.config))
        log = config.with_suffix(".txt")
        words = ["train", f"--config={config}", f"--workdir={self.folder / run.name}"]
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", "from tlkeras.cli.main import entry; entry()", *words],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            self._started.append(process)
            code = process.wait()
        if self._stopped or code in _STOPPED:
            raise Interrupted(signal.SIGTERM, f"{run.name} was stopped. The same command continues with it.")
        if code == 0:
            return ""
        said = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        last = said[-1].removeprefix("tlkeras: ") if said else "nothing"
        return f"exit code {code}: {last} (see {log})"

    def stop(self) -> None:
        """Stops all processes. Their runs save their state."""
        self._stopped = True
        for process in self._started:
            process.terminate()
