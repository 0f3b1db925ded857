"""Writes a model card, and with it a folder that can be published: the model, its labels and its config."""

from absl import flags as absl_flags

from tlkeras import messages, publish
from tlkeras.cli.common import one_run

USAGE = "tlkeras card RUN [--output=DIR] [--license=NAME]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_string("output", None, "Folder to write. The default is RUN/card.", flag_values=flags)
    absl_flags.DEFINE_string(
        "license", "unknown", "Licence of the model, as the Hugging Face Hub names it, e.g. apache-2.0.",
        flag_values=flags,
    )  # fmt: skip


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    messages.result(publish.folder.write_folder(one_run(arguments), flags.output, flags.license))
