"""Searches for a good config within a given time: ranks starting points, then tries settings on the best."""

import contextlib
import dataclasses
import os
import re
import secrets
import time
import warnings
from pathlib import Path
from typing import Any

import keras

from tlkeras import messages
from tlkeras.backend import check_single_process, compat, start
from tlkeras.config import ExperimentConfig, VerdictConfig, dump_config, load_config
from tlkeras.config.loading import as_of_today
from tlkeras.errors import UserError
from tlkeras.evaluation.named_metrics import make_metrics
from tlkeras.prepare import read_domains
from tlkeras.run_dir import (
    InUse,
    RunDir,
    SharedWork,
    check_place,
    refuse_differences,
    write_json,
    write_text,
)
from tlkeras.run_dir.shared_work import DONE
from tlkeras.settled_config import checked
from tlkeras.studies.alarm import TimeUp, alarm
from tlkeras.studies.candidates import parse_candidates
from tlkeras.studies.experiment import run_experiment
from tlkeras.studies.rank import rank
from tlkeras.studies.recommendation import title
from tlkeras.studies.search_space import (
    StartingPoint,
    check_searchable,
    first_trials,
    shortened,
    starting_point,
    suggest,
)
from tlkeras.studies.search_storage import Storage

RANKING_SHARE = 0.25  # share of the budget
STARTS = 3  # number of best starting points in the search
FAILURES = 10  # number of failed trials in a row that ends the search
WAIT_FOR_OTHERS = 60.0  # seconds that a process waits at the end for others to stop their trials
_STATE, _BEST, _PAGE, _TABLE = "auto.json", "best.json", "auto.md", "trials.csv"
_STARTS = "starting_points"


def parse_budget(text: str) -> float:
    """Returns the seconds of a text such as `90s`, `20m`, `1.5h` or a number of seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not match or float(match[1]) <= 0:
        raise UserError(f"--budget is a time such as 90s, 20m or 1.5h. Received: --budget={text}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def auto(
    config: ExperimentConfig,
    workdir: str | os.PathLike,
    *,
    budget: float,
    candidates: str | None = None,
    storage: str | None = None,
) -> dict[str, Any]:
    """Searches for the config with the best validation score until the budget is spent.

    The score is the accuracy, or the metric of `judged_by`.

    The first trial is the unchanged config, so the result is never worse than it by validation. The next
    trials are two recipes on each of the two best starting points. All trials but the first train a third of
    their epochs first, and are stopped if the result is below the median of the others (Optuna's sampler and
    pruner; Akiba et al. 2019). A stopped search continues with the unfinished trial. A failed trial is
    recorded as failed.

    Several processes with the same workdir, on one machine or on several, work on one study: each trial is
    trained by one process, and the trial of a process that died is taken up by another. The budget is the
    time during which any process works.

    Args:
        config: Config to start from, with a validation split.
        workdir: Folder for `best.json` (the best config), `auto.md` (a summary), `trials.csv` and the runs.
        budget: Total time in seconds.
        candidates: Candidates as for `tlkeras rank`, including runs. None takes the config's own backbone
            and all backbones with available weights.
        storage: URL of a database for Optuna's study, such as `mysql://USER:PASSWORD@HOST/NAME`. None stores
            it in the file `study.journal` in the workdir.

    Returns:
        The row of the best trial in `trials.csv`.

    Raises:
        UserError: Optuna is missing, the config is wrong or cannot be searched, the workdir holds something
            else, the storage cannot be opened or is another one, or no trial was completed.
    """
    search = _Search(config, Path(workdir).expanduser(), budget, candidates, Storage(storage))
    search.check()
    with search.shared:
        search.open()
        if search.left() > 0:
            with contextlib.suppress(TimeUp), alarm(search.left()):
                search.starts = search.chosen_starting_points()
                search.run()
        return search.finish()


class _Search:
    """The part of this process in an automatic search.

    Args:
        config: Config to start from.
        folder: Directory of the search.
        budget: Time of the search in seconds.
        candidates: Candidates of the ranking.
        storage: Place of the study.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        folder: Path,
        budget: float,
        candidates: str | None,
        storage: "Storage",
    ):
        self.config = config.model_copy(update={"verdict": VerdictConfig()})
        self.folder, self.budget, self.candidates, self.storage = folder, budget, candidates, storage
        self.shared = SharedWork(folder, at_each_beat=self._note)
        self.starts: list[StartingPoint] = []
        self.began = time.monotonic()
        self.spent = 0.0

    def check(self) -> None:
        """Raises the errors that would affect every trial, before anything is written."""
        check_single_process("auto")
        if check_place(self.folder, _STATE, "search"):
            self._check_same()
        else:
            self._check_new()

    def open(self) -> None:
        """Opens a new study, or that of an earlier or another process."""
        state = {"config": self.config.model_dump(mode="json"), "candidates": self.candidates}
        name = f"{self.config.name}-{secrets.token_hex(4)}"  # a database may hold many studies

        def begin(path: Path) -> None:
            self.storage.create(self.folder, name)
            write_json(path, {**state, "study": name, "seconds": 0.0})

        self.shared.once(self.folder / _STATE, begin)
        self._check_same()  # another search may have begun here at the same time
        there = RunDir(self.folder).read_json(_STATE)
        self.spent = there["seconds"]
        # each process draws other settings
        self.study = self.storage.open(
            self.folder, there.get("study"), self.config.seed + 1 + self.shared.number
        )

    def _check_same(self) -> None:
        there = RunDir(self.folder).read_json(_STATE)
        state = {"config": self.config.model_dump(mode="json"), "candidates": self.candidates}
        refuse_differences(
            self.folder, "search", state,
            {"config": as_of_today(there["config"]), "candidates": there["candidates"]},
        )  # fmt: skip

    def _check_new(self) -> None:
        self.storage.check()
        check_searchable(self.config)
        for candidate in parse_candidates(self.candidates, self.config) if self.candidates else ():
            starting_point(candidate, self.config)

        start(self.config.runtime, self.config.seed)
        source = read_domains(checked(self.config))["source"]
        make_metrics(self.config.measured, source.task, source.num_outputs)
        if "val" not in source.splits:
            raise UserError(
                f"auto maximises {self.metric} on validation rows, and this data has none. "
                f"Received: data.val_fraction={self.config.data.val_fraction}"
            )

    @property
    def metric(self) -> str:
        """Name of the metric by which trials are compared. A higher value is better for all that classify."""
        return self.config.judged_by or "accuracy"

    def seconds(self) -> float:
        """Returns the time for which processes have worked on the search."""
        return self.spent + time.monotonic() - self.began

    def left(self) -> float:
        """Returns the remaining seconds."""
        return self.budget - self.seconds()

    def chosen_starting_points(self) -> list[StartingPoint]:
        """Returns the starting points of all trials, which the first process writes into the study."""
        if _STARTS not in self.study.user_attrs:
            ranked = self.ranked_starting_points()
            self.shared.divide(
                ["first_trials"], lambda _: self._begin(ranked), lambda _: _STARTS in self.study.user_attrs
            )
        return [StartingPoint(**start) for start in self.study.user_attrs[_STARTS]]

    def _begin(self, starts: list[StartingPoint]) -> None:
        first = [{}, *first_trials(starts)]  # the unchanged config comes first
        for settings in first[len(self.study.get_trials(deepcopy=False)) :]:
            self.study.enqueue_trial(settings)
        self.study.set_user_attr(_STARTS, [dataclasses.asdict(start) for start in starts])

    def ranked_starting_points(self) -> list[StartingPoint]:
        """Returns the best starting points by `tlkeras rank`, including the config's own."""
        model = checked(self.config).model
        own = StartingPoint(model.backbone, model.weights, model.backbone_options)
        words = self.candidates or "*:imagenet"
        try:
            found = {candidate.title: candidate for candidate in parse_candidates(words, self.config)}
            if not (self.folder / "ranking" / "ranking.csv").is_file():
                seconds = RANKING_SHARE * self.left()
                rank(self.config, words, self.folder / "ranking", rows=600, seconds=seconds)
        except UserError:
            if self.candidates:
                raise
            return [own]  # no weights are available, or no backbone takes these inputs
        rows = [r for r in RunDir(self.folder / "ranking").read_rows("ranking.csv") if not r["error"]]
        rows = [row for row in rows if title(row) in found][:STARTS]
        best = [starting_point(found[title(row)], self.config) for row in rows]
        return list({start.title: start for start in [*best, own]}.values())

    def run(self) -> None:
        """Runs one trial after another, beginning with those of processes that stopped or died."""
        failures = 0
        while self.left() > 0:
            trial, claim = self._next()
            with claim:
                failures = 0 if self._try(trial) else failures + 1
            if failures == FAILURES:
                messages.note(f"The last {FAILURES} trials failed: the search ends.")
                return

    def _next(self):
        """Returns a trial and the claim on it, so that no other process trains it."""
        for begun in self._running():
            claim = self.shared.take(_piece(begun))
            if claim is not None and begun.number in [trial.number for trial in self._running()]:
                return self.storage.optuna.trial.Trial(self.study, compat.optuna_trial_number(begun)), claim
            if claim is not None:  # another process finished it after the look above
                claim.end(DONE)
        while True:
            trial = self.study.ask()
            claim = self.shared.take(_piece(trial))
            if claim is not None:  # else another process took it at once
                return trial, claim

    def _running(self) -> list:
        return self.study.get_trials(deepcopy=False, states=[self.storage.optuna.trial.TrialState.RUNNING])

    def _try(self, trial) -> bool:
        """Runs a trial and returns whether it ended. A trial that time or a signal interrupts stays open."""
        states = self.storage.optuna.trial.TrialState
        try:
            value = self.objective(trial)
        except self.storage.optuna.TrialPruned:
            self.study.tell(trial, state=states.PRUNED)
        except InUse:
            raise
        except Exception as error:  # even a bug or too little memory must not end the other trials
            if trial.number == 0 and isinstance(error, UserError):
                raise  # a mistake in the user's own config
            self.study.tell(trial, state=states.FAIL)
            reason = " ".join(str(error).split())[:300]
            messages.note(f"Trial {trial.number} failed: {type(error).__name__}: {reason}")
            return False
        else:
            self.study.tell(trial, value)
        return True

    def objective(self, trial) -> float:
        """Trains one trial and returns its validation score."""
        self._note()
        folder = self.folder / "trials" / f"{trial.number:03d}"
        if trial.number == 0:
            config = self.config
        else:
            config = suggest(trial, self.config, self.starts)
            first = self._score(shortened(config), folder.with_name(f"{folder.name}_short"))
            with warnings.catch_warnings():  # a resumed trial has reported this value before
                warnings.simplefilter("ignore")
                trial.report(first, step=1)
            if trial.should_prune():
                raise self.storage.optuna.TrialPruned
        return self._score(config, folder)

    def _score(self, config: ExperimentConfig, folder: Path) -> float:
        if self.left() <= 0:  # the alarm may have been dropped
            raise TimeUp
        keras.backend.clear_session()
        return float(run_experiment(config, folder).metrics["source"]["val"][self.metric])

    def finish(self) -> dict[str, Any]:
        """Writes the best config, the table and the summary, and returns the best row.

        The budget of all processes ends at the same time. This one waits until the others have stopped.
        """
        if others := self.shared.wait(map(_piece, self._running()), WAIT_FOR_OTHERS):
            messages.note(
                f"Other processes still work on {', '.join(others)}, and will write the table again."
            )
        trials = self.study.get_trials(deepcopy=False)
        rows = [_row(trial, self.metric) for trial in trials if trial.state.name != "WAITING"]
        done = [row for row in rows if row["state"] == "complete"]
        self._note()
        if not done:
            raise UserError(
                f"No trial was completed within {self.budget:.0f} s. With a larger --budget, the same "
                "command continues from here. In another --workdir, fewer epochs take less time. Received: "
                f"--budget={self.budget:.0f}s"
            )
        best = max(done, key=lambda row: row[f"val_{self.metric}"])
        run = RunDir(self.folder / "trials" / f"{best['trial']:03d}")
        best_config = load_config(run.config)
        write_text(self.folder / _BEST, dump_config(best_config))
        RunDir(self.folder).write_rows(_TABLE, rows)
        seconds = RunDir(self.folder).read_json(_STATE)["seconds"]
        write_text(self.folder / _PAGE, _page(rows, best, run, seconds, self.metric))
        return best

    def _note(self) -> None:
        """Writes the time of the search, unless another process has written a later one."""
        there = RunDir(self.folder).read_json(_STATE)
        if there["seconds"] < self.seconds():
            write_json(self.folder / _STATE, there | {"seconds": round(self.seconds(), 1)})


def _piece(trial) -> str:
    return f"trial_{trial.number:03d}"


def _row(trial, metric: str) -> dict[str, Any]:
    value = trial.value if trial.state.name == "COMPLETE" else ""
    seconds = trial.duration.total_seconds() if trial.duration else ""
    state = trial.state.name.lower().replace("running", "out of time")
    row = {"trial": trial.number, "state": state, f"val_{metric}": value}
    settings = trial.params or ({"start": "the unchanged config"} if trial.number == 0 else {})
    return row | {"seconds": seconds} | dict(settings)


def _page(rows: list[dict[str, Any]], best: dict[str, Any], run: RunDir, seconds: float, metric: str) -> str:
    """Returns the summary of all trials as Markdown."""
    val = f"val_{metric}"
    test = run.read_json("evaluation/metrics.json")["source"].get("test", {}).get(metric)
    lines = [
        "# Automatic search",
        "",
        f"{len(rows)} trials in {seconds / 60:.1f} minutes. The best is trial {best['trial']}: validation "
        f"{metric} {best[val]:.3f}" + (f", test {metric} {test:.3f}." if test else "."),
        f"Its config is `{_BEST}`, its run `trials/{run.path.name}`. Test rows were not used for the choice.",
        "",
    ]
    if best["trial"] == 0:
        lines += ["No trial is better than the unchanged config.", ""]
    order = sorted(rows, key=lambda row: (row[val] == "", -(row[val] or 0)))
    for row in order:
        score = f"{row[val]:.3f}" if row[val] != "" else row["state"]
        settings = [(k, v) for k, v in row.items() if k not in ("trial", "state", val, "seconds")]
        words = ", ".join(f"{k} {v:.2g}" if isinstance(v, float) else f"{k} {v}" for k, v in settings)
        lines.append(f"- trial {row['trial']}: {score}; {words or 'stopped before it started'}")
    return "\n".join(lines) + "\n"
