"""The verdict on the predictions of finished runs, with the comparison of their log losses beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from tlkeras.data.roles import Role
from tlkeras.evaluation.calibration import fitted_temperature
from tlkeras.evaluation.log_loss import with_log_loss
from tlkeras.evaluation.predictions import Predictions
from tlkeras.evaluation.verdict import FEW_LABELS, Verdict, judge
from tlkeras.run_dir import RunDir


def judge_runs(
    runs: Sequence[Predictions],
    twins: Sequence[Predictions],
    run_dirs: Sequence[tuple[RunDir, RunDir]],
    domain: str,
    **words: Any,
) -> Verdict:
    """Judges runs against their twins; see `judge`. The verdict has the comparison of the log losses.

    The variation between seeds is taken as larger on another domain than that of the labelled training rows,
    and if there are fewer than `FEW_LABELS` of these.

    Args:
        runs: Labelled predictions of the run, one per seed.
        twins: Predictions of its twin in the same order of seeds, on the same rows in any order.
        run_dirs: Directories of run and twin for each seed, with their fitted temperatures.
        domain: Domain of the rows: `source` for that of the labelled training rows.
        **words: Further arguments of `judge`.

    Raises:
        ValueError: There are no predictions, or run and twin have different rows.
        UserError: The task does not have the metric, or a file of a run is damaged.
    """
    shifted = domain != Role.SOURCE
    unstable = shifted or any(map(_has_few_labels, run_dirs[0]))
    temperatures = [(fitted_temperature(run), fitted_temperature(twin)) for run, twin in run_dirs]
    found = judge(runs, twins, unstable=unstable, **words)
    return with_log_loss(found, runs, twins, temperatures, unstable=unstable, of_source=shifted)


def _has_few_labels(run: RunDir) -> bool:
    training = run.evaluation_of(Role.SOURCE) / "predictions_train.npz"
    return training.is_file() and len(Predictions.load(training)) < FEW_LABELS


def verdict_texts(verdict: Mapping[str, Any]) -> list[str]:
    """Returns what a verdict says to people: its sentence, that on the log loss, and the warning.

    Args:
        verdict: Verdict as in `verdict.json`. Those of earlier versions have no log loss.
    """
    loss = (verdict.get("log_loss") or {}).get("sentence")
    return [text for text in (verdict["sentence"], loss, verdict.get("warning")) if text]
