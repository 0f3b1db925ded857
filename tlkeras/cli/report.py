"""Writes report.html of finished or unfinished runs again, from the files in their directories."""

from absl import flags as absl_flags

from tlkeras import messages, report
from tlkeras.errors import UserError

USAGE = "tlkeras report RUN... [--output=FILE]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_string(
        "output",
        None,
        "Path of the page (for one run only). The default is RUN/report.html.",
        flag_values=flags,
    )


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    if not arguments:
        raise UserError("Name at least one run directory. Received: nothing")
    if flags.output and len(arguments) > 1:
        raise UserError(f"--output can be used for one run only. Received: {len(arguments)} runs")
    for path in arguments:
        messages.result(report.write_report(path, flags.output))
