"""Predicts files and folders (any picture size) with a finished run. Unreadable files are skipped."""

import sys
from pathlib import Path

from absl import flags as absl_flags

from tlkeras import evaluation, messages, runs
from tlkeras.backend import import_tensorflow
from tlkeras.errors import UserError
from tlkeras.run_dir import check_writable, write_text

USAGE = "tlkeras predict RUN PATH... [--text=TEXT] [--coverage=0.9] [--format=csv|jsonl] [--output=FILE]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_enum("format", "csv", ["csv", "jsonl"], "Format of the predictions.",
                           flag_values=flags)  # fmt: skip
    absl_flags.DEFINE_multi_string("text", [], "Text to predict instead of files. May be repeated.",
                                   flag_values=flags)  # fmt: skip
    absl_flags.DEFINE_float(
        "coverage", None, "Also give each row a set of classes (for regression an interval) that holds the "
        "truth with this probability, e.g. 0.9.", flag_values=flags,
    )  # fmt: skip
    absl_flags.DEFINE_enum(
        "sets", "threshold", ["threshold", "adaptive", "regularized"], "Kind of the sets of classes.",
        flag_values=flags,
    )  # fmt: skip
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
    if flags.coverage is not None:
        _covered(opened, opened.validation, flags)  # reports a mistake before the work begins
    predictions, skipped = (opened.predict(flags.text), []) if flags.text else opened.predict_files(paths)
    for path, reason in skipped:
        messages.error(f"skipped {path}: {reason}")
    if opened.unlike_training is None:
        messages.warn(f"No score of rows that are unlike the training rows: {_why_none(opened)}.")
    covered = None if flags.coverage is None else _covered(opened, predictions, flags)
    text = evaluation.prediction_files.predictions_text(predictions, flags.format, covered=covered)
    if flags.output:
        write_text(flags.output, text)
        messages.result(f"{len(predictions.ids)} predictions written to {flags.output}")
    else:
        sys.stdout.write(text)


def _covered(opened, predictions, flags: absl_flags.FlagValues):
    """Returns the conformal sets of predictions, or their conformal intervals."""
    if predictions.task == "regression":
        return opened.conformal_intervals(predictions, flags.coverage)
    return opened.conformal_sets(predictions, flags.coverage, flags.sets)


def _why_none(opened) -> str:
    if not opened.manifest["rows"]["source"].get("val"):
        return "the run has no validation rows"
    return f"the run has not measured it (tlkeras evaluate {opened.path} does)"
