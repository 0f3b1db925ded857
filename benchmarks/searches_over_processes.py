"""Measures a sweep and an automatic search that two processes share, pinned to one core each.

    python benchmarks/searches_over_processes.py [--cases=sweep,killed,auto] [--pairs=3] [--old=CHECKOUT]

`sweep` runs 24 small configs by one process and by two, in turn, and compares the tables. With `--old`,
another checkout of tlkeras runs them by one process too. `killed` kills one of two processes with SIGKILL
after eight runs. `auto` searches for five minutes by two processes. Wall-clock times depend on other work on
the machine. CPU seconds depend on it much less: the ratio of those of the busiest process is that of the
times on two idle cores.
"""

import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from measuring import interval

ROOT = Path(__file__).parents[1]
CONFIG = """
from tlkeras.config import ExperimentConfig

def get_config():
    return ExperimentConfig(
        name="heads",
        data={"source": "digits", "image_size": 8, "limit": 400},
        model={"backbone": "small_cnn", "weights": None, "backbone_options": {"filters": [8, 16]}},
        stages=[{"name": "all", "train": "all", "epochs": 6, "bn": "train"}],
        runtime={"threads": 1},
    )

def sweep():
    for rate in (1e-3, 2e-3, 4e-3, 8e-3):
        for decay in (1.0, 0.9):
            for head in ("linear", "cosine", "mlp"):
                yield {
                    "model.head.name": head,
                    "stages.0.optimizer.learning_rate": rate,
                    "stages.0.layer_decay": decay,
                }
"""
RUNS = 24


def option(name: str, default: str) -> str:
    """Returns the value of a flag."""
    return next((w.partition("=")[2] for w in sys.argv if w.startswith(f"--{name}=")), default)


@dataclass
class Ended:
    """What a process took.

    Attributes:
        wall: Seconds from the start of the first process to its end.
        cpu: CPU seconds.
        code: Exit code.
    """

    wall: float
    cpu: float
    code: int


def start(words: list[str], core: int, log: Path, checkout: Path = ROOT) -> subprocess.Popen:
    """Starts `tlkeras` on one core."""
    environ = os.environ | {
        "PYTHONPATH": str(checkout),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
    with open(log, "ab") as output:
        return subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, "-m", "tlkeras", *words],
            stdout=output, stderr=output, env=environ, cwd=log.parent,
        )  # fmt: skip


def wait(processes: list[subprocess.Popen], began: float) -> list[Ended]:
    """Waits for processes, and returns what each took."""
    ended = {}
    while len(ended) < len(processes):
        pid, status, usage = os.wait4(-1, 0)
        taken = usage.ru_utime + usage.ru_stime
        ended[pid] = Ended(time.monotonic() - began, taken, os.waitstatus_to_exitcode(status))
    for process in processes:
        process.returncode = ended[process.pid].code
    return [ended[process.pid] for process in processes]


def sweep(folder: Path, processes: int, checkout: Path = ROOT) -> list[Ended]:
    """Runs the sweep in a new folder."""
    folder.mkdir()
    (folder / "heads.py").write_text(CONFIG)
    began = time.monotonic()
    words = ["sweep", "--config=heads.py", f"--workdir={folder / 'runs'}"]
    return wait([start(words, core, folder / f"{core}.txt", checkout) for core in range(processes)], began)


def table(folder: Path) -> list[dict]:
    """Returns the table of a sweep without times."""
    with open(folder / "runs" / "sweep.csv", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def claims(workdir: Path, prefix: str) -> list[tuple[str, dict]]:
    """Returns the name and the content of each claim on a piece of work."""
    found = sorted((workdir / ".work" / "claims").glob(f"{prefix}*"))
    return [(path.name, json.loads(path.read_text())) for path in found]


def measure_sweep(place: Path, pairs: int, old: str) -> None:
    """Prints the ratios of one process to two."""
    print("| one: s | one: CPU s | two: s | two: CPU s each | ratio of s | ratio of CPU s | old: s, CPU s |")
    print("|---|---|---|---|---|---|---|")
    walls, cpus, olds = [], [], []
    for pair in range(pairs):
        cases = {"one": (1, ROOT), "two": (2, ROOT)} | ({"old": (1, Path(old))} if old else {})
        order = list(cases) if pair % 2 == 0 else list(cases)[::-1]
        ended = {name: sweep(place / f"{name}_{pair}", *cases[name]) for name in order}
        (one,), two = ended["one"], ended["two"]
        assert [e.code for e in (one, *two)] == [0, 0, 0]
        assert table(place / f"one_{pair}") == table(place / f"two_{pair}")
        taken = claims(place / f"two_{pair}" / "runs", "heads_")
        assert len(taken) == RUNS and {content["state"] for _, content in taken} == {"done"}, taken
        walls.append(one.wall / max(e.wall for e in two))
        cpus.append(one.cpu / max(e.cpu for e in two))
        before = f"{ended['old'][0].wall:.0f}, {ended['old'][0].cpu:.0f}" if old else ""
        if old:
            olds.append(one.cpu / ended["old"][0].cpu)
        each = ", ".join(f"{e.cpu:.0f}" for e in two)
        ratios = f"{walls[-1]:.2f} | {cpus[-1]:.2f}"
        wall = max(e.wall for e in two)
        print(f"| {one.wall:.0f} | {one.cpu:.0f} | {wall:.0f} | {each} | {ratios} | {before} |", flush=True)
    for name, ratios in (("seconds", walls), ("CPU seconds", cpus), ("CPU seconds, new to old", olds)):
        if ratios:
            low, high = interval(ratios)
            print(f"ratio of {name}: median {statistics.median(ratios):.3f}, 95 % {low:.3f} to {high:.3f}")


def measure_killed(place: Path) -> None:
    """Kills one of two processes after eight runs, and prints who did what."""
    folder = place / "killed"
    folder.mkdir()
    (folder / "heads.py").write_text(CONFIG)
    workdir, began = folder / "runs", time.monotonic()
    words = ["sweep", "--config=heads.py", f"--workdir={workdir}"]
    two = [start(words, core, folder / f"{core}.txt") for core in range(2)]
    done = lambda: [n for n, content in claims(workdir, "heads_") if content["state"] == "done"]  # noqa: E731
    while not (workdir / ".work" / "claims").is_dir() or len(done()) < 8:
        time.sleep(0.5)
    two[0].send_signal(signal.SIGKILL)
    killed_at = time.monotonic() - began
    ended = wait(two, began)
    rows, taken = table(folder), claims(workdir, "heads_")
    by = Counter(content["process"] for _, content in taken if content["state"] == "done")
    twice = [name for name, _ in taken if name.endswith(".2")]
    failed = sum(bool(row["error"]) for row in rows)
    print(f"killed after {killed_at:.0f} s; exit codes {[e.code for e in ended]}")
    print(f"{len(rows)} rows, {failed} failed")
    print(f"runs by process {dict(by)}; taken up: {twice}", flush=True)


def measure_auto(place: Path) -> None:
    """Searches by two processes for five minutes, and prints what became of each trial."""
    folder = place / "auto"
    folder.mkdir()
    (folder / "heads.py").write_text(CONFIG.partition("def sweep")[0])
    workdir, began = folder / "search", time.monotonic()
    words = [
        "auto",
        "--config=heads.py",
        "--candidates=small_cnn:none,mlp",
        "--budget=5m",
        f"--workdir={workdir}",
    ]
    ended = wait([start(words, core, folder / f"{core}.txt") for core in range(2)], began)
    with open(workdir / "trials.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    taken = claims(workdir, "trial_")
    finished = {name.partition(".")[0] for name, content in taken if content["state"] == "done"}
    assert {f"trial_{int(row['trial']):03d}" for row in rows if row["state"] != "out of time"} == finished
    assert [int(row["trial"]) for row in rows] == list(range(len(rows)))
    by = Counter(content["process"] for _, content in taken if content["state"] == "done")
    texts = [(folder / f"{core}.txt").read_text() for core in range(2)]
    same = len({text[text.index("# Automatic search") :] for text in texts}) == 1
    states = dict(Counter(row["state"] for row in rows))
    twice = [name for name, _ in taken if not name.endswith(".1")]
    print(f"{ended[0].wall:.0f} s and {ended[1].wall:.0f} s, exit codes {[e.code for e in ended]}")
    print(f"{len(rows)} trials: {states}; finished by process {dict(by)}; taken twice: {twice}")
    print(f"equal summaries: {same}")


if __name__ == "__main__":
    here = Path(tempfile.mkdtemp(prefix="tlkeras_searches_"))
    cases = option("cases", "sweep,killed,auto").split(",")
    if "sweep" in cases:
        measure_sweep(here, int(option("pairs", "3")), option("old", ""))
    if "killed" in cases:
        measure_killed(here)
    if "auto" in cases:
        measure_auto(here)
