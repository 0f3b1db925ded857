"""A good config in a given time: rank sources, then search what to train of the best and how."""

import contextlib
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from tlkeras.config import ExperimentConfig, VerdictConfig, dump_config
from tlkeras.errors import UserError
from tlkeras.run_dir import RunDir, write_json, write_text
from tlkeras.search.candidates import parse_candidates
from tlkeras.search.rank import rank
from tlkeras.search.space import shortened, suggest

RANKING_SHARE = 0.25  # of the budget
SOURCES = 3  # ranked ones that are searched over
_STATE, _BEST, _PAGE, _TABLE = "auto.json", "best.json", "auto.md", "trials.csv"


class TimeUp(BaseException):
    """The budget is spent; no `except Exception` on the way may take it for a failure of its own."""


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

    The first trial is the config as it is, so that the result is no worse by validation. A further one
    first trains a third of its epochs and is given up where that is below the median of the others
    (Optuna's sampler and pruner; Akiba et al. 2019). The time counts over all processes: a search that
    was stopped goes on where it was.

    Args:
        config: The experiment to start from, with a validation split.
        workdir: Gets `best.json`, the config to keep; `auto.md`, what was tried; `trials.csv`; the runs.
        budget: Seconds.
        candidates: As for `tlkeras rank`; None takes the config's own backbone and the small ones whose
            weights are at hand.

    Returns:
        The best trial's row of `trials.csv`.

    Raises:
        UserError: Optuna is missing, the workdir holds something else, or not one trial could end.
    """
    optuna = _optuna()
    search = _Search(config, Path(workdir).expanduser(), budget, candidates)
    search.open(optuna)
    if search.left() > 0:
        with contextlib.suppress(TimeUp), _alarm(search.left()):
            search.sources = search.ranked_sources()
            search.study.optimize(search.objective, catch=(UserError, OSError))
    return search.finish()


class _Search:
    """One automatic search.

    Args:
        config: The experiment to start from.
        folder: Its directory.
        budget: Seconds, over all processes.
        candidates: What is ranked.
    """

    def __init__(self, config: ExperimentConfig, folder: Path, budget: float, candidates: str | None):
        self.config = config.model_copy(update={"verdict": VerdictConfig()})
        self.folder, self.budget, self.candidates = folder, budget, candidates
        self.sources: list[tuple[str, str | None]] = []
        self.began = time.monotonic()
        self.spent = 0.0

    def open(self, optuna) -> None:
        """Opens the study, a new one or an earlier process's."""
        state = {"config": self.config.model_dump(mode="json"), "candidates": self.candidates}
        there = self.folder / _STATE
        if self.folder.exists() and any(self.folder.iterdir()) and not there.is_file():
            raise UserError(f"{self.folder} holds no search, and is not empty: choose another --workdir.")
        if there.is_file():
            old = RunDir(self.folder).read_json(_STATE)
            self.spent = old.pop("seconds")
            if old != state:
                raise UserError(
                    f"{self.folder} holds the search of another config: choose another --workdir."
                )
        self.state = state
        self.folder.mkdir(parents=True, exist_ok=True)
        self._note()
        backend = optuna.storages.journal.JournalFileBackend(str(self.folder / "study.journal"))
        self.study = optuna.create_study(
            direction="maximize", study_name="auto", load_if_exists=True,
            storage=optuna.storages.JournalStorage(backend),
            sampler=optuna.samplers.TPESampler(seed=self.config.seed + 1, n_startup_trials=6),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
        )  # fmt: skip
        self._pruned = optuna.TrialPruned

    def left(self) -> float:
        """Returns the seconds that are left."""
        return self.budget - self.spent - (time.monotonic() - self.began)

    def ranked_sources(self) -> list[tuple[str, str | None]]:
        """Returns the best sources by `tlkeras rank`, the config's own among them."""
        own = (self.config.model.backbone, self.config.model.weights)
        words = self.candidates or "*:imagenet"
        try:
            parse_candidates(words, self.config)
        except UserError:
            if self.candidates:
                raise
            return [own]
        if not (self.folder / "ranking" / "ranking.csv").is_file():
            rank(self.config, words, self.folder / "ranking", rows=600, seconds=RANKING_SHARE * self.left())
        rows = [r for r in RunDir(self.folder / "ranking").read_rows("ranking.csv") if not r["error"]]
        ranked = [(r["candidate"], None if r["weights"] == "none" else r["weights"]) for r in rows]
        backbones = [source for source in ranked if source[1] != "run"]
        return list(dict.fromkeys([*backbones[:SOURCES], own]))

    def objective(self, trial) -> float:
        """Trains one trial and returns its validation accuracy."""
        self._note()
        folder = self.folder / "trials" / f"{trial.number:03d}"
        if trial.number == 0:
            config = self.config
        else:
            config = suggest(trial, self.config, self.sources)
            first = self._score(shortened(config), folder.with_name(f"{folder.name}_short"))
            trial.report(first, step=1)
            if trial.should_prune():
                raise self._pruned
        return self._score(config, folder)

    def _score(self, config: ExperimentConfig, folder: Path) -> float:
        import keras

        from tlkeras.run import run_experiment

        keras.backend.clear_session()
        run = run_experiment(config, folder)
        values = run.metrics["source"].get("val")
        if values is None or "accuracy" not in values:
            raise UserError("auto goes by accuracy on the validation rows, and this config has none.")
        return float(values["accuracy"])

    def finish(self) -> dict[str, Any]:
        """Writes the best config, the table and the page; returns the best row."""
        rows = [_row(trial) for trial in self.study.get_trials(deepcopy=False)]
        done = [row for row in rows if row["state"] == "complete"]
        self._note()
        if not done:
            raise UserError(
                f"Not one trial ended within {self.budget:.0f} s: give more --budget, or fewer epochs. "
                f"The same command goes on from here. Received: --budget={self.budget:.0f}s"
            )
        best = max(done, key=lambda row: row["val_accuracy"])
        run = RunDir(self.folder / "trials" / f"{best['trial']:03d}")
        best_config = self.config.model_validate(run.read_json("config.json"))
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


@contextlib.contextmanager
def _alarm(seconds: float):
    """Raises `TimeUp` in this thread once the seconds have passed."""

    def ring(number, frame):
        raise TimeUp

    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def _optuna():
    try:
        import optuna
    except ImportError as error:
        raise UserError("auto needs Optuna: pip install 'tlkeras[search]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
