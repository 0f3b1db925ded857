"""Evaluates a finished run again and replaces its folder evaluation/."""

from absl import flags as absl_flags

from tlkeras import evaluation, messages, runs
from tlkeras.backend import import_tensorflow
from tlkeras.cli.common import one_run
from tlkeras.cli.tables import print_table
from tlkeras.run_dir import RunDir

USAGE = "tlkeras evaluate RUN [--set data.source=...]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_multi_string(
        "set", [], "Evaluate on other data, e.g. data.source=folder:DIR. The result is only printed.",
        flag_values=flags,
    )  # fmt: skip


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    run_dir = one_run(arguments)
    manifest = RunDir(run_dir).require_run().manifest
    described = RunDir(run_dir).read_json(manifest)["runtime"] if manifest.is_file() else {}
    import_tensorflow(described.get("onednn"))
    metrics = runs.saved_run.load_run(run_dir).evaluate(overrides=flags.set)
    print_table(metric_rows(metrics))
    if note := evaluation.unlabelled.unlabelled_note(metrics):
        messages.result(note)


def metric_rows(metrics: dict) -> list[dict]:
    """Returns one row per domain and split with the most important metrics."""
    first = ("loss", "accuracy", "macro_f1", "expected_calibration_error", "auc", "mae", "rmse", "r2")
    return [
        {"domain": domain, "split": split} | {name: values[name] for name in first if name in values}
        for domain, splits in metrics.items()
        for split, values in splits.items()
    ]
