"""Measures the time of a stage: a table of input, trunk, tail, head and update, and a TensorBoard profile.

The feature cache is not used, so the table shows the time that it would save (the trunk).
"""

from pathlib import Path

from absl import flags as absl_flags

from tlkeras import messages, training
from tlkeras.cli.common import config_from, define_config_flags, no_arguments
from tlkeras.cli.tables import print_table
from tlkeras.run_dir import check_writable

USAGE = "tlkeras profile --config=FILE|NAME [--stage=0] [--set path=value ...] [--workdir=DIR]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    define_config_flags(flags)
    absl_flags.DEFINE_integer("stage", 0, "Index of the stage.", lower_bound=0, flag_values=flags)
    absl_flags.DEFINE_string(
        "workdir", None, "Output folder for the profile. The default is runs/NAME.profile.", flag_values=flags
    )


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    no_arguments(flags, arguments)
    config = config_from(flags)
    from tlkeras.prepare import prepare
    from tlkeras.settled_config import checked

    folder = Path(flags.workdir or f"runs/{config.name}.profile")
    check_writable(folder)
    config = checked(config)
    parts = prepare(config)
    rows = training.profile.profile_stage(parts, flags.stage, folder)
    print_table(rows, title=f"Stage {flags.stage}, batches of {parts.batch_size}")
    if (note := training.profile.note_on_reading(parts, flags.stage, rows)) is not None:
        messages.result(f"{note}.")
    messages.result(f"Profile of ten steps: tensorboard --logdir={folder} (needs tensorboard-plugin-profile)")
