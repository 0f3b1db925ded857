"""Trains, evaluates and saves what a config says; an unfinished run in the workdir is resumed."""

from absl import flags as absl_flags

from tlkeras import messages
from tlkeras.backend import name_workers
from tlkeras.cli.common import config_from, define_config_flags, no_arguments

USAGE = "tlkeras train --config=FILE|NAME [--set path=value ...] [--workdir=DIR] [flags]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    define_config_flags(flags)
    absl_flags.DEFINE_string("workdir", None, "The run directory; default runs/NAME.", flag_values=flags)
    absl_flags.DEFINE_list("workers", None, "host:port of every worker, the chief first; alike in all.",
                           flag_values=flags)  # fmt: skip
    absl_flags.DEFINE_integer("worker_index", None, "Which of --workers this process is, from 0.",
                              flag_values=flags)  # fmt: skip
    absl_flags.DEFINE_boolean("dry_run", False, "Check everything, print the plan, train nothing.",
                              flag_values=flags)  # fmt: skip
    absl_flags.DEFINE_boolean("fresh", False, "Start over; the old run is kept under another name.",
                              flag_values=flags)  # fmt: skip


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    no_arguments(flags, arguments)
    name_workers(flags.workers or (), flags.worker_index)
    config = config_from(flags)
    workdir = flags.workdir or f"runs/{config.name}"
    if flags.dry_run:
        from tlkeras.cli.plan import print_plan
        from tlkeras.studies.experiment import rehearse

        rehearse(config, workdir, fresh=flags.fresh)
        print_plan(config)
        messages.result(f"Dry run: all is in order, nothing was trained, and {workdir} was not touched.")
        return
    from tlkeras.studies.experiment import run_experiment

    run_experiment(config, workdir=workdir, fresh=flags.fresh)
