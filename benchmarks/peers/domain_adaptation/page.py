"""Writes the tables of the section on adaptation in docs/peers.md from the results of run.py."""

import statistics
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))

from tables import replace_part, table, versions

BEGIN = "<!-- adaptation: written by benchmarks/peers/domain_adaptation/run.py --page -->\n"
END = "<!-- end of adaptation -->"
OURS, ALONE, AGREEMENT = "tlkeras", "none", "agreement"
By = dict[tuple[str, str, str, str], dict[int, dict]]


def write_page(results: list[dict], libraries: list[str]) -> None:
    """Replaces the tables in the page.

    Args:
        results: Runs as run.py records them.
        libraries: Names of the libraries in the order of the tables.
    """
    found: By = defaultdict(dict)
    for one in results:
        found[one["task"], one["setting"], one["method"], one["library"]][one["seed"]] = one
    tasks, methods = (list(dict.fromkeys(one[name] for one in results)) for name in ("task", "method"))
    parts = [
        f"*Largest difference of a weight after {_steps(results)} steps*",
        agreement(found, methods, libraries),
    ]
    for setting, words in (("shared", "the same setting"), ("default", "the defaults of each library")):
        for task in tasks:
            if task != AGREEMENT and (shown := accuracies(found, task, setting, methods, libraries)):
                parts += [f"*Accuracy on the target: `{task}`, {words}*", shown]
    parts += ["*CPU time*", times(found, tasks, methods, libraries), versions(results)]
    replace_part(BEGIN, END, parts)


def _steps(results: list[dict]) -> int:
    return next(one["steps"] for one in results if one["task"] == AGREEMENT)


def agreement(found: By, methods: list[str], libraries: list[str]) -> str:
    """Returns a table of the largest difference of a weight from tlkeras' weight."""
    rows = []
    for method in methods:
        runs = [found.get((AGREEMENT, "shared", method, library)) for library in libraries]
        weights = [next(iter(by_seed.values()))["weights"] if by_seed else None for by_seed in runs]
        ours = weights[libraries.index(OURS)]
        cells = [_difference(ours, w) for n, w in zip(libraries, weights, strict=True) if n != OURS]
        if any(cells):
            rows.append([_name(method), *cells])
    return table(["method", *(library for library in libraries if library != OURS)], rows)


def _difference(ours: list[float] | None, theirs: list[float] | None) -> str:
    if ours is None or theirs is None:
        return ""
    return _share(max(abs(a - b) for a, b in zip(ours, theirs, strict=True)), 5)


def _name(method: str) -> str:
    return "source only" if method == ALONE else f"`{method}`"


def accuracies(found: By, task: str, setting: str, methods: list[str], libraries: list[str]) -> str:
    """Returns a table of target accuracies: the median over the seeds, and the smallest and the largest."""
    rows = []
    for method in methods:
        runs = [found.get((task, setting, method, library)) for library in libraries]
        if any(runs):
            rows.append([_name(method), *map(_spread, runs)])
    return table(["method", *libraries], rows) if rows else ""


def _spread(runs: dict[int, dict] | None) -> str:
    if not runs:
        return ""
    values = [one["target"] for one in runs.values()]
    few = f"; {len(values)}" if len(values) < 5 else ""
    return f"{_share(statistics.median(values))} ({_share(min(values))} to {_share(max(values))}{few})"


def _share(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".removeprefix("0")


def times(found: By, tasks: list[str], methods: list[str], libraries: list[str]) -> str:
    """Returns a table of CPU times: milliseconds of a step of tlkeras, and ratios of the others to it.

    Only runs of the shared setting on `moons` and `blobs` count, paired by problem and seed.
    """
    rows = []
    for method in methods:
        ours = _seconds(found, tasks, method, OURS)
        if not ours:
            continue
        row = [
            _name(method),
            f"{1e3 * statistics.median(ours.values()):.2f} ms",
        ]
        for library in libraries:
            if library != OURS:
                theirs = _seconds(found, tasks, method, library)
                ratios = [value / ours[key] for key, value in theirs.items() if key in ours]
                row.append(f"{statistics.median(ratios):.1f}" if ratios else "")
        rows.append(row)
    others = [f"{library} / tlkeras" for library in libraries if library != OURS]
    return table(["method", "tlkeras, a step", *others], rows)


def _seconds(found: By, tasks: list[str], method: str, library: str) -> dict[tuple[str, int], float]:
    return {
        (task, seed): one["cpu_seconds"] / one["steps"]
        for task in tasks
        if task in ("moons", "blobs")
        for seed, one in found.get((task, "shared", method, library), {}).items()
    }
