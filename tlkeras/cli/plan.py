"""Prints what each stage trains: layers, parameters, steps and learning rates. No pictures are read."""

from pathlib import Path

from absl import flags as absl_flags

from tlkeras import messages, studies
from tlkeras.backend import start
from tlkeras.cli.common import config_from, define_config_flags, no_arguments
from tlkeras.cli.tables import print_table
from tlkeras.config import ExperimentConfig

USAGE = "tlkeras plan --config=FILE|NAME [--set path=value ...]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    define_config_flags(flags)


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    no_arguments(flags, arguments)
    print_plan(config_from(flags))


def print_plan(config: ExperimentConfig) -> None:
    """Prints the plan of each run of an experiment."""
    start(config.runtime, config.seed, alone=True)
    from tlkeras.plan import plan
    from tlkeras.settled_config import checked

    for name, run in studies.two_tasks.planned_runs(checked(config), Path("runs") / config.name).items():
        planned = plan(run)
        messages.result(f"{name}: {planned.model}" if name else planned.model)
        for note in planned.notes:
            messages.result(note)
        if planned.rows:
            print_table(planned.rows)
        else:
            messages.result("No stages: nothing is trained.")
