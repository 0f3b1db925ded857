"""Exports the model of a finished run, and refuses an export that disagrees with `predict`."""

from absl import flags as absl_flags

from tlkeras import export, messages
from tlkeras.backend import import_tensorflow
from tlkeras.cli.common import one_run
from tlkeras.cli.tables import print_table
from tlkeras.run_dir import RunDir

USAGE = "tlkeras export RUN [--format=saved_model|litert|litert_float16|litert_int8|onnx|keras,...]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_multi_string(
        "format",
        [],
        "Formats, separated by commas. May be repeated. The default is saved_model.",
        flag_values=flags,
    )
    absl_flags.DEFINE_integer("rows", 128, "Number of validation rows on which the export is checked.",
                              lower_bound=1, flag_values=flags)  # fmt: skip
    absl_flags.DEFINE_float("accuracy_drop", 0.03, "Largest accepted loss of accuracy.",
                            lower_bound=0.0, upper_bound=1.0, flag_values=flags)  # fmt: skip


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    run_dir = one_run(arguments)
    words = [word.strip() for value in flags.format for word in value.split(",")]
    formats = [word for word in words if word] or ["saved_model"]
    import_tensorflow()
    compared = export.export_run(run_dir, formats, rows=flags.rows, accuracy_drop=flags.accuracy_drop)
    print_table(
        [
            {
                "format": name,
                "rows": parity.rows,
                "relative difference": parity.relative,
                "same answer": parity.agreement,
                "accuracy": parity.accuracy,
                "accuracy drop": parity.accuracy_drop,
            }
            for name, parity in compared.items()
        ]
    )
    messages.result(f"Written to {RunDir(run_dir).export}/. Its serve.md explains how to use it.")
