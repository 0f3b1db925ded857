"""Checks environment, code and data of a finished run, repeats it and compares the results."""

from absl import flags as absl_flags

from tlkeras import messages, studies
from tlkeras.cli.common import one_run

USAGE = "tlkeras reproduce RUN [--workdir=DIR]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_string("workdir", None, "Directory of the new run. The default is RUN/reproduction.",
                             flag_values=flags)  # fmt: skip


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> int:
    """Runs the command. Returns exit code 1 if the results differ."""
    run_dir = one_run(arguments)
    result = studies.reproduce.reproduce(run_dir, flags.workdir)
    messages.result("\n".join(["", *result.lines()]))
    return 0 if result.equal else 1
