"""Runs the tests that take too long for CI: further variants, killed runs, generated mistakes, and memory.

Command:  scripts/soak.sh [--only=tests|kills|mirrored|modalities|words|memory] [--runs=30]
          [--minutes=20] [--seed=0] [--kinds=text,sound]

The part `tests` is `pytest --long`: the further variants of tests of which CI runs one (`tests/variants.py`).
The part `memory` trains many epochs.

The script prints a line per run and a verdict per part, and exits with 1 if a part failed. Killed runs are
compared with the same run without interruption: weights, optimizer, logs, metrics and predictions must be
equal to the bit.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FAULTS = ROOT / "tests" / "faults"
sys.path[:0] = [str(FAULTS), str(FAULTS.parent)]

from commands_process import CommandServer  # noqa: E402
from fault_words import ADAPTING, MIRRORED, settings, train  # noqa: E402
from kill_chain import run_with_kills  # noqa: E402
from modality_runs import KINDS, write  # noqa: E402
from run_outcome import check_books, differences, outcome  # noqa: E402

DANN = [*ADAPTING, *settings("adaptation.method=dann", "adaptation.options={}")]
TWIN = settings("adaptation.twin=true")
# experiment, and its share of the runs
ONE_DEVICE = {"plain": [], "wasserstein": ADAPTING, "dann with its twin": [*DANN, *TWIN]}
TWO_REPLICAS = {"plain": MIRRORED, "wasserstein": [*ADAPTING, *MIRRORED]}
OF_PICTURES = {name: lambda place, more=more: train(place, *more) for name, more in ONE_DEVICE.items()}
MIRRORED_RUNS = {name: lambda place, more=more: train(place, *more) for name, more in TWO_REPLICAS.items()}
PARTS = ("tests", "kills", "mirrored", "modalities", "words", "memory")
MB = 1024


def main() -> int:
    """Runs the selected parts and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument(
        "--runs", type=int, default=30, help="killed runs of a part; a third as many on two replicas"
    )
    parser.add_argument("--minutes", type=float, default=20, help="length of the memory part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds of input of the part modalities")
    asked = parser.parse_args()
    parts = {
        "tests": lambda folder: further_variants(folder),
        "kills": lambda folder: kills(folder, OF_PICTURES, asked.runs, asked.seed),
        "mirrored": lambda folder: kills(folder, MIRRORED_RUNS, -(-asked.runs // 3), asked.seed),
        "modalities": lambda folder: kills(
            folder, of_modalities(folder, asked.kinds), asked.runs, asked.seed
        ),
        "words": lambda folder: words(),
        "memory": lambda folder: memory(folder, asked.minutes),
    }
    good = True
    for name, part in parts.items():
        if asked.only in (None, name):
            with tempfile.TemporaryDirectory(prefix=f"soak_{name}_") as folder:
                held = part(Path(folder))
            print(f"{name}: {'held' if held else 'FAILED'}\n", flush=True)
            good &= held
    return 0 if good else 1


def further_variants(folder: Path) -> bool:
    """Runs the tests that only `--long` runs, in two processes."""
    flags = ["--long", "-n2", "--dist=loadfile", "--no-loadscope-reorder", f"--basetemp={folder / 'tests'}"]
    return subprocess.run([sys.executable, "-m", "pytest", *flags], cwd=ROOT, check=False).returncode == 0


def of_modalities(folder: Path, kinds: str) -> dict[str, Callable[[Path], list[str]]]:
    """Writes rows of some kinds of input, and returns the commands that train on them, by kind.

    Args:
        folder: Folder for the rows.
        kinds: Names of kinds with commas in between.
    """

    def command(kind: str) -> Callable[[Path], list[str]]:
        config = write(kind, folder / f"rows_{kind}")
        flags = lambda place: [f"--workdir={place / 'run'}", *settings(f"cache.dir={place / 'cache'}")]  # noqa: E731
        return lambda place: ["train", f"--config={config}", *flags(place)]

    return {kind: command(kind) for kind in kinds.split(",")}


def kills(folder: Path, trained: dict[str, Callable[[Path], list[str]]], runs: int, seed: int) -> bool:
    """Kills runs up to four times each, at file events and at random times, and compares the results.

    Args:
        folder: Folder of the runs.
        trained: Functions from the folder of a run to its command, by name.
        runs: Number of runs.
        seed: Seed of the moments.
    """
    server = CommandServer(folder, {"TF_ENABLE_ONEDNN_OPTS": "0"})
    alone, seconds = {}, {}
    for name, command in trained.items():
        began = time.monotonic()
        ended = server.run(*command(folder / name))
        if ended.code:
            print(f"{name}, without interruption: exit code {ended.code}: {ended.error}")
            return False
        alone[name], seconds[name] = outcome(folder / name / "run"), time.monotonic() - began
    equal = killed = 0
    for number in range(runs):
        name = list(trained)[number % len(trained)]
        rng = random.Random(1000 * seed + number)
        place = folder / f"killed_{number}"
        chain = run_with_kills(
            server,
            trained[name](place),
            place,
            rng.randint(1, 4),
            rng,
            events=110,
            seconds=seconds[name],
        )
        different = [f"exit code {chain.code}"]
        if chain.code == 0:
            different = differences(alone[name], outcome(place / "run"))
            check_books(place / "run", {"00_head": 2, "01_all": 2})
        equal += not different
        killed += len(chain.moments)
        print(
            f"{number + 1:3d} {name}: {'equal' if not different else 'DIFFERENT ' + ', '.join(different[:5])}"
        )
        for moment in chain.moments:
            print(f"      killed {moment}")
        sys.stdout.flush()
        if not different:
            shutil.rmtree(place)
    server.close()
    print(f"{equal} of {runs} runs, killed {killed} times, ended like the run without interruption")
    return equal == runs


def words() -> bool:
    """Tries many more generated mistakes than CI, also in separate processes."""
    more = {"TLKERAS_FAULT_EXAMPLES": "2000", "TLKERAS_FAULT_PROCESSES": "40"}
    command = [sys.executable, "-m", "pytest", "-q", str(FAULTS / "test_bad_words.py")]
    return subprocess.run(command, cwd=ROOT, env=os.environ | more, check=False).returncode == 0


def memory(folder: Path, minutes: float) -> bool:
    """Trains short epochs with validation and checkpoints in one process and measures its resident memory.

    Each epoch does everything that a long epoch does besides its steps: validation, logs, checkpoints. The
    first eighth of the time is warm-up.
    """
    server = CommandServer(folder)
    more = settings("stages.1.epochs=1000000", "stages.1.early_stopping=none", "checkpoint.every_steps=3")
    command = server.start(*train(folder / "run", *more))
    command.wait_for("[2/2] all: epoch 2/")
    curve, began = [], time.monotonic()
    while (now := time.monotonic() - began) < 60 * minutes:
        epochs = command.log.read_text(errors="replace").count("[2/2] all: epoch")
        curve.append((now, epochs, _resident(command.pid)))
        time.sleep(60 * minutes / 480)
    command.kill()
    command.wait()
    server.close()
    for seconds, epochs, size in curve[:: max(1, len(curve) // 24)]:
        print(f"  {seconds / 60:6.1f} min  {epochs:6d} epochs  {size / MB:8.1f} MB")
    warm = [size for seconds, _, size in curve if seconds > 60 * minutes / 8]
    tenth = max(1, len(warm) // 10)
    first, last = (sorted(part)[len(part) // 2] for part in (warm[:tenth], warm[-tenth:]))
    growth = last / first - 1
    print(f"Resident memory after warm-up: {first / MB:.1f} to {last / MB:.1f} MB ({growth:+.2%})")
    return growth < 0.01


def _resident(pid: int) -> int:
    """Returns the resident memory of a process in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ProcessLookupError(pid)


if __name__ == "__main__":
    sys.exit(main())
