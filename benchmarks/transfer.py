"""Measures which ways of transfer help: `python benchmarks/transfer.py [SECTION ...] [--seeds=3]`.

Fashion-MNIST, as Keras stores it, is divided into two halves. Classes 0 to 4 are the source (2500 rows).
Classes 5 to 9 are the target, with 10 labels per class and 2500 test rows. The sections are `sharing`
(strategies compared with training from scratch), `regularizers` (compared with plain fine-tuning) and
`verdict` (a source with shuffled labels, a helpful source, and twenty comparisons of a config with itself).
Each section prints a table of the mean and the standard deviation over the seeds, with tlkeras' verdict on
all seeds together if there is a comparison.
"""

import contextlib
import io
import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np

from tlkeras import run_experiment
from tlkeras.config import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    RegularizerConfig,
    ScheduleConfig,
    StageConfig,
    TasksConfig,
    VerdictConfig,
)
from tlkeras.evaluation import Predictions, judge
from tlkeras.evaluation.score import row_scores

WORK = Path(tempfile.mkdtemp(prefix="tlkeras_transfer_"))
SEEDS = next((int(w.partition("=")[2]) for w in sys.argv if w.startswith("--seeds=")), 3)
SIZE, LARGE, ROWS = 28, 64, 2500
REGULARIZERS = {
    "plain": None,
    "l2_sp": RegularizerConfig(name="l2_sp", weight=0.1),
    "delta": RegularizerConfig(name="delta", weight=0.01),
    "bss": RegularizerConfig(name="bss", weight=1e-3),
    "stochastic_norm": RegularizerConfig(name="stochastic_norm"),
    "mixout": RegularizerConfig(name="mixout", weight=0.5),
    "lora": RegularizerConfig(name="lora", options={"rank": 4}),
    "co_tuning": RegularizerConfig(name="co_tuning", weight=1.0),
    # the teacher is the plain run of the seed, because a source run has other classes
    "distillation": RegularizerConfig(name="distillation", weight=1.0, options={"teacher": "reg_plain_SEED"}),
}


def write_halves() -> None:
    """Writes source.npz, shuffled.npz (the source with shuffled labels) and target.npz."""
    from keras.datasets import fashion_mnist

    (x, y), (x_test, y_test) = fashion_mnist.load_data()
    rng = np.random.default_rng(0)
    for name, classes in (("source", range(5)), ("target", range(5, 10))):
        rows, test = (rng.permutation(np.flatnonzero(np.isin(v, classes)))[:ROWS] for v in (y, y_test))
        arrays = {"x_train": x[rows], "y_train": y[rows] - classes[0]}
        arrays |= {"x_test": x_test[test], "y_test": y_test[test] - classes[0]}
        np.savez(WORK / f"{name}.npz", **arrays)
        if name == "source":
            np.savez(WORK / "shuffled.npz", **arrays | {"y_train": rng.permutation(arrays["y_train"])})


def config(seed: int, *stages: StageConfig, weights: str | None = None, **more) -> ExperimentConfig:
    """Returns an experiment on the target with 10 labels per class."""
    return ExperimentConfig(
        seed=seed,
        data=DataConfig(source=f"npz:{WORK / 'target.npz'}", image_size=SIZE, batch_size=25, per_class=10),
        model=ModelConfig(backbone="small_cnn", weights=weights),
        stages=stages,
        cache={"dir": str(WORK / "cache")},
        **more,
    )


def source_config(seed: int, data: str = "source", epochs: int = 6, size: int = SIZE) -> ExperimentConfig:
    """Returns the experiment of the source."""
    return ExperimentConfig(
        seed=seed,
        data=DataConfig(source=f"npz:{WORK / data}.npz", image_size=size, batch_size=50),
        model=ModelConfig(backbone="small_cnn", weights=None),
        stages=(stage("source", epochs=epochs),),
    )


def stage(name: str = "tune", epochs: int = 40, rate: float = 3e-3, **more) -> StageConfig:
    """Returns a stage that trains everything, including BatchNormalization.

    The learning rate falls to zero. At a constant rate, the statistics of so few steps lag behind the
    weights, and the validation accuracy changes by tens of points from one epoch to the next.
    """
    optimizer = OptimizerConfig(learning_rate=rate, schedule=ScheduleConfig(name="cosine"))
    settings = {"train": "all", "bn": "train", "optimizer": optimizer} | more
    return StageConfig(name=name, epochs=epochs, **settings)


def trained(name: str, experiment: ExperimentConfig):
    """Returns the finished run, which is trained without output."""
    with contextlib.redirect_stdout(io.StringIO()):
        return run_experiment(experiment, WORK / name)


def accuracy(run, task: str = "source") -> float:
    """Returns the test accuracy of a run."""
    return run.metrics[task]["test"]["accuracy"]


def tested(run, task: str = "source") -> Predictions:
    """Returns the predictions of a run for the test rows."""
    folder = run.path / "evaluation" / ("" if task == "source" else task)
    return Predictions.load(folder / "predictions_test.npz")


def show_verdicts(predictions: dict[str, list[Predictions]], twin: str) -> None:
    """Prints the verdict on each row compared with the twin, over all seeds."""
    for name, runs in predictions.items():
        if name != twin:
            verdict = judge(runs, predictions[twin], twin_name=twin)
            low, high = verdict.interval
            print(f"  {name:18s} {verdict.verdict}: {verdict.gain:+.3f}, {low:+.3f} to {high:+.3f} (99 %)")


def source_of(seed: int, data: str = "source") -> str:
    """Returns the directory of a source run. The run is trained at the first request."""
    trained(f"{data}_{seed}", source_config(seed, data))
    return str(WORK / f"{data}_{seed}")


def show(title: str, columns: dict[str, list[float]]) -> None:
    """Prints the mean and the standard deviation of each row."""
    print(f"\n{title}")
    for name, values in columns.items():
        spread = f" +- {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        print(f"  {name:18s} {np.mean(values):.3f}{spread}", flush=True)


def sharing() -> None:
    """Compares strategies of sharing with training from scratch."""
    table: dict[str, list[float]] = {}
    predictions: dict[str, list[Predictions]] = {}
    source = DataConfig(source=f"npz:{WORK / 'source.npz'}", image_size=SIZE, batch_size=25)
    for seed in range(SEEDS):
        run = trained(f"scratch_{seed}", config(seed, stage()))
        table.setdefault("scratch", []).append(accuracy(run))
        predictions.setdefault("scratch", []).append(tested(run))
        for strategy in ("fix_common", "share_weights", "private_first", "share_gradients"):
            tasks = TasksConfig(strategy=strategy, source=source, stages=(stage("source", epochs=6),))
            joint = strategy == "share_gradients"
            # with a new common part, `private_first` would be training from scratch
            given = source_of(seed) if strategy == "private_first" else None
            tune = stage(epochs=120 if joint else 40)
            run = trained(f"{strategy}_{seed}", config(seed, tune, weights=given, tasks=tasks))
            table.setdefault(strategy, []).append(accuracy(run, "target"))
            predictions.setdefault(strategy, []).append(tested(run, "target"))
            key, found = f"  {strategy}: source", run.before_and_after["source"]
            for when in ("before", "after"):
                table.setdefault(f"{key} {when}", []).append(found[when]["test"]["accuracy"])
    show("Target test accuracy by strategy of sharing", table)
    show_verdicts(predictions, "scratch")


def regularizers() -> None:
    """Compares regularized fine-tuning with plain fine-tuning."""
    table: dict[str, list[float]] = {}
    predictions: dict[str, list[Predictions]] = {}
    for seed in range(SEEDS):
        source = source_of(seed)
        for name, regularizer in REGULARIZERS.items():
            if name == "distillation":
                options = {"teacher": str(WORK / f"reg_plain_{seed}")}
                regularizer = regularizer.model_copy(update={"options": options})
            run = trained(f"reg_{name}_{seed}", config(seed, stage(regularizer=regularizer), weights=source))
            table.setdefault(name, []).append(accuracy(run))
            predictions.setdefault(name, []).append(tested(run))
    show("Target test accuracy, 10 labels per class, from the source's weights", table)
    show_verdicts(predictions, "plain")


def verdict() -> None:
    """Prints the verdicts in cases whose answer is known."""
    twins = VerdictConfig(twins=("scratch",), seeds=SEEDS)
    # a frozen source shows what it has learned; fine-tuning could compensate for a bad one
    head = StageConfig(name="head", epochs=60, optimizer=OptimizerConfig(learning_rate=0.01))
    photographs = ModelConfig(backbone="mobilenet_v2", weights="imagenet")
    for name, model, size in (
        ("photographs", photographs, LARGE),
        ("other clothes", None, SIZE),
        ("shuffled labels", None, SIZE),
    ):
        weights = None if model else source_of(0, "source" if name == "other clothes" else "shuffled")
        experiment = config(0, head, weights=weights, verdict=twins)
        data = experiment.data.model_copy(update={"image_size": size})
        experiment = experiment.model_copy(update={"model": model or experiment.model, "data": data})
        run = trained(f"verdict_{name.replace(' ', '_')}", experiment)
        found = run.run_dir.read_json("evaluation/verdict.json")
        print(
            f"\nA frozen source of {name} against scratch: {found['verdict']}. {found['sentence']}",
            flush=True,
        )
    constant = OptimizerConfig(learning_rate=3e-3)
    for title, tune in (("at rest", stage()), ("not at rest", stage(epochs=20, optimizer=constant))):
        runs = [trained(f"{title}_{seed}", config(seed, tune)) for seed in range(63)]
        _false_alarms(title, [tested(run) for run in runs])


def _false_alarms(title: str, tests: list[Predictions]) -> None:
    """Prints how many of twenty comparisons of a config with itself find no difference."""
    spread = np.std([row_scores(test).mean() for test in tests], ddof=1)
    for seeds in (1, 3):
        groups = [tests[i * seeds : (i + 1) * seeds] for i in range(21)]
        words = [judge(a, b).verdict for a, b in itertools.pairwise(groups)]
        print(
            f"The same config with other seeds, {title} (sd {spread:.3f}), {seeds} seed(s) a side: "
            f"{words.count('no_difference')} of {len(words)} 'no_difference'",
            flush=True,
        )


SECTIONS = {
    "sharing": sharing,
    "regularizers": regularizers,
    "verdict": verdict,
}

if __name__ == "__main__":
    write_halves()
    for section in [word for word in sys.argv[1:] if not word.startswith("-")] or SECTIONS:
        SECTIONS[section]()
