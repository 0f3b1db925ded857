"""Makes one model of several finished runs: a model soup, a line between two runs, or an ensemble."""

from absl import flags as absl_flags

from tlkeras import messages, studies
from tlkeras.backend import import_tensorflow
from tlkeras.errors import UserError

USAGE = "tlkeras merge RUN RUN... --workdir=DIR [--how=greedy|uniform|line|ensemble]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_string("workdir", None, "Directory of the merged run.", flag_values=flags)
    about = "greedy or uniform averages weights, line chooses between two runs, ensemble averages answers."
    absl_flags.DEFINE_string("how", "greedy", about, flag_values=flags)


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    if not flags.workdir:
        raise UserError("--workdir is missing: name a new folder for the merged run.")
    import_tensorflow()
    messages.result(studies.merge.merge_runs(arguments, flags.workdir, flags.how).path)
