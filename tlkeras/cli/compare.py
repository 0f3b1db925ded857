"""Compares runs: intervals, paired tests on shared rows, curves, and differences of their configs."""

from pathlib import Path

from absl import flags as absl_flags

from tlkeras import messages, report
from tlkeras.cli.tables import print_table
from tlkeras.errors import UserError

USAGE = "tlkeras compare RUN... [--output=compare.html]"


_PRINTED = (
    "run",
    "backbone",
    "metric",
    "score",
    "low",
    "high",
    "gain",
    "gain_low",
    "gain_high",
    "verdict",
    "log_loss",
    "p",
)


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_string("output", "compare.html", "Path of the page.", flag_values=flags)


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    if not arguments:
        raise UserError("Name run directories, or folders that hold runs. Received: nothing")
    rows = report.write_comparison(arguments, flags.output)
    print_table([{key: row[key] for key in _PRINTED} for row in rows])
    messages.result(f"Written to {Path(flags.output)}.")
