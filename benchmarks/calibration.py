"""Measures calibrated probabilities, conformal sets, and the score of rows unlike the training rows.

Command:  python benchmarks/calibration.py DIR     (KERAS_HOME with Fashion-MNIST, or it is downloaded)
Time:     about ten minutes on two CPU cores; runs that are finished in DIR are reused.

It trains three seeds of the experiment `emoji`, on 500 rows of Fashion-MNIST and on the digits (both with a
small network), and prints:

1. the expected calibration error on test rows before and after, the number of changed answers, and the
   largest difference between the Keras export and `predict`;
2. the coverage and the mean size of conformal sets over 200 random splits of the test rows, beside the naive
   sets, which add up calibrated probabilities until they reach the coverage;
3. for the emoji, the AUROC with which the score and the largest probability tell test rows from crops of
   photographs and from noise, and how many rows are above 1;
4. the log-loss of other test rows for temperatures that are fitted on few rows, with and without the prior.
"""

import sys
from pathlib import Path

import fashion_folder
import keras
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.metrics import roc_auc_score

from tlkeras import load_config, load_run, run_experiment
from tlkeras.evaluation import Predictions, fit_temperature
from tlkeras.evaluation.calibration import confidence_and_hits, expected_calibration_error
from tlkeras.evaluation.conformal import KINDS, conformal_sets
from tlkeras.evaluation.predictions import cross_entropy
from tlkeras.export import export_run

SEEDS, SPLITS, COVERAGES, CHECKED = 3, 200, (0.8, 0.9, 0.95), 200
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


def trained(folder: Path) -> dict[str, list]:
    """Returns three runs of each data set. Finished ones are opened."""
    fashion = folder / "fashion_data"
    if not fashion.is_dir():
        fashion_folder.main(fashion)
    fashion_words = [f"data.source=folder:{fashion}", "data.image_size=28", "stages.0.epochs=15"]
    kinds = {
        "emoji": ("emoji", []),
        "fashion": ("digits", ["name=fashion", *fashion_words]),
        "digits": ("digits", []),
    }
    return {
        name: [
            run_experiment(load_config(config, [*words, f"seed={seed}"]), folder / f"{name}_{seed}")
            for seed in range(SEEDS)
        ]
        for name, (config, words) in kinds.items()
    }


def calibration_row(name: str, run) -> None:
    """Prints the calibration error of a run before and after, and the difference of its export."""
    raw = Predictions.load(run.path / "evaluation/predictions_test.npz")
    calibrated = raw.at_temperature(run.temperature)
    before, after = (expected_calibration_error(*confidence_and_hits(p)) for p in (raw, calibrated))
    changed = int((raw.predicted != calibrated.predicted).sum())
    losses = [float(cross_entropy(p).mean()) for p in (raw, calibrated)]
    accuracy = (raw.predicted == raw.labels).mean()
    export_run(run, ["keras"])
    exported = keras.models.load_model(run.path / "export/keras/model.keras", compile=False)
    x = np.random.default_rng(0).integers(0, 256, (CHECKED, *run.input_shape)).astype(np.uint8)
    answers = exported.predict(x.astype(np.float32), verbose=0)
    difference = np.abs(answers - run.predict(x).probabilities).max()
    print(
        f"| {name} | {len(raw)} | {accuracy:.3f} | {run.temperature:.2f} | {before:.3f} | {after:.3f} | "
        f"{losses[0]:.3f} | {losses[1]:.3f} | {changed} | {difference:.0e} |",
        flush=True,
    )


def naive_sets(predictions: Predictions, coverage: float) -> np.ndarray:
    """Returns the likeliest classes whose probabilities add up to the coverage, bool `(n, k)`."""
    order = np.argsort(-predictions.probabilities, axis=1)
    falling = np.take_along_axis(predictions.probabilities, order, axis=1)
    chosen = np.zeros_like(falling, bool)
    np.put_along_axis(chosen, order, falling.cumsum(axis=1) - falling < coverage, axis=1)
    return chosen


def conformal_rows(name: str, runs: list) -> None:
    """Prints coverage and mean size of sets, over random splits of the test rows of all seeds."""
    for coverage in COVERAGES:
        cells = []
        for kind in (*KINDS, "naive"):
            covered, sizes, empty = [], [], []
            for run in runs:
                found = Predictions.load(run.path / "evaluation/predictions_test.npz")
                found, rng = found.at_temperature(run.temperature), np.random.default_rng(0)
                for _ in range(SPLITS):
                    ours, theirs = np.array_split(rng.permutation(len(found)), 2)
                    judged = found.take(theirs)
                    sets = (
                        naive_sets(judged, coverage)
                        if kind == "naive"
                        else conformal_sets(found.take(ours), judged, coverage, kind)
                    )
                    covered.append(sets[np.arange(len(theirs)), judged.labels].mean())
                    sizes.append(sets.sum(axis=1).mean())
                    empty.append((~sets.any(axis=1)).mean())
            cells.append(f"{np.mean(covered):.3f}, {np.mean(sizes):.2f}, {np.mean(empty):.2f}")
        print(f"| {name} | {coverage:g} | {' | '.join(cells)} |", flush=True)


def photographs(size: int, count: int = 210) -> np.ndarray:
    """Returns square crops of seven photographs, uint8 `(count, size, size, 3)`."""
    import skimage

    folder, rng = Path(skimage.__file__).parent / "data", np.random.default_rng(0)
    photos = [np.asarray(Image.open(folder / name).convert("RGB")) for name in PHOTOGRAPHS]
    photos += load_sample_images().images
    crops = []
    for photo in (photos * count)[:count]:
        side = int(rng.integers(96, min(photo.shape[:2])))
        y, x = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
        crop = Image.fromarray(photo[y : y + side, x : x + side])
        crops.append(np.asarray(crop.resize((size, size))))
    return np.stack(crops)


def noise(size: int, count: int = 210) -> np.ndarray:
    """Returns uniform noise, normal noise, and noise of 6 by 6 blurred patches, uint8 in equal parts."""
    rng, third = np.random.default_rng(1), count // 3
    patches = rng.integers(0, 256, (third, 6, 6, 3)).astype(np.uint8)
    kinds = [
        rng.integers(0, 256, (third, size, size, 3)),
        np.clip(rng.normal(128, 40, (third, size, size, 3)), 0, 255),
        [np.asarray(Image.fromarray(patch).resize((size, size))) for patch in patches],
    ]
    return np.concatenate(kinds).astype(np.uint8)


def unlike_row(name: str, run, test) -> None:
    """Prints how well the score and the largest probability tell test rows from other pictures."""
    inside = run.predict(test)
    cells = [f"{(inside.unlike_training > 1).mean():.3f}"]
    for pictures in (photographs(run.input_shape[0]), noise(run.input_shape[0])):
        outside = run.predict(pictures)
        truth = np.repeat([0, 1], [len(inside), len(outside)])
        scores = (lambda p: p.unlike_training, lambda p: -p.probabilities.max(axis=1))
        areas = (roc_auc_score(truth, np.r_[score(inside), score(outside)]) for score in scores)
        cells += [f"{area:.3f}" for area in areas]
        cells.append(f"{(outside.unlike_training > 1).mean():.2f}")
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def few_rows(name: str, run) -> None:
    """Prints the log-loss of test rows for temperatures fitted on few rows, with and without the prior."""
    from scipy.optimize import minimize_scalar

    found = Predictions.load(run.path / "evaluation/predictions_test.npz")
    rng, bounds = np.random.default_rng(0), (np.log(0.05), np.log(20))

    def loss(rows, temperature):
        return float(cross_entropy(rows.at_temperature(temperature)).mean())

    for count in (10, 20, 50, 100):
        losses = []
        for _ in range(50):
            order = rng.permutation(len(found))
            few, others = found.take(order[:count]), found.take(order[count:])
            plain = minimize_scalar(lambda t, few=few: loss(few, np.exp(t)), bounds=bounds, method="bounded")
            temperatures = (1.0, float(np.exp(plain.x)), fit_temperature(few))
            losses.append([loss(others, temperature) for temperature in temperatures])
        print(f"| {name} | {count} | {' | '.join(f'{v:.3f}' for v in np.mean(losses, axis=0))} |", flush=True)


def main(folder: Path) -> None:
    """Prints all tables."""
    runs = trained(folder)
    print(
        "\n| run | test rows | accuracy | T | ECE | calibrated | log-loss | calibrated | changed | export |"
    )
    for name, seeds in runs.items():
        for seed, run in enumerate(seeds):
            calibration_row(f"{name}, seed {seed}", run)
    print("\n| data | asked | threshold | adaptive | regularized | naive |")
    for name, seeds in runs.items():
        conformal_rows(name, seeds)
    print("\n| run | test > 1 | photographs: score | largest p | > 1 | noise: score | largest p | > 1 |")
    for seed, run in enumerate(runs["emoji"]):
        from tlkeras.data import evaluation_batches
        from tlkeras.prepare import read_domains

        domain = read_domains(run.data_config)["source"]
        batches = evaluation_batches(domain.splits["test"], domain, batch_size=64)
        unlike_row(f"emoji, seed {seed}", run, np.concatenate([x.numpy() for x, *_ in batches]))
    print("\n| run | rows | without a temperature | least log-loss | with the prior |")
    for name in runs:
        few_rows(name, load_run(runs[name][0].path))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
