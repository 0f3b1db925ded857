"""Searches, within a given time, for the best source, depth, learning rates, regularizer and augmentation."""

from pathlib import Path

from absl import flags as absl_flags

from tlkeras import messages, studies
from tlkeras.backend import start
from tlkeras.cli.common import config_from, define_config_flags, no_arguments

USAGE = "tlkeras auto --config=FILE|NAME --budget=20m [--candidates=NAME,...] [--storage=URL] [--workdir=DIR]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    define_config_flags(flags)
    absl_flags.DEFINE_string("budget", "20m", "Total time, e.g. 90s, 20m or 1.5h.", flag_values=flags)
    absl_flags.DEFINE_string(
        "candidates", None, "Backbones or runs to choose from, as for rank.", flag_values=flags
    )
    absl_flags.DEFINE_string(
        "storage", None, "URL of a database for the trials. The default is a file in the workdir.",
        flag_values=flags,
    )  # fmt: skip
    absl_flags.DEFINE_string(
        "workdir", None,
        "Output folder. Processes with the same folder divide the trials. The default is runs/NAME.auto.",
        flag_values=flags,
    )  # fmt: skip


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    no_arguments(flags, arguments)
    config = config_from(flags)
    start(config.runtime, config.seed)
    workdir = Path(flags.workdir or f"runs/{config.name}.auto")
    budget = studies.auto.parse_budget(flags.budget)
    studies.auto.auto(config, workdir, budget=budget, candidates=flags.candidates, storage=flags.storage)
    messages.result((workdir / "auto.md").read_text("utf-8"))
    messages.result(f"To train the best config again: tlkeras train --config={workdir / 'best.json'}")
