"""Predicts files and folders (any picture size) with a finished run. Unreadable files are skipped."""

import sys
from pathlib import Path

from absl import flags as absl_flags

from tlkeras import evaluation, messages, runs
from tlkeras.backend import import_tensorflow
from tlkeras.errors import UserError
from tlkeras.run_dir import check_writable, write_text

USAGE = "tlkeras predict RUN PATH... [--text=TEXT] [--format=csv|jsonl] [--output=FILE]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_enum("format", "csv", ["csv", "jsonl"], "Format of the predictions.",
                           flag_values=flags)  # fmt: skip
    absl_flags.DEFINE_multi_string("text", [], "Text to predict instead of files. May be repeated.",
                                   flag_values=flags)  # fmt: skip
    absl_flags.DEFINE_string("output", None, "Output file. The default is the terminal.", flag_values=flags)


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    if len(arguments) != 1 if flags.text else len(arguments) < 2:
        received = " ".join(arguments) or "nothing"
        raise UserError(
            f"Name a run directory and files or folders, or use --text instead of files. Received: {received}"
        )
    if flags.output:
        check_writable(Path(flags.output).parent)
    import_tensorflow()
    run_path, *paths = arguments
    opened = runs.saved_run.load_run(run_path)
    predictions, skipped = (opened.predict(flags.text), []) if flags.text else opened.predict_files(paths)
    for path, reason in skipped:
        messages.error(f"skipped {path}: {reason}")
    text = evaluation.prediction_files.predictions_text(predictions, flags.format)
    if flags.output:
        write_text(flags.output, text)
        messages.result(f"{len(predictions.ids)} predictions written to {flags.output}")
    else:
        sys.stdout.write(text)
