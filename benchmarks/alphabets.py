"""Regularizers of fine-tuning on many classes with few rows: from Latin letters to Greek and Cyrillic ones.

    python benchmarks/alphabets.py FONTS... [--seeds=5] [--rows=3] [--chosen='{"l2_sp": 0.1, ...}']

FONTS are folders that are searched for TrueType and OpenType fonts with all three alphabets, such as those of
the Debian packages fonts-dejavu, fonts-freefont-ttf and fonts-noto-core. The font families are divided. Some
draw the 54 Latin letters, digits and signs of the source, others the rows of the target that train and
select, and others the test rows of both. Letters that look like a Latin one are left out. A network learns
the source once per seed. It is then fine-tuned on `--rows` drawings of each letter of the target. Seed 0
tries three weights of each regularizer and keeps the one with the best accuracy on validation rows. The
other seeds use this weight. `--chosen` gives the weights that seed 0 chose in an earlier start, and leaves
seed 0 out. The script prints the accuracies on the test rows, and tlkeras' verdict on each regularizer
compared with plain fine-tuning.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import transfer
from PIL import Image, ImageDraw, ImageFont

from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, RegularizerConfig
from tlkeras.evaluation import Predictions

SIZE = 32
SOURCE = "ABDEFGHIJKLMNPQRTUVXYZ" + "abdefghijkmnqrty" + "23456789" + "&?!@#%$+"
TARGET = "БГДЖЗИЛПФЦЧШЩЪЫЭЮЯ" + "бвджзйлмнптфцчшщъыэюя" + "ΓΔΘΛΞΣΨΩ" + "αβγδεζηθκλμνξπρςσφχψω"
# tried on seed 0
WEIGHTS: dict[str, tuple[float, ...]] = {
    "l2_sp": (0.01, 0.03, 0.1),
    "delta": (0.003, 0.01, 0.03),
    "bss": (0.001, 0.003, 0.01),
    "stochastic_norm": (0.25, 0.5, 0.75),
    "mixout": (0.5, 0.7, 0.85),
    "lora": (1.0, 2.0, 4.0),
    "co_tuning": (0.7, 2.3, 7.0),
}


def families(folders: list[str]) -> dict[str, list[str]]:
    """Returns the files of each font family that has all letters."""
    from fontTools.ttLib import TTFont  # comes with matplotlib

    found: dict[str, list[str]] = {}
    for folder in folders:
        for file in sorted(Path(folder).rglob("*.[to]tf")):
            with TTFont(file, lazy=True) as font:
                letters = font.getBestCmap() or {}
                family = font["name"].getBestFamilyName()
            if all(ord(letter) in letters for letter in SOURCE + TARGET):
                # "DejaVu Sans" and "DejaVu Sans Mono" are one design
                found.setdefault(" ".join(family.split()[:2]), []).append(str(file))
    return found


def drawn(letter: str, file: str, rng: np.random.Generator) -> np.ndarray:
    """Returns a letter of random size, place, slope and shade, `(SIZE, SIZE, 3)` of uint8."""
    font = ImageFont.truetype(file, int(rng.integers(18, 27)))
    left, top, right, bottom = font.getbbox(letter)
    picture = Image.new("L", (SIZE, SIZE), int(rng.integers(200, 256)))
    middle = (SIZE - left - right) / 2, (SIZE - top - bottom) / 2
    at = tuple(m + d for m, d in zip(middle, rng.uniform(-3, 3, 2), strict=True))
    ImageDraw.Draw(picture).text(at, letter, fill=int(rng.integers(0, 90)), font=font)
    picture = picture.rotate(
        rng.uniform(-8, 8), Image.Resampling.BILINEAR, fillcolor=picture.getpixel((0, 0))
    )
    pixels = np.asarray(picture, "float32") + rng.normal(0, 6, (SIZE, SIZE))
    return np.repeat(pixels.clip(0, 255).astype("uint8")[..., None], 3, axis=-1)


def rows(letters: str, files: list[str], each: int, rng: np.random.Generator):
    """Returns `each` drawings of each letter, every one in a font drawn at random, and their labels."""
    labels = np.repeat(np.arange(len(letters)), each)
    return np.stack([drawn(letters[k], rng.choice(files), rng) for k in labels]), labels


def write(folders: list[str], count: int, seed: int) -> None:
    """Writes source_SEED.npz and target_SEED.npz. The test rows are the same for all seeds."""
    found = families(folders)
    names = sorted(found)
    np.random.default_rng(0).shuffle(names)
    parts = np.array_split(names, [len(names) // 2, 3 * len(names) // 4])
    source, few, unseen = ([file for name in part for file in found[name]] for part in parts)
    if seed == 0:
        print(f"{len(names)} families: {[len(part) for part in parts]}, {len(source + few + unseen)} fonts")
    rng = np.random.default_rng([1, seed])
    arrays = {}
    arrays["x_train"], arrays["y_train"] = rows(SOURCE, source, 120, rng)
    arrays["x_test"], arrays["y_test"] = rows(SOURCE, unseen, 20, np.random.default_rng(2))
    np.savez(transfer.WORK / f"latin_{seed}.npz", **arrays)
    arrays["x_train"], arrays["y_train"] = rows(TARGET, few, count, rng)
    arrays["x_val"], arrays["y_val"] = rows(TARGET, few, 3, rng)
    arrays["x_test"], arrays["y_test"] = rows(TARGET, unseen, 25, np.random.default_rng(3))
    np.savez(transfer.WORK / f"others_{seed}.npz", **arrays)


def experiment(data: str, seed: int, weights: str | None, **stage) -> ExperimentConfig:
    """Returns a training on the letters in a file."""
    return ExperimentConfig(
        seed=seed,
        data=DataConfig(source=f"npz:{transfer.WORK / data}_{seed}.npz", image_size=SIZE, batch_size=24),
        model=ModelConfig(
            backbone="small_cnn", weights=weights, backbone_options={"filters": (32, 64, 128, 256)}
        ),
        stages=(transfer.stage(**stage),),
        cache={"dir": str(transfer.WORK / "cache")},
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("fonts", nargs="+")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--chosen", type=json.loads)
    flags = parser.parse_args()
    test: dict[str, list[float]] = {}
    predictions: dict[str, list[Predictions]] = {}
    chosen = flags.chosen or {}
    weights = {name: (chosen[name],) for name in chosen} or WEIGHTS
    for seed in range(1 if chosen else 0, flags.seeds + 1):
        write(flags.fonts, flags.rows, seed)
        source = transfer.trained(f"latin_run_{seed}", experiment("latin", seed, None, epochs=12))
        print(f"seed {seed}: source {transfer.accuracy(source):.3f}", flush=True)
        runs = tuned(seed, str(source.path), weights)
        if seed == 0:
            weights = {name: (selected(runs, name),) for name in WEIGHTS}
            print(f"selected: {weights}", flush=True)
            continue
        runs["scratch", 0.0] = transfer.trained(
            f"scratch_{seed}", experiment("others", seed, None, epochs=60)
        )
        for (name, weight), run in runs.items():
            shown = f"{name} {weight:g}"
            test.setdefault(shown, []).append(transfer.accuracy(run))
            predictions.setdefault(shown, []).append(transfer.tested(run))
    transfer.show(f"Test accuracy, seeds 1 to {flags.seeds}", test)
    transfer.show_verdicts(predictions, "plain 0")


def tuned(seed: int, source: str, weights: dict[str, tuple[float, ...]]) -> dict:
    """Returns runs that fine-tune the source, by regularizer and weight."""
    cases = [("plain", 0.0), *((name, weight) for name in weights for weight in weights[name])]
    runs = {}
    for name, weight in cases:
        regularizer = None if name == "plain" else RegularizerConfig(name=name, weight=weight)
        config = experiment("others", seed, source, epochs=40, regularizer=regularizer)
        run = runs[name, weight] = transfer.trained(f"{name}_{weight}_{seed}", config)
        print(f"  {name} {weight:g}: val {selects(run):.3f}, test {transfer.accuracy(run):.3f}", flush=True)
    return runs


def selected(runs: dict, name: str) -> float:
    """Returns the weight of a regularizer with the best accuracy on validation rows."""
    return max((key for key in runs if key[0] == name), key=lambda key: selects(runs[key]))[1]


def selects(run) -> float:
    """Returns the accuracy on the validation rows."""
    return run.metrics["source"]["val"]["accuracy"]


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
