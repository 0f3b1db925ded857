"""Parameter transfer by layer name and shape: the table of what matched and what did not."""

from typing import Any

FILE = "parameter_transfer.csv"


def transfer_table(report) -> list[dict[str, Any]]:
    """Returns one row per layer with weights: `layer` and `outcome`.

    Args:
        report: A `tlkeras.models.weights.load.WeightReport`.

    Returns:
        `matched`: the layer took over weights; `initial`: it found none and keeps its first ones;
        `unused`: it stands in the source only.
    """
    groups = {"matched": report.matched, "initial": report.unmatched, "unused": report.unused}
    return [{"layer": name, "outcome": outcome} for outcome, names in groups.items() for name in names]


def write_transfer(run_dir, report) -> str | None:
    """Writes the table into a run directory; returns a line about it where anything did not match.

    Args:
        run_dir: The run directory.
        report: What the backbone's weights were loaded from; nothing is written for random weights.
    """
    if report is None or report.source is None:
        return None
    run_dir.write_rows(FILE, transfer_table(report))
    if report.source == "imagenet":
        return None
    return (
        f"Weights from {report.source}: {len(report.matched)} layers matched, {len(report.unmatched)} keep "
        f"their first weights, {len(report.unused)} of the source are unused ({FILE})."
    )
