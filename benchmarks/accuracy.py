"""Compares the accuracy of tlkeras with that of a hand-written Keras script on the same folder of pictures.

Command:  python benchmarks/accuracy.py FOLDER     (as benchmarks/fashion_folder.py writes it)
Time:     about six minutes on two CPU cores.

Both sides use the same network, head, optimizer and number of epochs. The script prints the test accuracy of
a frozen MobileNetV2 (ImageNet) with a new linear head, at 96 px, with Adam at 1e-3 for ten epochs, for three
seeds of each side.
"""

import statistics
import sys
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from tlkeras import load_config, run_experiment

SIZE, EPOCHS, SEEDS = 96, 10, (0, 1, 2)


def plain(folder: Path, seed: int) -> float:
    """Trains as in Keras' guide to transfer learning. Returns the test accuracy."""
    keras.utils.set_random_seed(seed)

    def read(split: str, shuffle: bool):
        return keras.utils.image_dataset_from_directory(
            folder / split, image_size=(SIZE, SIZE), batch_size=32, seed=seed, shuffle=shuffle, verbose=False
        ).cache()

    train, test = read("train", True), read("test", False)
    base = keras.applications.MobileNetV2((SIZE, SIZE, 3), include_top=False, weights="imagenet")
    base.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    x = base(keras.applications.mobilenet_v2.preprocess_input(inputs), training=False)
    outputs = keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(train.prefetch(tf.data.AUTOTUNE), epochs=EPOCHS, verbose=0)
    return model.evaluate(test, verbose=0, return_dict=True)["accuracy"]


def with_tlkeras(folder: Path, seed: int) -> float:
    """Trains the same stage with tlkeras. Returns the test accuracy."""
    stage = (
        f'[{{"name": "head", "train": "head", "epochs": {EPOCHS}, "optimizer": {{"learning_rate": 1e-3}}}}]'
    )
    config = load_config(
        "image_folder",
        [
            f"data.source=folder:{folder}",
            f"stages={stage}",
            f"seed={seed}",
            "data.image_size=96",
            "model.head.zero_init=false",
        ],
    )
    with tempfile.TemporaryDirectory() as workdir:
        return run_experiment(config, f"{workdir}/run").metrics["source"]["test"]["accuracy"]


if __name__ == "__main__":
    for name, side in (("plain Keras", plain), ("tlkeras", with_tlkeras)):
        found = [side(Path(sys.argv[1]), seed) for seed in SEEDS]
        shown = ", ".join(f"{value:.3f}" for value in found)
        print(
            f"{name}: {shown}; mean {statistics.mean(found):.3f}, sd {statistics.stdev(found):.3f}",
            flush=True,
        )
