"""A good config in a given time: rank sources, then search what to train of the best and how."""

import contextlib
import os
import re
import time
import warnings
from pathlib import Path
from typing import Any

import keras

from tlkeras import messages
from tlkeras.backend import check_single_process, compat, start
from tlkeras.config import ExperimentConfig, VerdictConfig, dump_config, load_config
from tlkeras.config.loading import as_of_today
from tlkeras.errors import UserError, install
from tlkeras.prepare import checked, read_domains
from tlkeras.run_dir import RunDir, check_place, write_json, write_text
from tlkeras.run_dir.lock import RunLock
from tlkeras.studies.alarm import TimeUp, alarm
from tlkeras.studies.candidates import parse_candidates
from tlkeras.studies.experiment import run_experiment
from tlkeras.studies.rank import rank
from tlkeras.studies.recommendation import title
from tlkeras.studies.search_space import Source, check_searchable, first_trials, shortened, source_of, suggest

RANKING_SHARE = 0.25  # of the budget
SOURCES = 3  # ranked ones that are searched over
FAILURES = 10  # failed trials in a row that end a search
_STATE, _BEST, _PAGE, _TABLE = "auto.json", "best.json", "auto.md", "trials.csv"


def parse_budget(text: str) -> float:
    """Returns the seconds that `90s`, `20m`, `1.5h` or a number of seconds stand for."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not match or float(match[1]) <= 0:
        raise UserError(f"--budget is a time such as 90s, 20m or 1.5h. Received: --budget={text}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def auto(
    config: ExperimentConfig, workdir: str | os.PathLike, *, budget: float, candidates: str | None = None
) -> dict[str, Any]:
    """Searches for the config with the best validation accuracy, and ends when the budget is spent.

    The first trial is the config as it is, so that the result is no worse by validation; the next are two
    recipes on the two best sources. All but the first train a third of their epochs before, and are given up
    where that is below the median of the others (Optuna's sampler and pruner; Akiba et al. 2019). The time
    counts over all processes: a search that was stopped goes on where it was, the trial that it was in first.
    A trial that fails is counted as such.

    Args:
        config: The experiment to start from, with a validation split.
        workdir: Gets `best.json`, the config to keep; `auto.md`, what was tried; `trials.csv`; the runs.
        budget: Seconds.
        candidates: As for `tlkeras rank`, runs included; None takes the config's own backbone and the
            ones whose weights are at hand.

    Returns:
        The best trial's row of `trials.csv`.

    Raises:
        UserError: Optuna is missing, the config cannot be searched over or is wrong, the workdir holds
            something else, or not one trial could end.
    """
    search = _Search(config, Path(workdir).expanduser(), budget, candidates, _optuna())
    try:
        search.open()
        if search.left() > 0:
            with contextlib.suppress(TimeUp), alarm(search.left()):
                search.sources = search.ranked_sources()
                search.run()
        return search.finish()
    finally:
        search.lock.release()


class _Search:
    """One automatic search.

    Args:
        config: The experiment to start from.
        folder: Its directory.
        budget: Seconds, over all processes.
        candidates: What is ranked.
        optuna: The module.
    """

    def __init__(self, config: ExperimentConfig, folder: Path, budget: float, candidates: str | None, optuna):
        self.config = config.model_copy(update={"verdict": VerdictConfig()})
        self.folder, self.budget, self.candidates, self.optuna = folder, budget, candidates, optuna
        self.lock = RunLock(folder / ".lock")
        self.sources: list[Source] = []
        self.began = time.monotonic()
        self.spent = 0.0

    def open(self) -> None:
        """Opens the study, a new one or an earlier process's."""
        state = {"config": self.config.model_dump(mode="json"), "candidates": self.candidates}
        if not check_place(self.folder, _STATE, "search"):
            self._check_new()
        self.lock.acquire()
        if (self.folder / _STATE).is_file():
            old = RunDir(self.folder).read_json(_STATE)
            self.spent = old.pop("seconds")
            if old | {"config": as_of_today(old["config"])} != state:
                raise UserError(
                    f"{self.folder} holds the search of another config: choose another --workdir."
                )
        self.state = state
        self._note()
        optuna = self.optuna
        backend = optuna.storages.journal.JournalFileBackend(str(self.folder / "study.journal"))
        self.study = optuna.create_study(
            direction="maximize", study_name="auto", load_if_exists=True,
            storage=optuna.storages.JournalStorage(backend),
            sampler=optuna.samplers.TPESampler(seed=self.config.seed + 1, n_startup_trials=6),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
        )  # fmt: skip

    def _check_new(self) -> None:
        """Refuses what no trial could make up for, before anything is written."""
        check_single_process("auto")
        check_searchable(self.config)
        for candidate in parse_candidates(self.candidates, self.config) if self.candidates else ():
            source_of(candidate, self.config)

        start(self.config.runtime, self.config.seed)
        if "val" not in read_domains(checked(self.config))["source"].splits:
            raise UserError(
                "auto goes by accuracy on the validation rows, and this data has none. "
                f"Received: data.val_fraction={self.config.data.val_fraction}"
            )

    def left(self) -> float:
        """Returns the seconds that are left."""
        return self.budget - self.spent - (time.monotonic() - self.began)

    def ranked_sources(self) -> list[Source]:
        """Returns the best sources by `tlkeras rank`, the config's own among them."""
        model = checked(self.config).model
        own = Source(model.backbone, model.weights, model.backbone_options)
        words = self.candidates or "*:imagenet"
        try:
            found = {candidate.title: candidate for candidate in parse_candidates(words, self.config)}
            if not (self.folder / "ranking" / "ranking.csv").is_file():
                seconds = RANKING_SHARE * self.left()
                rank(self.config, words, self.folder / "ranking", rows=600, seconds=seconds)
        except UserError:
            if self.candidates:
                raise
            return [own]  # no backbone's weights are here, or none that takes these inputs
        rows = [r for r in RunDir(self.folder / "ranking").read_rows("ranking.csv") if not r["error"]]
        rows = [row for row in rows if title(row) in found][:SOURCES]
        best = [source_of(found[title(row)], self.config) for row in rows]
        return list({source.title: source for source in [*best, own]}.values())

    def run(self) -> None:
        """Tries one config after the other; first those that an earlier process had begun."""
        if not self.study.get_trials(deepcopy=False):
            for settings in ({}, *first_trials(self.sources)):  # the config as it is comes before
                self.study.enqueue_trial(settings)
        running = self.study.get_trials(states=[self.optuna.trial.TrialState.RUNNING])
        begun = [self.optuna.trial.Trial(self.study, compat.optuna_trial_number(trial)) for trial in running]
        failures = 0
        while self.left() > 0:
            failures = 0 if self._try(begun.pop(0) if begun else self.study.ask()) else failures + 1
            if failures == FAILURES:
                messages.note(f"The last {FAILURES} trials failed: the search ends.")
                return

    def _try(self, trial) -> bool:
        """Runs a trial and returns whether it came to an end; one that time or a signal ends stays open."""
        states = self.optuna.trial.TrialState
        try:
            value = self.objective(trial)
        except self.optuna.TrialPruned:
            self.study.tell(trial, state=states.PRUNED)
        except Exception as error:  # also a bug, or too little memory: no reason to lose the others
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
        """Trains one trial and returns its validation accuracy."""
        self._note()
        folder = self.folder / "trials" / f"{trial.number:03d}"
        if trial.number == 0:
            config = self.config
        else:
            config = suggest(trial, self.config, self.sources)
            first = self._score(shortened(config), folder.with_name(f"{folder.name}_short"))
            with warnings.catch_warnings():  # of a trial that is taken up again, and has reported it
                warnings.simplefilter("ignore")
                trial.report(first, step=1)
            if trial.should_prune():
                raise self.optuna.TrialPruned
        return self._score(config, folder)

    def _score(self, config: ExperimentConfig, folder: Path) -> float:
        if self.left() <= 0:  # the alarm may have been lost
            raise TimeUp
        keras.backend.clear_session()
        return float(run_experiment(config, folder).metrics["source"]["val"]["accuracy"])

    def finish(self) -> dict[str, Any]:
        """Writes the best config, the table and the page; returns the best row."""
        trials = self.study.get_trials(deepcopy=False)
        rows = [_row(trial) for trial in trials if trial.state.name != "WAITING"]
        done = [row for row in rows if row["state"] == "complete"]
        self._note()
        if not done:
            raise UserError(
                f"Not one trial ended within {self.budget:.0f} s: give more --budget, or fewer epochs. "
                f"The same command goes on from here. Received: --budget={self.budget:.0f}s"
            )
        best = max(done, key=lambda row: row["val_accuracy"])
        run = RunDir(self.folder / "trials" / f"{best['trial']:03d}")
        best_config = load_config(run.config)
        write_text(self.folder / _BEST, dump_config(best_config))
        RunDir(self.folder).write_rows(_TABLE, rows)
        seconds = self.spent + time.monotonic() - self.began
        write_text(self.folder / _PAGE, _page(rows, best, run, seconds))
        return best

    def _note(self) -> None:
        seconds = self.spent + time.monotonic() - self.began
        write_json(self.folder / _STATE, {**self.state, "seconds": round(seconds, 1)})


def _row(trial) -> dict[str, Any]:
    value = trial.value if trial.state.name == "COMPLETE" else ""
    seconds = trial.duration.total_seconds() if trial.duration else ""
    state = trial.state.name.lower().replace("running", "out of time")
    row = {"trial": trial.number, "state": state, "val_accuracy": value}
    settings = trial.params or ({"source": "the config as it is"} if trial.number == 0 else {})
    return row | {"seconds": seconds} | dict(settings)


def _page(rows: list[dict[str, Any]], best: dict[str, Any], run: RunDir, seconds: float) -> str:
    """Returns the page that says what was tried."""
    test = run.read_json("evaluation/metrics.json")["source"].get("test", {}).get("accuracy")
    lines = [
        "# Automatic search",
        "",
        f"{len(rows)} trials in {seconds / 60:.1f} minutes. The best is trial {best['trial']}: validation "
        f"accuracy {best['val_accuracy']:.3f}" + (f", test accuracy {test:.3f}." if test else "."),
        f"Its config is `{_BEST}`, its run `trials/{run.path.name}`. Test rows had no say in the choice.",
        "",
    ]
    if best["trial"] == 0:
        lines += ["Nothing that was tried beats the config as it was written.", ""]
    order = sorted(rows, key=lambda row: (row["val_accuracy"] == "", -(row["val_accuracy"] or 0)))
    for row in order:
        score = f"{row['val_accuracy']:.3f}" if row["val_accuracy"] != "" else row["state"]
        settings = [(k, v) for k, v in row.items() if k not in ("trial", "state", "val_accuracy", "seconds")]
        words = ", ".join(f"{k} {v:.2g}" if isinstance(v, float) else f"{k} {v}" for k, v in settings)
        lines.append(f"- trial {row['trial']}: {score}; {words or 'stopped before it began'}")
    return "\n".join(lines) + "\n"


def _optuna():
    try:
        import optuna
    except ImportError as error:
        raise UserError(f"auto needs Optuna, the extra 'search': {install('search')}.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
