"""Runs a sweep, in this process or in several, and compares the results."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tlkeras import messages
from tlkeras.config import dump_config
from tlkeras.config.loading import as_of_today
from tlkeras.errors import RunError, UserError
from tlkeras.report import write_comparison
from tlkeras.run_dir import RunDir, check_place, config_differences, write_json, write_text
from tlkeras.run_dir.lock import RunLock
from tlkeras.studies.experiment import rehearse, run_experiment
from tlkeras.studies.sweep_plan import SweepRun
from tlkeras.studies.sweep_results import results_table

PAGE = "compare.html"
_FILE, _LOGS = "sweep.json", "logs"


def run_sweep(runs: list[SweepRun], workdir: str | os.PathLike, processes: int = 1) -> list[dict[str, Any]]:
    """Runs all unfinished runs of a sweep, and writes `sweep.csv` and `compare.html`.

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
    folder = Path(workdir).expanduser()
    as_json = _as_json(runs)
    _check(folder, as_json)
    lock = RunLock(folder / ".lock").acquire()
    try:
        write_json(folder / _FILE, as_json)
        failures = _run_all(runs, folder, processes)
        rows = results_table(runs, folder, failures)
        RunDir(folder).write_rows("sweep.csv", rows)
        _write_comparison([folder / row["run"] for row in rows if not row["error"]], folder / PAGE)
    finally:
        lock.release()
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
    differences = config_differences(as_json, there)
    if differences:
        shown = "; ".join(differences[:8]) + ("; ..." if len(differences) > 8 else "")
        raise UserError(
            f"The workdir {folder} holds another sweep: choose another --workdir. Differences: {shown}"
        )


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


def _run_all(runs: list[SweepRun], folder: Path, processes: int) -> dict[str, str]:
    """Returns the reason of each failed run, by name."""
    # Threads and determinism are settings of a whole process: runs that differ in them need separate
    # processes.
    apart = processes > 1 or len({run.config.runtime.model_dump_json() for run in runs}) > 1
    started: list[subprocess.Popen] = []

    def one(run: SweepRun) -> str:
        messages.note(f"{run.name}: {' '.join(run.overrides) or 'as configured'}, seed {run.seed}")
        begun = time.monotonic()
        failure = _in_own_process(run, folder, started) if apart else _here(run, folder)
        took = f"after {time.monotonic() - begun:.0f} s"
        messages.note(f"{run.name}: failed {took}: {failure}" if failure else f"{run.name}: done {took}")
        return failure

    try:
        with ThreadPoolExecutor(processes) as pool:
            map_runs: Callable = pool.map if apart else map
            failures = dict(zip([run.name for run in runs], map_runs(one, runs), strict=True))
    except BaseException:
        for process in started:
            process.terminate()  # the run saves its state
        raise
    return {name: failure for name, failure in failures.items() if failure}


def _here(run: SweepRun, folder: Path) -> str:
    if RunDir(folder / run.name).is_finished:
        RunDir(folder / run.name).check(run.config.model_dump(mode="json"))
        return ""
    try:
        if keras := sys.modules.get("keras"):  # state of an earlier run; the runtime must import Keras first
            keras.backend.clear_session()
        run_experiment(run.config, folder / run.name)
    except (UserError, RunError, OSError, MemoryError) as error:
        return " ".join(str(error).split())
    except Exception as error:  # a bug in one run must not end the others
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return ""


def _in_own_process(run: SweepRun, folder: Path, started: list[subprocess.Popen]) -> str:
    """Trains in a process that writes to `logs/NAME.txt`. Returns why it failed, or an empty string."""
    if RunDir(folder / run.name).is_finished:
        return ""
    config = folder / _LOGS / f"{run.name}.json"
    write_text(config, dump_config(run.config))
    log = config.with_suffix(".txt")
    words = ["train", f"--config={config}", f"--workdir={folder / run.name}"]
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from tlkeras.cli.main import entry; entry()", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        started.append(process)
        code = process.wait()
    if code == 0:
        return ""
    said = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    last = said[-1].removeprefix("tlkeras: ") if said else "nothing"
    return f"exit code {code}: {last} (see {log})"
