"""A small run for each kind of input that is no picture alone, on made-up rows in files, for tests.

The head trains on stored features first, then the whole network. Nothing in the networks is random, so that
any number of workers gives the same weights.
"""

import csv
import json
import wave
from pathlib import Path

import numpy as np
from PIL import Image

ROWS, SIDE, RATE, SECONDS = 64, 8, 8000, 0.25
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "plain", "film", "plot")
CNN = {"backbone": "small_cnn", "weights": None, "backbone_options": {"filters": [4, 8]}}
BERT = {
    "backbone": "bert_base", "weights": None,
    "backbone_options": {"width": 8, "depth": 1, "heads": 2, "hidden": 16, "words": len(WORDS),
                         "positions": 16},
}  # fmt: skip
DENSE = {"backbone": "mlp", "weights": None, "backbone_options": {"units": [8]}}
FRONT_END = {"bands": 16, "hop": 0.02, "window": 0.03}
SGD = {"name": "sgd", "learning_rate": 0.05, "options": {"momentum": 0.9}, "global_clipnorm": 0.5}
ADAM = {"name": "adam", "learning_rate": 0.01, "options": {"epsilon": 1e-3}, "ema_momentum": 0.8}

# settings of the data, the network, and the random changes of the second stage
KINDS: dict[str, tuple[dict, dict, dict]] = {
    "text": ({"text": "title", "max_length": 8}, BERT, {"word_deletion": 0.2}),
    "sound": (
        {"picture": "sound", "seconds": SECONDS, "sample_rate": RATE},
        CNN | {"front_end": FRONT_END},
        {"window": True, "gain": 3.0},
    ),
    "columns": ({"columns": ["age", "city"]}, DENSE, {}),
    "image_text": (
        {"picture": "photo", "text": "title", "max_length": 8, "image_size": SIDE},
        CNN | {"beside": {"text": BERT}},
        {"flip": "horizontal", "word_deletion": 0.2},
    ),
    "image_text_columns": (
        {"picture": "photo", "text": "title", "columns": ["age", "city"], "max_length": 8,
         "image_size": SIDE},
        CNN | {"beside": {"text": BERT, "columns": DENSE}},
        {"noise": 2.0},
    ),
    "sound_columns": (
        {"picture": "sound", "columns": ["age", "city"], "seconds": SECONDS, "sample_rate": RATE},
        CNN | {"front_end": FRONT_END, "beside": {"columns": DENSE}},
        {"window": True},
    ),
}  # fmt: skip


def write(kind: str, folder: Path) -> Path:
    """Writes the rows and the config of a run, and returns the path of the config.

    Args:
        kind: A name in `KINDS`.
        folder: New folder for the files.
    """
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    rng = np.random.default_rng(0)
    rows = [("photo", "sound", "title", "age", "city", "label")]
    for i in range(ROWS):
        yes = rng.random() < 0.5
        pixels = rng.integers(1, 90, (SIDE, SIDE, 3)) + 150 * yes
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
        _write_tone(folder / f"{i}.wav", 1200 if yes else 300, SECONDS * (1 + i % 4), rng)
        title = f"{rng.choice(['plain', 'film', 'plot'])} {'good' if yes else 'bad'}"
        age, city = f"{rng.normal(45 if yes else 35, 5):.1f}", rng.choice(["Rome", "Oslo"])
        cells = [f"{i}.png", f"{i}.wav", title, age, city]
        if kind.count("_") and i % 8 < 2:  # some rows lack a part
            cells[(0 if "image" in kind else 1) if i % 8 else (2 if "text" in kind else 3)] = ""
        rows.append((*cells, "yes" if yes else "no"))
    with open(folder / "rows.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    data, model, augment = KINDS[kind]
    source = {"source": f"csv:{folder}/rows.csv", "batch_size": 16}
    texts = {"tokenizer": f"{folder}/vocab.txt"} if "text" in data else {}
    stages = [
        {"name": "head", "train": "head", "epochs": 2, "optimizer": SGD},
        {"name": "all", "train": "all", "epochs": 2, "optimizer": ADAM, "augment": augment},
    ]
    config = {
        "name": kind, "data": source | texts | data, "model": model, "stages": stages,
        "checkpoint": {"every_steps": 2}, "tensorboard": {"images": False},
    }  # fmt: skip
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


def _write_tone(path: Path, pitch: float, seconds: float, rng: np.random.Generator) -> None:
    time = np.arange(round(seconds * RATE)) / RATE
    samples = 0.3 * np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * time) + rng.normal(0, 0.02, len(time))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
