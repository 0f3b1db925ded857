"""Trains, evaluates and saves the model of a config. Resumes an unfinished run in the workdir."""

from absl import flags as absl_flags

from tlkeras import messages, studies
from tlkeras.backend import name_workers
from tlkeras.cli.common import config_from, define_config_flags, define_worker_flags, no_arguments
from tlkeras.cli.plan import print_plan

USAGE = "tlkeras train --config=FILE|NAME [--set path=value ...] [--workdir=DIR] [flags]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    define_config_flags(flags)
    absl_flags.DEFINE_string("workdir", None, "Run directory. The default is runs/NAME.", flag_values=flags)
    define_worker_flags(flags)
    absl_flags.DEFINE_boolean(
        "dry_run", False, "Check everything and print the plan, without training.", flag_values=flags
    )
    absl_flags.DEFINE_boolean(
        "fresh", False, "Start over. The old run is kept under another name.", flag_values=flags
    )


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    no_arguments(flags, arguments)
    name_workers(flags.workers or (), flags.worker_index)
    config = config_from(flags)
    workdir = flags.workdir or f"runs/{config.name}"
    if flags.dry_run:
        studies.experiment.rehearse(config, workdir, fresh=flags.fresh)
        print_plan(config)
        messages.result(f"Dry run: no errors were found, nothing was trained, and {workdir} was not changed.")
        return
    studies.experiment.run_experiment(config, workdir=workdir, fresh=flags.fresh)
