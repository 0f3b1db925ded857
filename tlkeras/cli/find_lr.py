"""Finds a learning rate for a stage by a range test. Earlier stages are trained first."""

from absl import flags as absl_flags

from tlkeras import messages, studies
from tlkeras.backend import start
from tlkeras.cli.common import config_from, define_config_flags, no_arguments

USAGE = "tlkeras find_lr --config=FILE|NAME [--stage=0] [--set path=value ...] [--workdir=DIR]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    define_config_flags(flags)
    absl_flags.DEFINE_integer("stage", 0, "Index of the stage.", lower_bound=0, flag_values=flags)
    absl_flags.DEFINE_string(
        "workdir", None, "Output folder for the curve. The default is runs/NAME.find_lr.", flag_values=flags
    )


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    no_arguments(flags, arguments)
    config = config_from(flags)
    start(config.runtime, config.seed)
    rate, path = studies.learning_rate.find_lr(config, flags.stage, flags.workdir)
    messages.result(f"learning rate {rate:.3g} for stage {flags.stage}; curve in {path}")
