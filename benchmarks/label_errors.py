"""Measures how well `tlkeras inspect --features` finds planted wrong labels and near-duplicates.

    KERAS_HOME=DIR python benchmarks/label_errors.py [fashion|emoji ...] [--seeds=3,4,5] [--peer=PYTHON]

Each data set becomes a folder of PNG files: Fashion-MNIST (2,000 training rows, 500 test rows), which Keras
looks for under KERAS_HOME, and the emoji of `emoji:twemoji`. The labels of 5 % of the training rows are
changed at random, and changed copies of 50 training rows are added to the test rows. `--peer` is a Python
with cleanlab, which gets the same features. The limits of `near_duplicates.py` were chosen on the seeds 0, 1
and 2. It takes ten minutes on two CPU cores.
"""

import io
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

WRONG, COPIES = 0.05, 50
CLASSES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def fashion(seed: int) -> dict[str, list[tuple[str, Image.Image, str]]]:
    """Returns `(name, picture, class)` of 2,000 training rows and 500 test rows of Fashion-MNIST."""
    from keras.datasets import fashion_mnist

    found, rng = {}, np.random.default_rng(seed)
    for split, (x, y), count in zip(("train", "test"), fashion_mnist.load_data(), (2000, 500), strict=True):
        rows = rng.permutation(len(x))[:count]
        found[split] = [(f"{row}.png", Image.fromarray(x[row]), CLASSES[y[row]]) for row in rows]
    return found


def emoji(seed: int) -> dict[str, list[tuple[str, Image.Image, str]]]:
    """Returns the emoji on white, in the splits of `emoji:twemoji`."""
    from tlkeras.config import DataConfig
    from tlkeras.data import load_domain

    domain = load_domain(DataConfig(source="emoji:twemoji", val_fraction=0.0), seed=seed)
    return {
        split: [
            (f"{name}.png", _on_white(path), domain.class_names[label].replace(" & ", "_and_"))
            for name, path, label in zip(rows.ids, rows.inputs, rows.labels, strict=True)
        ]
        for split, rows in domain.splits.items()
    }


def _on_white(path: str) -> Image.Image:
    with Image.open(path) as image:
        image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white.convert("RGB")


def resized(image: Image.Image, number: int) -> Image.Image:
    """Returns the picture with sides of three quarters, or of three halves."""
    factor = (0.75, 1.5)[number % 2]
    return image.resize(tuple(round(side * factor) for side in image.size), Image.Resampling.BICUBIC)


def encoded_again(image: Image.Image, number: int) -> Image.Image:
    """Returns the picture after a JPEG of quality 75."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=75)
    return Image.open(file)


def shifted(image: Image.Image, number: int) -> Image.Image:
    """Returns the picture shifted by 2 pixels to one of four sides, with its border repeated."""
    dy, dx = ((0, 2), (2, 0), (0, -2), (-2, 0))[number % 4]
    pixels = np.asarray(image)
    pad = np.pad(pixels, ((2, 2), (2, 2)) + ((0, 0),) * (pixels.ndim - 2), mode="edge")
    return Image.fromarray(pad[2 + dy :, 2 + dx :][: pixels.shape[0], : pixels.shape[1]])


def brighter(image: Image.Image, number: int) -> Image.Image:
    """Returns the picture with values that are 10 % larger."""
    return image.point(lambda value: min(round(1.1 * value), 255))


CHANGES = (resized, encoded_again, shifted, brighter)


def write_planted(rows: dict, folder: Path, seed: int) -> tuple[set[str], dict[str, str]]:
    """Writes the pictures as `FOLDER/SPLIT/CLASS/NAME` with planted mistakes.

    Returns:
        The ids of the training rows with a wrong label, and for the id of each copy that of its original.
    """
    shutil.rmtree(folder, ignore_errors=True)
    rng, train = np.random.default_rng([seed, 1]), rows["train"]
    classes = sorted({label for _, _, label in train})
    order = rng.permutation(len(train))
    wrong = set(order[: round(WRONG * len(train))].tolist())
    ids, planted = [], set()
    for index, (name, image, label) in enumerate(train):
        if index in wrong:
            label = str(rng.choice([other for other in classes if other != label]))
        ids.append(_save(folder, f"train/{label}/{name}", image))
        if index in wrong:
            planted.add(ids[-1])
    for name, image, label in rows["test"]:
        _save(folder, f"test/{label}/{name}", image)
    copies = {}
    for number, index in enumerate(order[-COPIES:]):
        name, image, label = train[index]
        change = CHANGES[number % len(CHANGES)]
        place = f"test/{label}/{change.__name__}_{name}"
        copies[_save(folder, place, change(image, number // len(CHANGES)))] = ids[index]
    return planted, copies


def _save(folder: Path, place: str, image: Image.Image) -> str:
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    image.save(folder / place, format="PNG")
    return place


def measured(what: str, seed: int, peer: str | None, work: Path) -> dict[str, float]:
    """Returns precision and recall of the named rows for planted mistakes of one seed."""
    from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, ProbeConfig, StageConfig
    from tlkeras.evaluation.label_errors import find_label_errors, out_of_fold
    from tlkeras.evaluation.suspects import find_suspects
    from tlkeras.prepare import prepare
    from tlkeras.training.probe_stage import probe_features

    planted, copies = write_planted({"fashion": fashion, "emoji": emoji}[what](seed), work / "data", seed)
    config = ExperimentConfig(
        name=what, seed=seed, cache={"dir": str(work / "cache")},
        data=DataConfig(source=f"folder:{work / 'data'}", image_size=96, val_fraction=0.0),
        model=ModelConfig(backbone="efficientnet_lite0", weights="imagenet"),
        stages=[StageConfig(name="probe", probe=ProbeConfig())],
    )  # fmt: skip
    parts = prepare(config)
    domain, splits = parts.source, list(parts.source.splits)
    features, _ = probe_features(parts, [(domain, split) for split in splits], None)
    features = dict(zip(splits, features, strict=True))
    rows, x = domain.splits["train"], features["train"].astype(np.float32)
    wrong = np.isin(rows.ids.astype(str), list(planted))
    found, count = find_label_errors(x, rows.labels, seed), int(wrong.sum())
    likely = found.named[found.probability[found.named] < 0.05]
    result = {
        "precision of the first": wrong[found.order[:count]].mean(),
        "named": found.count,
        "precision of the named": wrong[found.named].mean(),
        "recall of the named": wrong[found.named].sum() / count,
        "proposed to leave out": len(likely),
        "precision of the proposed": wrong[likely].mean(),
    }
    if peer:
        np.savez(work / "peer.npz", x=x, y=rows.labels, wrong=wrong, p=out_of_fold(x, rows.labels, seed))
        done = subprocess.run(
            [peer, "-c", PEER, str(work / "peer.npz")], capture_output=True, text=True, check=True
        )
        result |= json.loads(done.stdout.strip().splitlines()[-1])
    groups = find_suspects(domain, features, seed).groups
    pairs = {(a["id"], b["id"]) for group in groups for a in group for b in group if a is not b}
    hit = [copy for copy, original in copies.items() if (copy, original) in pairs]
    kinds = {change.__name__: 0 for change in CHANGES}
    for copy in hit:
        kinds[next(kind for kind in kinds if f"/{kind}_" in copy)] += 1
    genuine = {*copies, *copies.values()}
    false = [group for group in groups if any(row["id"] not in genuine for row in group)]
    return result | {"copies found": len(hit)} | kinds | {"other groups": len(false), "groups": len(groups)}


PEER = """
import json, sys
import numpy as np
from cleanlab.classification import CleanLearning
from cleanlab.filter import find_label_issues
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
d = np.load(sys.argv[1]); x, y, wrong, p = d["x"], d["y"], d["wrong"], d["p"]; n = int(wrong.sum())
def scores(issues, name):
    first, found = wrong[issues[:n]].mean(), wrong[issues]
    return {f"{name}: precision of the first": first, f"{name}: named": len(issues),
            f"{name}: precision of the named": found.mean(), f"{name}: recall of the named": found.sum() / n}
issues = find_label_issues(y, p, return_indices_ranked_by="self_confidence")
found = scores(issues, "cleanlab, same probabilities")
probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
table = CleanLearning(probe, seed=0).find_label_issues(x, y)
order = np.lexsort((table.label_quality, ~table.is_label_issue))
found |= scores(order[: int(table.is_label_issue.sum())], "cleanlab, its own defaults")
print(json.dumps(found))
"""


def main(words: list[str]) -> None:
    """Prints a line per seed and the means."""
    chosen = [word for word in words if not word.startswith("--")] or ["fashion", "emoji"]
    options = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
    for what in chosen:
        found = []
        for seed in map(int, options.get("seeds", "3,4,5").split(",")):
            with tempfile.TemporaryDirectory() as work:
                found.append(measured(what, seed, options.get("peer"), Path(work)))
            print(what, seed, {name: round(float(value), 3) for name, value in found[-1].items()}, flush=True)
        for name in found[0]:
            values = [float(row[name]) for row in found]
            print(
                f"{what:8} {name:50} {np.mean(values):8.3f}   ({min(values):.3f} to {max(values):.3f})",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
