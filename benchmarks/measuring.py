"""Runs processes in turn and measures their ratios and their memory."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def peak_memory_mb() -> float:
    """Returns the peak resident memory of this process in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def run(script: str, options: dict) -> dict:
    """Runs a script of this folder in a process of its own. Returns the JSON of its last line."""
    result = subprocess.run(
        [sys.executable, str(HERE / script), json.dumps(options)], capture_output=True, text=True, cwd=HERE
    )
    if result.returncode:
        raise SystemExit(f"{script} failed:\n{result.stderr[-3000:]}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def interval(ratios: list[float]) -> tuple[float, float]:
    """Returns the 95 % confidence interval of the mean of the ratios' logarithms, as ratios."""
    from scipy import stats  # comes with scikit-learn

    logs = np.log(ratios)
    if len(logs) < 2:
        return float(ratios[0]), float(ratios[0])
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    return float(np.exp(logs.mean() - half)), float(np.exp(logs.mean() + half))


def run_in(checkout: Path, *command: str) -> str:
    """Runs a Python script with the interpreter and the tlkeras of a checkout. Returns its output."""
    checkout = Path(checkout).resolve()
    own = checkout / ".venv/bin/python"
    environ = os.environ | {
        "PYTHONPATH": str(checkout), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3",
    }  # fmt: skip
    result = subprocess.run(
        [own if own.exists() else sys.executable, *command],
        capture_output=True, text=True, env=environ, cwd=checkout,
    )  # fmt: skip
    if result.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed in {checkout}:\n{result.stderr[-3000:]}")
    return result.stdout
