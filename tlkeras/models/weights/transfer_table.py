"""The table of a parameter transfer: the layers that matched by name and shape, and those that did not."""

from typing import Any

FILE = "parameter_transfer.csv"


def transfer_table(report) -> list[dict[str, Any]]:
    """Returns one row per layer with weights: `layer` and `outcome`.

    Args:
        report: `tlkeras.models.weights.load.WeightReport` of the backbone.

    Returns:
        Rows whose outcome is `matched` (the layer got weights), `initial` (the layer keeps its initial
        weights) or `unused` (the layer exists only in the file or run with the weights).
    """
    groups = {"matched": report.matched, "initial": report.unmatched, "unused": report.unused}
    return [{"layer": name, "outcome": outcome} for outcome, names in groups.items() for name in names]


def write_transfer(run_dir, report) -> str | None:
    """Writes the table into a run directory. Returns a line of text if a layer did not match, else None.

    Args:
        run_dir: Run directory.
        report: `WeightReport` of the backbone. Nothing is written for random weights.
    """
    if report is None or report.source is None:
        return None
    run_dir.write_rows(FILE, transfer_table(report))
    if report.source == "imagenet":
        return None
    return (
        f"Weights from {report.source}: {len(report.matched)} layers matched, {len(report.unmatched)} "
        f"keep their initial weights, {len(report.unused)} of the source are unused ({FILE})."
    )
