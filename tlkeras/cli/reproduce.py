"""Checks environment, code and data of a finished run, runs it again and says whether it came out equal."""

from absl import flags as absl_flags

from tlkeras import messages
from tlkeras.errors import UserError

USAGE = "tlkeras reproduce RUN [--workdir=DIR]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_string("workdir", None, "Where to run it again; default RUN/reproduction.",
                             flag_values=flags)  # fmt: skip


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> int:
    """Runs the command; exit code 1 where it did not come out equal."""
    if len(arguments) != 1:
        raise UserError(f"Name one run directory. Received: {' '.join(arguments) or 'nothing'}")
    from tlkeras.studies.reproduce import reproduce

    result = reproduce(arguments[0], flags.workdir)
    messages.result("\n".join(["", *result.lines()]))
    return 0 if result.equal else 1
