"""Runs the libraries for adaptation on the problems in turn and writes their part of docs/peers.md.

Command:  python benchmarks/peers/domain_adaptation/run.py DIR [--environment adapt_tensorflow=PYTHON ...]
          [--task=NAME ...] [--method=NAME ...] [--library=NAME ...] [--setting=shared] [--seeds=0,1]
          [--budget=SECONDS] [--page]
Time:     two to twenty seconds of one core for a run; there are about 700 runs.

DIR is the folder that problems.py wrote. A library is a row of `LIBRARIES`: its folder holds the script and
the requirements of its environment, whose interpreter `--environment FOLDER=PYTHON` names. The script of
tlkeras runs with this interpreter. The libraries take turns in each method, so that load of the machine
affects all of them. Each run is a line of results.jsonl, and runs that stand there are not repeated. `--page`
only writes the page.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from page import write_page
from tables import read_lines

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
OURS = "tlkeras"
KEY = ("library", "task", "method", "setting", "seed")
TASKS = ("agreement", "moons", "blobs", "emoji")
# library: its folder, methods, methods whose own defaults differ from the shared setting
LIBRARIES: dict[str, tuple[str, str, str]] = {
    OURS: (
        "tlkeras_terms",
        "none dann cdan cdan_e deep_coral mdd mcd wasserstein adda dan mcc kmm kliep",
        "dann deep_coral",
    ),
    "adapt": (
        "adapt_tensorflow",
        "none dann cdan cdan_e deep_coral mdd mcd wasserstein adda kmm kliep",
        "dann cdan_e deep_coral mdd wasserstein kmm kliep",
    ),
    "skada": (
        "skada_skorch",
        "none dann cdan deep_coral mdd dan mcc kmm kliep",
        "dann cdan deep_coral mdd mcc kmm kliep",
    ),
    "pytorch-adapt": (
        "pytorch_adapt_hooks",
        "none dann cdan cdan_e deep_coral mcd adda dan mcc",
        "dann cdan_e deep_coral dan mcc",
    ),
}


def main() -> None:
    """Runs what is missing in the results, or writes the page."""
    given = _arguments()
    if given.page:
        write_page(read_lines(RESULTS), list(LIBRARIES))
        return
    pythons = {LIBRARIES[OURS][0]: sys.executable} | dict(w.split("=", 1) for w in given.environment)
    libraries = {name: Library(name, pythons) for name in given.library or LIBRARIES}
    ends = time.monotonic() + given.budget
    settings = json.loads((given.folder / "settings.json").read_text(encoding="utf-8"))
    done = {tuple(found[name] for name in KEY) for found in read_lines(RESULTS)}
    for job in jobs(given, list(libraries)):
        if time.monotonic() > ends:
            print("The budget is spent.")
            return
        words = {"own": True} if job["setting"] == "default" else {}
        if tuple(job[name] for name in KEY) in done:
            continue
        shared = settings[job["task"]][job["method"]]
        # a domain classifier whose size a library leaves open is that of the shared setting
        words |= {"units": shared["units"]} if words else shared
        file = given.folder / f"{job['task']}_{job['seed']}.npz"
        found = libraries[job["library"]].run({"file": str(file), "method": job["method"]} | words)
        print(found, flush=True)
        if found:
            with open(RESULTS, "a", encoding="utf-8") as results:
                results.write(found + "\n")


def jobs(given, libraries: list[str]):
    """Yields all runs in their order: by setting, method, problem and seed, with the libraries in turn."""
    for setting in given.setting or ("shared", "default"):
        for method in given.method or LIBRARIES[OURS][1].split():
            for task in given.task or TASKS:
                for seed in map(int, given.seeds.split(",")):
                    for library in libraries:
                        if method in LIBRARIES[library][1 + (setting == "default")].split():
                            yield {
                                "setting": setting, "method": method, "task": task, "seed": seed,
                                "library": library,
                            }  # fmt: skip


class Library:
    """The process of a library's script, which is started at the first run."""

    def __init__(self, name: str, pythons: dict[str, str]):
        folder = LIBRARIES[name][0]
        if folder not in pythons:
            raise SystemExit(f"--environment {folder}=PYTHON is missing, or choose --library")
        self.command = [pythons[folder], str(HERE / folder / "train.py")]
        self.process: subprocess.Popen | None = None

    def run(self, words: dict) -> str:
        """Returns the line of a run, or nothing after printing the error with which the script ended."""
        if self.process is None:
            environ = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
            self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, open as long as the process
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
                env=environ,
            )  # fmt: skip
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):
                return line.strip()
        self.errors.seek(0)
        print(f"{self.command[1]} {words} failed:\n{self.errors.read()[-2000:]}", flush=True)
        self.process = None
        return ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--environment", action="append", default=[])
    parser.add_argument("--task", action="append", choices=TASKS)
    parser.add_argument("--method", action="append", choices=LIBRARIES[OURS][1].split())
    parser.add_argument("--library", action="append", choices=list(LIBRARIES))
    parser.add_argument("--setting", action="append", choices=("shared", "default"))
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--budget", type=float, default=float("inf"))
    parser.add_argument("--page", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
