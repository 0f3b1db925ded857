"""Transfer learning as Keras' guide teaches it: https://keras.io/guides/transfer_learning/.

Random flips and rotations, a frozen base that is called with `training=False`, global average pooling,
dropout of .2 and a linear layer: 20 epochs with Adam's default rate. Then the whole base is opened, its
BatchNormalization stays in inference mode, and all trains for 10 epochs at 1e-5. The guide itself takes two
epochs and one, on 9,300 pictures; in its early version it took 20 and 10. The last epoch is tested, and the
validation rows choose nothing.

tlkeras only builds the network and reads its weights here, because Keras has no EfficientNet-Lite0.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parents[1]))

from job import read_job, report

from tlkeras.models import BACKBONES
from tlkeras.models.backbones.construct import construct
from tlkeras.models.weights.load import load_efficientnet_lite


def main() -> None:
    """Trains on a task and prints the test accuracy."""
    job = read_job()
    keras.utils.set_random_seed(job.seed)
    size = (job.size, job.size)

    def read(split: str, shuffle: bool):
        return keras.utils.image_dataset_from_directory(
            job.folder / split, image_size=size, batch_size=32, seed=job.seed, shuffle=shuffle, verbose=False
        )

    train, test = read("train", True), read("test", False).prefetch(tf.data.AUTOTUNE)
    classes = len(train.class_names)
    augment = [keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1)]
    for layer in augment:
        train = train.map(lambda x, y, layer=layer: (layer(x, training=True), y), tf.data.AUTOTUNE)
    train = train.prefetch(tf.data.AUTOTUNE)

    base = construct(BACKBONES.get("efficientnet_lite0"), (*size, 3), {})
    load_efficientnet_lite(base, job.weights, None)
    base.trainable = False
    inputs = keras.Input((*size, 3))
    x = base(keras.layers.Rescaling(1 / 128, offset=-127 / 128)(inputs), training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(classes)(keras.layers.Dropout(0.2)(x)))

    began = time.time()
    for optimizer, epochs in ((keras.optimizers.Adam(), 20), (keras.optimizers.Adam(1e-5), 10)):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=["accuracy"])
        model.fit(train, epochs=epochs, verbose=0)
        base.trainable = True
    ended = time.time()
    right = model.evaluate(test, verbose=0, return_dict=True)["accuracy"]
    report(job, "Keras guide", right, (ended - began, ended), ("keras", "tensorflow"))


if __name__ == "__main__":
    main()
