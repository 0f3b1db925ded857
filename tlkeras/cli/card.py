"""Writes a model card, and with it a folder that can be published: the model, its labels and its config."""

from absl import flags as absl_flags

from tlkeras import export, messages, report
from tlkeras.backend import import_tensorflow
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
    run_dir = one_run(arguments)
    record = report.card.finished_run(run_dir)
    if not (record.run_dir.export / "keras").is_dir():
        import_tensorflow()
        export.export_run(record.path, ["keras"])
    messages.result(report.card.write_card(record.path, flags.output, flags.license))
