"""What to transfer, how, and whether it helped: `python benchmarks/transfer.py [SECTION ...] [--seeds=3]`.

Fashion-MNIST, as Keras keeps it, in two halves: classes 0 to 4 are the source (2500 rows), classes 5 to 9
the target with 10 labels per class and 2500 test rows. Sections: `sharing` (strategies against scratch),
`regularizers` (against plain fine-tuning), `rank` (scores against fine-tuned accuracy, weighted Kendall
tau), `verdict` (a source of shuffled labels, a helpful one, and twenty comparisons of a config with itself).
Each prints a table of the mean and the standard deviation over the seeds.
"""

import contextlib
import io
import itertools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tlkeras import run_experiment
from tlkeras.config import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    RegularizerConfig,
    StageConfig,
    TasksConfig,
    VerdictConfig,
)

WORK = Path(tempfile.mkdtemp(prefix="tlkeras_transfer_"))
SEEDS = next((int(w.partition("=")[2]) for w in sys.argv if w.startswith("--seeds=")), 3)
SIZE, ROWS = 28, 2500
REGULARIZERS = {
    "plain": None,
    "l2_sp": RegularizerConfig(name="l2_sp", weight=0.1),
    "delta": RegularizerConfig(name="delta", weight=0.01),
    "bss": RegularizerConfig(name="bss", weight=1e-3),
    "stochastic_norm": RegularizerConfig(name="stochastic_norm"),
    "mixout": RegularizerConfig(name="mixout", weight=0.5),
    "lora": RegularizerConfig(name="lora", options={"rank": 4}),
    "co_tuning": RegularizerConfig(name="co_tuning", weight=1.0),
}


def write_halves() -> None:
    """Writes source.npz, shuffled.npz (the source with labels of nothing) and target.npz."""
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


def source_config(seed: int, data: str = "source", epochs: int = 6) -> ExperimentConfig:
    """Returns the source's experiment."""
    return ExperimentConfig(
        seed=seed,
        data=DataConfig(source=f"npz:{WORK / data}.npz", image_size=SIZE, batch_size=50),
        model=ModelConfig(backbone="small_cnn", weights=None),
        stages=(stage("source", epochs=epochs),),
    )


def stage(name: str = "tune", epochs: int = 40, rate: float = 3e-3, **more) -> StageConfig:
    """Returns a stage that trains everything, BatchNormalization included."""
    settings = {"train": "all", "bn": "train", "optimizer": OptimizerConfig(learning_rate=rate)} | more
    return StageConfig(name=name, epochs=epochs, **settings)


def trained(name: str, experiment: ExperimentConfig):
    """Returns the finished run, trained without a word."""
    with contextlib.redirect_stdout(io.StringIO()):
        return run_experiment(experiment, WORK / name)


def accuracy(run, task: str = "source") -> float:
    """Returns the test accuracy of a run."""
    return run.metrics[task]["test"]["accuracy"]


def source_of(seed: int, data: str = "source") -> str:
    """Returns the directory of a source run, trained when it is first asked for."""
    trained(f"{data}_{seed}", source_config(seed, data))
    return str(WORK / f"{data}_{seed}")


def show(title: str, columns: dict[str, list[float]]) -> None:
    """Prints the mean and the standard deviation of each row."""
    print(f"\n{title}")
    for name, values in columns.items():
        spread = f" +- {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        print(f"  {name:18s} {np.mean(values):.3f}{spread}", flush=True)


def sharing() -> None:
    """Strategies of sharing against training from scratch."""
    table: dict[str, list[float]] = {}
    source = DataConfig(source=f"npz:{WORK / 'source.npz'}", image_size=SIZE, batch_size=25)
    for seed in range(SEEDS):
        table.setdefault("scratch", []).append(accuracy(trained(f"scratch_{seed}", config(seed, stage()))))
        for strategy in ("fix_common", "share_weights", "private_first", "share_gradients"):
            tasks = TasksConfig(strategy=strategy, source=source, stages=(stage("source", epochs=6),))
            joint = strategy == "share_gradients"
            run = trained(f"{strategy}_{seed}", config(seed, stage(epochs=120 if joint else 40), tasks=tasks))
            table.setdefault(strategy, []).append(accuracy(run, "target"))
            key, found = f"  {strategy}: source", run.before_and_after["source"]
            for when in ("before", "after"):
                table.setdefault(f"{key} {when}", []).append(found[when]["test"]["accuracy"])
    show("Target test accuracy by strategy of sharing", table)


def regularizers() -> None:
    """Regularised against plain fine-tuning."""
    table: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        source = source_of(seed)
        for name, regularizer in REGULARIZERS.items():
            run = trained(f"reg_{name}_{seed}", config(seed, stage(regularizer=regularizer), weights=source))
            table.setdefault(name, []).append(accuracy(run))
    show("Target test accuracy, 10 labels per class, from the source's weights", table)


def rank() -> None:
    """Scores of eight candidates against the accuracy that fine-tuning them gives, on both halves."""
    from scipy.stats import weightedtau

    from tlkeras.search.rank import rank as score

    for target in ("target", "source"):
        candidates = {"none": None}
        for data in ("source", "shuffled", "target"):
            for epochs in (1, 6) if data != "target" else (6,):
                name = f"{data}_{epochs}_epochs"
                trained(name, source_config(0, data, epochs))
                candidates[name] = str(WORK / name)
        base = config(0, stage())
        data = base.data.model_copy(update={"source": f"npz:{WORK / target}.npz"})
        base = base.model_copy(update={"data": data})
        words = ",".join(f"small_cnn:{path or 'none'}" for path in candidates.values())
        with contextlib.redirect_stdout(io.StringIO()):
            table = score(base, words, WORK / f"ranking_{target}")
        tuned = {}
        for name, path in candidates.items():
            runs = [
                trained(f"tuned_{target}_{name}_{seed}", base.model_copy(update={
                    "seed": seed, "model": base.model.model_copy(update={"weights": path})}))
                for seed in range(SEEDS)
            ]  # fmt: skip
            tuned[str(path or "none")] = [accuracy(run) for run in runs]
        show(f"Fine-tuned accuracy on {target}", {Path(n).name: values for n, values in tuned.items()})
        means = [np.mean(tuned[row["weights"]]) for row in table]
        for column in ("probe_accuracy", "logme", "h_score", "transrate"):
            values = np.array([row[column] for row in table], float)
            print(f"  weighted tau of {column}: {_with_interval(weightedtau, values, np.array(means))}")


def _with_interval(tau: Callable, scores: np.ndarray, accuracies: np.ndarray) -> str:
    """Returns tau with the range over leaving each candidate out."""
    left_out = [tau(np.delete(scores, i), np.delete(accuracies, i))[0] for i in range(len(scores))]
    return f"{tau(scores, accuracies)[0]:.2f} ({min(left_out):.2f} to {max(left_out):.2f}, one left out)"


def verdict() -> None:
    """The verdicts in cases of known answer."""
    from tlkeras.evaluation import Predictions, judge

    baselines = VerdictConfig(baselines=("scratch",), seeds=SEEDS)
    for data in ("source", "shuffled"):
        # a frozen source shows what it knows; fine-tuning might make up for it
        head = StageConfig(name="head", epochs=60, optimizer=OptimizerConfig(learning_rate=0.01))
        run = trained(f"verdict_{data}", config(0, head, weights=source_of(0, data), verdict=baselines))
        found = run.run_dir.read_json("evaluation/verdict.json")
        print(f"\nFrozen {data} weights against scratch: {found['verdict']}. {found['sentence']}", flush=True)
    runs = [trained(f"same_{i}", config(i, stage(epochs=20))) for i in range(21)]
    tests = [Predictions.load(run.path / "evaluation" / "predictions_test.npz") for run in runs]
    words = [judge(a, b).verdict for a, b in itertools.pairwise(tests)]
    print(f"The same config with two seeds: {words.count('no_difference')} of {len(words)} 'no_difference'")


SECTIONS = {"sharing": sharing, "regularizers": regularizers, "rank": rank, "verdict": verdict}

if __name__ == "__main__":
    write_halves()
    for section in [word for word in sys.argv[1:] if not word.startswith("-")] or SECTIONS:
        SECTIONS[section]()
