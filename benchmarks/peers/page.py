"""Writes the measured tables of docs/peers.md from the results of run.py."""

import os
import platform
import statistics
from collections import defaultdict
from collections.abc import Sequence

from tables import replace_part, table, versions

BEGIN, END = "<!-- measured: written by benchmarks/peers/run.py --page -->\n", "<!-- end -->"
OURS, HEAD = "tlkeras", "tlkeras, head alone"
Timed = dict[tuple[str, int, str], dict]  # timed runs by task, seed and peer


def write_page(results: list[dict], peers: list[str]) -> None:
    """Replaces the tables in the page.

    Args:
        results: Runs as run.py records them, with the tasks in the order of the tables.
        peers: Names of all peers in the order of the tables. Those without runs are left out.
    """
    ran = {found["peer"] for found in results}
    peers = [peer for peer in peers if peer in ran]
    variants = [peer for peer in peers if "," in peer]  # as in "fastai, long"
    parts = ["## Accuracy", accuracies(results, [peer for peer in peers if peer not in variants])]
    if variants:
        parts += ["## Accuracy of variants", accuracies(results, variants)]
    timed = {(f["task"], f["seed"], f["peer"]): f for f in results if f["timed"]}
    if any(peer == OURS for _, _, peer in timed):
        parts += ["## Time", times(timed, peers)]
        parts += ["## Time to the accuracy of another library", times_to_accuracy(timed, peers)]
    replace_part(BEGIN, END, [*parts, f"{machine()} {versions(results)}"])


def accuracies(results: list[dict], peers: list[str]) -> str:
    """Returns the table of test accuracies: mean, spread and number of seeds of each task and peer."""
    by_place: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for found in results:
        by_place[found["task"], found["peer"]][found["seed"]] = found["accuracy"]
    tasks = list(dict.fromkeys(found["task"] for found in results))
    rows = [
        [f"`{task}`", *(_mean_and_spread(by_place.get((task, peer))) for peer in peers)] for task in tasks
    ]
    complete = [all((task, peer) in by_place for task in tasks) for peer in peers]
    means = [
        _points(statistics.fmean(_mean(by_place[task, peer]) for task in tasks)) if whole else ""
        for peer, whole in zip(peers, complete, strict=True)
    ]
    return table(["task", *peers], [*rows, ["mean", *means]])


def _mean(by_seed: dict[int, float]) -> float:
    return statistics.fmean(by_seed.values())


def _mean_and_spread(by_seed: dict[int, float] | None) -> str:
    if not by_seed:
        return "not run"
    spread = f" ± {100 * statistics.stdev(by_seed.values()):.1f}" if len(by_seed) > 1 else ""
    return f"{_points(_mean(by_seed))}{spread} ({len(by_seed)})"


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def times(timed: Timed, peers: list[str]) -> str:
    """Returns the table of times, relative to the tlkeras run of the same task and seed."""
    rows = []
    for peer in peers:
        found = [f for f in timed.values() if f["peer"] == peer and (f["task"], f["seed"], OURS) in timed]
        if not found:
            continue
        ours = [timed[f["task"], f["seed"], OURS] for f in found]
        rows.append([
            peer, str(len(found)), *(_ratio(found, ours, name) for name in ("seconds", "cpu_seconds")),
            f"{statistics.median(f['seconds'] for f in found):.0f}",
            f"{statistics.median(f['training_seconds'] for f in found):.0f}",
            f"{max(f['peak_mb'] for f in found):.0f}",
        ])  # fmt: skip
    head = [
        "peer",
        "pairs",
        "time / tlkeras' time",
        "CPU time / tlkeras' CPU time",
        "seconds",
        "of these training",
    ]
    return table([*head, "peak MiB"], rows)


def times_to_accuracy(timed: Timed, peers: list[str]) -> str:
    """Returns the table of times that others take, relative to tlkeras' first stage, which is a head alone.

    A task counts if the head alone is at least as accurate as the other. The first times are those of whole
    processes, and the last ones end with the training.
    """
    rows = []
    for peer in peers:
        pairs = [
            (f, timed[f["task"], f["seed"], HEAD])
            for f in timed.values()
            if f["peer"] == peer and (f["task"], f["seed"], HEAD) in timed
        ]
        reached = [(one, own) for one, own in pairs if own["accuracy"] >= one["accuracy"]]
        if peer not in (OURS, HEAD) and reached:
            others, ours = zip(*reached, strict=True)
            gain = statistics.fmean(own["accuracy"] - one["accuracy"] for one, own in reached)
            rows.append([
                peer, f"{len(reached)} of {len(pairs)}", f"+{_points(gain)}",
                _ratio(others, ours, "seconds"), _ratio(others, ours, "cpu_seconds"),
                _ratio(others, ours, "trained_after"),
            ])  # fmt: skip
    head = [
        "peer",
        "tasks on which the head alone is as accurate",
        "its accuracy there, points",
        "the peer's time / its time",
        "CPU time",
        "from start to end of training",
    ]
    return table(head, rows)


def _ratio(found: Sequence[dict], ours: Sequence[dict], name: str) -> str:
    pairs = zip(found, ours, strict=True)
    ratios = [one[name] / own[name] for one, own in pairs if name in one and name in own]
    if not ratios:
        return "not measured"
    return f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})"


def machine() -> str:
    """Returns a sentence on the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"Machine: {cores} cores ({platform.machine()}), {platform.system()}, Python "
        f"{platform.python_version()}, no accelerator."
    )
