"""Checks whether heads trained on features of different extractors agree. Prints one line of JSON.

The script trains the same head on the features of each extractor, predicts held-out rows with each head, and
compares the predictions with those of the exact extractor. It also compares the head that was trained on
exact features with one that was trained without the cache.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from tlkeras.config import CacheConfig, DataConfig, ExperimentConfig, ModelConfig, StageConfig
from tlkeras.evaluation.evaluate import predict_split
from tlkeras.prepare import prepare
from tlkeras.run_dir import RunDir
from tlkeras.training.trainer import Trainer


def main(options: dict) -> None:
    """Trains and compares as `options` say."""
    found = {name: train(options, name) for name in ("exact", "folded", "tflite", "uncached")}
    exact = found["exact"]
    result = {"accuracy": {name: round(f["accuracy"], 4) for name, f in found.items()}}
    result["agreement"] = {
        name: round(float((f["predicted"] == exact["predicted"]).mean()), 4) for name, f in found.items()
    }
    difference = [np.abs(a - b).max() for a, b in zip(exact["head"], found["uncached"]["head"], strict=True)]
    result["head_difference_cached_uncached"] = float(max(difference))
    print(json.dumps(result))


def train(options: dict, extractor: str) -> dict:
    """Returns the weights of the head and the predictions for the test split from pixels."""
    keras.backend.clear_session()
    enabled = extractor != "uncached"
    config = ExperimentConfig(
        data=DataConfig(source=f"folder:{options['folder']}", image_size=options["size"], batch_size=32),
        model=ModelConfig(backbone=options["backbone"], weights=options["weights"]),
        stages=[StageConfig(name="head", epochs=options["epochs"])],
        cache=CacheConfig(
            enabled=enabled, extractor=extractor if enabled else "exact", dir=options["cache"]["dir"]
        ),
    )
    parts = prepare(config)
    run_dir = RunDir(Path(options["workdir"]) / extractor)
    run_dir.start(config.model_dump(mode="json"), fresh=True)
    Trainer(parts, run_dir).train()
    predictions = predict_split(parts.model, parts.source, "test", 32)
    return {
        "head": [keras.ops.convert_to_numpy(v) for v in parts.model.head.trainable_variables],
        "predicted": predictions.predicted,
        "accuracy": float((predictions.predicted == predictions.labels).mean()),
    }


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
