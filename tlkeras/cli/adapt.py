"""Adapts a finished run to pictures, texts or rows without labels. The data of its source are not read."""

from absl import flags as absl_flags

from tlkeras import messages, studies
from tlkeras.backend import import_tensorflow
from tlkeras.cli.common import one_run
from tlkeras.errors import UserError

USAGE = "tlkeras adapt RUN --target=SOURCE [--method=adabn|tent|shot] [--workdir=DIR]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_string("target", None, "Data to adapt to, e.g. folder:DIR.", flag_values=flags)
    about = "adabn replaces statistics, tent trains normalisation layers, shot all but the classifier."
    absl_flags.DEFINE_string("method", "adabn", about, flag_values=flags)
    about = "Directory of the new run. By default it is the path of the run with the method appended."
    absl_flags.DEFINE_string("workdir", None, about, flag_values=flags)
    about = "Number of passes over the target. By default 1 for tent and 15 for shot."
    absl_flags.DEFINE_integer("epochs", None, about, lower_bound=1, flag_values=flags)
    about = "Learning rate. By default .001 for tent and .01 for shot."
    absl_flags.DEFINE_float("learning_rate", None, about, lower_bound=0.0, flag_values=flags)


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    path = one_run(arguments)
    if not flags.target:
        raise UserError("--target is missing: name the data to adapt to, e.g. --target=folder:DIR.")
    options = {name: flags[name].value for name in ("epochs", "learning_rate")}
    given = {name: value for name, value in options.items() if value is not None}
    import_tensorflow()
    adapted = studies.source_free.adapt(path, flags.target, flags.method, flags.workdir, **given)
    messages.result(adapted.path)
