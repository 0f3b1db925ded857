"""Computes the features of frozen backbones that a config trains on, and stores them in the cache.

Started several times with the same cache.dir, also on several machines, it divides the rows. A process that
dies leaves what it has finished, and the next start computes only the rest. `tlkeras train` then finds all
features.
"""

from absl import flags as absl_flags

from tlkeras import messages, studies
from tlkeras.backend import name_workers
from tlkeras.cli.common import config_from, define_config_flags, define_worker_flags, no_arguments

USAGE = "tlkeras extract --config=FILE|NAME [--set path=value ...] [flags]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    define_config_flags(flags)
    define_worker_flags(flags)


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    no_arguments(flags, arguments)
    name_workers(flags.workers or (), flags.worker_index)
    for stage, rows in studies.extract.extract(config_from(flags)).items():
        messages.result(f"{stage}: all features are stored, {rows:,} rows were computed by this process.")
