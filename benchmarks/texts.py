"""Accuracy on texts: TF-IDF, frozen and fine-tuned MiniLM on the same rows, and adaptation across domains.

Command:  python benchmarks/texts.py FILES MINILM OUT [features] [curve] [fine_tuning] [across]
          FILES is a folder of benchmarks/text_data.py, MINILM the folder with the weights, and OUT receives
          features.npz and one JSON line per result
Time:     features take about six minutes on two busy CPU cores, curve one, fine_tuning thirty, across
          twenty.

Test rows are the same for every seed, size and method. A seed draws the training rows. The frozen features
(mean of the tokens' vectors) are computed once; across domains an MLP with one hidden layer of 128 is trained
on them, which is a run that trains neck and head behind the frozen backbone.
"""

import csv
import itertools
import json
import shutil
import sys
import time
from pathlib import Path

import keras
import numpy as np
from keras import ops
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tlkeras import load_config, run_experiment
from tlkeras.config import AdaptationConfig, DataConfig, ExperimentConfig, ModelConfig, StageConfig
from tlkeras.data.tokenizer import Tokenizer
from tlkeras.models import BACKBONES
from tlkeras.models.weights.load import load_backbone

SEEDS, SIZES, TEST, VAL, KEPT = (0, 1, 2), (50, 200, 1000), 1000, 300, 2600
LENGTHS = {"films": 48, "products": 48, "tweets": 48, "editorials": 48, "spam": 128}
METHODS = ("dann", "cdan_e", "mcc", "deep_coral")


def texts_of(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns texts and labels (0 or 1) of a file, of which at most `KEPT` rows in a fixed random order."""
    with open(folder / f"{name}.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    order = np.random.default_rng(0).permutation(len(rows))[:KEPT]
    labels = [int(rows[i]["label"] in ("positive", "spam")) for i in order]
    return np.array([rows[i]["text"] for i in order], object), np.array(labels)


def split(count: int, seed: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the indices of training rows, of validation rows and of test rows."""
    pool = np.random.default_rng(seed).permutation(np.arange(TEST, count))
    return pool[VAL : VAL + size], pool[:VAL], np.arange(TEST)


def features(folder: Path, weights: Path, out: Path) -> None:
    """Writes the mean of the tokens' vectors of every text."""
    found, tokenizer = {}, Tokenizer.read(weights)
    for name, length in LENGTHS.items():
        texts, labels = texts_of(folder, name)
        shape = {"ids": (length,), "mask": (length,)}
        model, _ = load_backbone(BACKBONES.get("minilm_l6"), str(weights), shape, {})
        tokens = ops.cast(ops.sum(model.inputs[1], axis=1, keepdims=True), "float32")
        model = keras.Model(model.inputs, ops.sum(model.output, axis=1) / tokens)
        rows = tokenizer.encode(texts, length)
        found[f"{name}_x"] = model.predict({n: rows[n] for n in rows.dtype.names}, verbose=0)
        found[f"{name}_y"] = labels
        print(name, found[f"{name}_x"].shape, flush=True)
    np.savez(out / "features.npz", **found)


def curve(folder: Path, weights: Path, out: Path) -> None:
    """Compares TF-IDF with frozen features, each below a logistic regression, at several sizes."""
    saved = np.load(out / "features.npz")
    for name in ("films", "spam"):
        texts, y = texts_of(folder, name)
        x = saved[f"{name}_x"]
        for size in SIZES:
            for seed in SEEDS:
                train, _, test = split(len(y), seed, size)
                words = make_pipeline(
                    TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10)
                )
                frozen = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
                for what, model, rows in (("tfidf", words, texts), ("frozen", frozen, x)):
                    accuracy = model.fit(rows[train], y[train]).score(rows[test], y[test])
                    _write(out, part="curve", data=name, what=what, size=size, seed=seed, accuracy=accuracy)


def fine_tuning(folder: Path, weights: Path, out: Path) -> None:
    """Fine-tunes the last two blocks, with a twin that trains only the head, and the verdict of both."""
    done = {(r["data"], r["size"], r["seed"]) for r in _results(out) if r["part"] == "fine_tuning"}
    for name in ("films", "spam"):
        texts, y = texts_of(folder, name)
        for size, seed in itertools.product(reversed(SIZES), SEEDS):
            if (name, size, seed) not in done:
                parts = dict(zip(("train", "val", "test"), split(len(y), seed, size), strict=True))
                config = load_config(
                    "sentiment" if name == "films" else name,
                    [f"seed={seed}", f"model.weights={weights}", f"cache.dir={out / 'cache'}",
                     "data.text=none", f"data.tokenizer={weights}", "data.limit=none",
                     'verdict.twins=["frozen_probe"]'],
                )  # fmt: skip
                begun = time.time()
                data = {part: (texts[rows], y[rows]) for part, rows in parts.items()}
                run = run_experiment(config, out / f"{name}_{size}_{seed}", data=data)
                verdict = json.loads((run.path / "evaluation" / "verdict.json").read_text())
                _write(out, part="fine_tuning", data=name, size=size, seed=seed, verdict=verdict,
                       accuracy=run.metrics["source"]["test"]["accuracy"],
                       seconds=time.time() - begun)  # fmt: skip
                shutil.rmtree(run.path)  # half a GB


def across(folder: Path, weights: Path, out: Path) -> None:
    """Adapts from films to each other domain, by each method, beside twins that train on films alone."""
    saved = np.load(out / "features.npz")
    parts = dict(zip(("train", "val", "test"), split(KEPT, 0, 1000), strict=True))
    for name in ("films", "products", "tweets", "editorials"):
        x, y = saved[f"{name}_x"], saved[f"{name}_y"]
        arrays = {f"x_{part}": x[rows[rows < len(y)]] for part, rows in parts.items()}
        arrays |= {f"y_{part}": y[rows[rows < len(y)]] for part, rows in parts.items()}
        np.savez(out / f"{name}.npz", class_names=["negative", "positive"], **arrays)
    for name in ("products", "tweets", "editorials"):
        for method in METHODS:
            config = ExperimentConfig(
                name=f"{name}_{method}",
                data=DataConfig(source=f"npz:{out / 'films.npz'}"),
                model=ModelConfig(backbone="mlp", weights=None, backbone_options={"units": [128]}),
                stages=[StageConfig(name="adapt", train="all", epochs=10)],
                adaptation=AdaptationConfig(
                    method=method,
                    target=DataConfig(source=f"npz:{out / name}.npz"),
                    options={"units": [128]} if "dan" in method else {},
                    seeds=len(SEEDS),
                ),
            )
            run = run_experiment(config, out / f"across_{name}_{method}")
            verdict = json.loads((run.path / "evaluation" / "verdict.json").read_text())
            _write(out, part="across", data=name, what=method, verdict=verdict)


def _results(out: Path) -> list[dict]:
    file = out / "results.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []


def _write(out: Path, **result) -> None:
    with open(out / "results.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    print({key: value for key, value in result.items() if key != "verdict"}, flush=True)
    if "verdict" in result:
        print(result["verdict"], flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    Path(sys.argv[3]).mkdir(parents=True, exist_ok=True)
    for _part in sys.argv[4:] or ("features", "curve", "fine_tuning", "across"):
        globals()[_part](*map(Path, sys.argv[1:4]))
