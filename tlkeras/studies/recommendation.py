"""The recommendation that a ranking gives, in words and as a picture."""

from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.run_dir import replacing

_PANELS = {
    "probe_accuracy": "probe accuracy",
    "logme": "LogME",
    "leep": "LEEP",
    "nce": "NCE",
    "h_score": "H-score",
    "transrate": "TransRate",
}
_SURE = 2.0  # standard errors of a paired difference above which it counts as real


def title(row: dict[str, Any]) -> str:
    """Returns the name of a table row, such as `resnet50:imagenet`."""
    return row["candidate"] if row["weights"] == "run" else f"{row['candidate']}:{row['weights']}"


def recommend(table: list[dict[str, Any]], right: dict[str, np.ndarray], metric: str = "accuracy") -> str:
    """Returns the recommendation as text.

    Args:
        table: Rows of `ranking.csv`, best first.
        right: Contribution of each row to the score of each candidate's cross-validated probe by title, such
            as whether it is correct, `(n,)`. The rows are the same for all candidates.
        metric: Metric of that score. The table has the column `probe_METRIC`.
    """
    column, scored = f"probe_{metric}", [row for row in table if not row["error"]]
    failed = [title(row) for row in table if row["error"]]
    left_out = [f"Could not be scored, see the table: {', '.join(failed)}."] if failed else []
    if all(row["weights"] == "none" for row in scored):
        return "\n".join([_nothing_known(scored, failed, metric), *left_out])
    best, *others = scored
    lines = [
        f"Start from {title(best)}: a linear probe on its frozen features "
        f"{_reached(best, metric)} {len(right[title(best)])} held-out training rows."
    ]
    equal = [row for row in others if not _sure(right[title(best)], right[title(row)])]
    smaller = [row for row in equal if row["parameters"] < 0.7 * best["parameters"]]
    if others and not equal:
        gap = best[column] - others[0][column]
        lines.append(f"{title(others[0])} is {gap * 100:.1f} points worse, more than chance explains.")
    elif equal:
        lines.append(
            f"On these rows it cannot be distinguished from {', '.join(map(title, equal))} (within "
            f"{_SURE:g} standard errors)."
        )
    if smaller:
        small = min(smaller, key=lambda row: row["parameters"])
        lines.append(
            f"{title(small)} does as well with {small['parameters']:,} parameters instead of "
            f"{best['parameters']:,}, so it is the cheaper choice."
        )
    lines += _warnings(scored, best, column)
    return "\n".join(lines + left_out)


def _nothing_known(scored: list[dict[str, Any]], failed: list[str], metric: str) -> str:
    """Returns the text for a table in which only random weights have scores."""
    return (
        f"No candidate to recommend: only random weights {'could be scored' if failed else 'were offered'} "
        f"({', '.join(map(title, scored))}), which contain no knowledge. The best "
        f"{_reached(scored[0], metric)} held-out training rows. A trained candidate must beat that."
    )


def _reached(row: dict[str, Any], metric: str) -> str:
    """Returns what a probe reached, followed by the number of rows."""
    value = row[f"probe_{metric}"]
    return f"is correct on {value:.1%} of" if metric == "accuracy" else f"has {metric} {value:.3f} on"


def _warnings(scored: list[dict[str, Any]], best: dict[str, Any], column: str) -> list[str]:
    lines = []
    by_logme = max(scored, key=lambda row: row["logme"])
    if by_logme is not best:
        lines.append(f"LogME prefers {title(by_logme)}; fine-tune both if the budget allows.")
    random = [row for row in scored if row["weights"] == "none"]
    if random and random[0] is best:
        trained = [title(row) for row in scored if row["weights"] != "none"]
        lines.append(
            f"Random weights are best: {', '.join(trained)} {'has' if len(trained) == 1 else 'have'} nothing "
            "that helps this task. Expect no gain from transfer, or name better candidates."
        )
    elif random:
        gain = best[column] - random[0][column]
        lines.append(f"This is {gain * 100:.1f} points better than random weights ({title(random[0])}).")
    return lines


def _sure(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether the first is significantly better than the second, by paired rows."""
    if first.shape != second.shape:
        return True
    difference = first.astype(float) - second.astype(float)
    return difference.mean() > _SURE * max(difference.std() / np.sqrt(len(difference)), 1e-12)


def draw(table: list[dict[str, Any]], path: Path) -> None:
    """Draws one panel per score, with the candidates from best to worst.

    Args:
        table: Rows of `ranking.csv`.
        path: Path of a `.png` file.
    """
    from matplotlib.figure import Figure

    scored = [row for row in table if not row["error"]][::-1]
    panels = [name for name in _PANELS if any(row[name] != "" for row in scored)]
    figure = Figure(figsize=(2.2 + 2.1 * len(panels), 1.0 + 0.34 * len(scored)), layout="constrained")
    places = np.arange(len(scored))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, name in zip(axes, panels, strict=True):
        values = np.array([np.nan if row[name] == "" else row[name] for row in scored], float)
        axis.hlines(places, np.nanmin(values), values, color="#c8ccd4", linewidth=1)
        axis.plot(values, places, "o", color="#2563eb", markersize=6)
        axis.set_title(_PANELS[name], fontsize=10)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="x", labelsize=8)
        axis.locator_params(axis="x", nbins=4)
    axes[0].set_yticks(places, [title(row) for row in scored], fontsize=9, parse_math=False)
    axes[0].set_ylim(-0.6, len(scored) - 0.4)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)
