"""Repeats a finished run and reports whether all results are equal to the bit."""

import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import tlkeras
from tlkeras import messages
from tlkeras.backend import start
from tlkeras.config import ExperimentConfig, load_config
from tlkeras.data.sources.arrays import SOURCE as ARRAYS
from tlkeras.errors import RunError, UserError
from tlkeras.prepare import read_domains
from tlkeras.run_dir import RunDir, check_writable, config_differences
from tlkeras.runs.manifest import git_state, require_same_data, versions
from tlkeras.studies.experiment import run_experiment

_FOLDER = "reproduction"
# The results of a device depend on these facts. If they differ, the last bits of the weights may differ.
_RUNTIME = ("strategy", "replicas", "workers", "devices", "cpu_count", "threads", "precision",
            "deterministic", "onednn")  # fmt: skip


@dataclass(frozen=True)
class Reproduction:
    """The comparison of a run with its repetition.

    Attributes:
        path: Run directory of the repetition.
        environment: Differences of versions, machine and devices, one line each.
        code: Differences of the code, one line each.
        weights: Largest difference of any weight, by model file. It is 0 if all weights are bit-identical,
            and None if the two models have different variables.
        metrics: Differences of `metrics.json`, one line each.
    """

    path: Path
    environment: list[str]
    code: list[str]
    weights: dict[str, float | None] = field(default_factory=dict)
    metrics: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether weights and metrics are equal to the bit."""
        return not self.metrics and all(difference == 0.0 for difference in self.weights.values())

    def lines(self) -> list[str]:
        """Returns the comparison as sentences."""
        said = [f"differs: environment: {line}" for line in self.environment]
        said += [f"differs: code: {line}" for line in self.code]
        for name, difference in self.weights.items():
            if difference is None:
                said.append(f"differs: {name} has other variables")
            elif difference:
                said.append(f"differs: weights of {name}, by up to {difference:.3g}")
            else:
                said.append(f"equal: weights of {name}, to the bit")
        said += [f"differs: {line}" for line in self.metrics[:10]]
        said += [] if self.metrics else ["equal: all metrics"]
        return [*said, "Reproduced." if self.equal else "Not reproduced."]

    def to_json(self) -> dict[str, Any]:
        """Returns the content of `reproduction.json`."""
        return asdict(self) | {"path": str(self.path), "equal": self.equal}


def reproduce(run: str | os.PathLike, workdir: str | os.PathLike | None = None) -> Reproduction:
    """Checks environment, code and data of a finished run, runs it again, and compares.

    Settings that the run chose automatically (batch size, feature extractors) are used again. The result is
    written to `RUN/reproduction.json`. An unfinished repetition is resumed. A finished one is kept under
    another name.

    Args:
        run: Path of a run directory.
        workdir: Directory of the repetition. None uses `RUN/reproduction`.

    Raises:
        UserError: The path is not a finished run.
        RunError: The data differ from the data of the run. Nothing is trained.
    """
    run_dir = RunDir(run).require_run()
    if not run_dir.is_finished:
        raise UserError(f"The run in {run_dir.path} is not finished. Received: run={str(run_dir.path)!r}")
    config = load_config(str(run_dir.config))
    if config.data.source == ARRAYS.name:
        raise UserError(
            "The data are arrays that were given from Python, and a run does not keep them. Train with them "
            "in another workdir by run_experiment(..., data=...), and compare both runs with "
            f"`tlkeras compare`. Received: data.source={ARRAYS.name}"
        )
    manifest = run_dir.read_json("manifest.json")
    if "merged" in manifest:
        raise UserError(
            f"This run was merged from others; reproduce those. Received: run={str(run_dir.path)!r}"
        )
    if "adapted" in manifest:
        raise UserError(
            "This run was adapted from another one; repeat it with `tlkeras adapt`. "
            f"Received: run={str(run_dir.path)!r}"
        )
    again = RunDir(workdir or run_dir.path / _FOLDER)
    for path in (again.path, run_dir.path):  # the comparison is written to the second at the end
        check_writable(path)
    environment = _environment(config, manifest)
    for line in (*environment, *(code := _code(manifest))):
        messages.note(f"differs: {line}")
    _require_same_data(config, manifest)
    run_experiment(config, again.path, fresh=again.is_finished, repeats=run_dir.path)
    result = Reproduction(
        path=again.path,
        environment=environment,
        code=code,
        weights={
            name: _difference(run_dir.path / name, again.path / name)
            for name in _results(run_dir, "best.keras")
        },
        metrics=_metrics(run_dir, again),
    )
    run_dir.write_json("reproduction.json", result.to_json())
    return result


def _environment(config: ExperimentConfig, manifest: dict[str, Any]) -> list[str]:
    described = start(config.runtime, config.seed).describe()
    now = {
        "versions": versions(),
        "machine": {"platform": platform.platform(), "python": platform.python_version()},
        "runtime": {key: described[key] for key in _RUNTIME},
    }
    then = {
        "versions": manifest["versions"],
        "machine": manifest["machine"],
        "runtime": {key: manifest["runtime"].get(key) for key in _RUNTIME},
    }
    return _differences(now, then)


def _code(manifest: dict[str, Any]) -> list[str]:
    now, then = git_state(Path(tlkeras.__file__).parent), manifest.get("git")
    lines = _differences({"git": now}, {"git": then})
    if not lines and then and then["changed"]:
        lines.append("git: the checkout had uncommitted changes then and has some now, which may differ")
    return lines


def _require_same_data(config: ExperimentConfig, manifest: dict[str, Any]) -> None:
    domains = read_domains(config.one_fold(0) if config.is_folded else config)
    try:
        require_same_data(manifest, domains, "So it cannot be reproduced.")
    except UserError as error:
        raise RunError(str(error)) from error


def _results(run_dir: RunDir, place: str) -> list[str]:
    """Returns the paths of `place` in a run and in its twin, seeds and folds.

    A model card in the folder holds files of the same names, but it has no ledger and is no run.

    Args:
        run_dir: Directory of the run.
        place: Path of the file in each of them.
    """
    runs = [ledger.parent for ledger in sorted(run_dir.path.rglob(run_dir.ledger.path.name))]
    found = [(run / place).relative_to(run_dir.path) for run in runs if (run / place).is_file()]
    return [str(path) for path in found if not path.parts[0].startswith(_FOLDER)]


def _difference(left: Path, right: Path) -> float | None:
    """Returns the largest difference of any weight. It is 0 only if all weights are bit-identical."""
    from tlkeras.runs.model_file import load_model  # after `start`

    if not right.is_file():
        return None
    # weights only: names of seed generators depend on a counter of the process
    pairs = [{v.path: v.numpy() for v in load_model(path).weights} for path in (left, right)]
    if {k: v.shape for k, v in pairs[0].items()} != {k: v.shape for k, v in pairs[1].items()}:
        return None
    largest = 0.0
    for path, value in pairs[0].items():
        other = pairs[1][path]
        if value.tobytes() != other.tobytes():
            gap = np.abs(value.astype(np.float64) - other.astype(np.float64)).max()
            # different bits count as a difference even if the numbers are equal (0 and -0)
            largest = max(largest, float(gap) if gap > 0 else np.finfo(np.float64).tiny)
    return largest


def _metrics(run_dir: RunDir, again: RunDir) -> list[str]:
    lines = []
    for path in _results(run_dir, "evaluation/metrics.json"):
        now = again.read_json(again.path / path) if (again.path / path).is_file() else {}
        lines += [f"{path}: {line}" for line in _differences(now, run_dir.read_json(run_dir.path / path))]
    return lines


def _differences(now: dict[str, Any], then: dict[str, Any]) -> list[str]:
    lines = config_differences(now, then)
    return [line.replace(": received ", ": now ").replace(", there ", ", then ") for line in lines]
