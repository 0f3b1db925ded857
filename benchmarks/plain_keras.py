"""The script that a user would write without tlkeras, after Keras' own guide to transfer learning.

It uses `image_dataset_from_directory` with prefetch (and with cache if asked), a base that is called with
`training=False`, and `fit`. It prints one line of JSON: seconds of `fit`, seconds until its first step, peak
memory.
"""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
started = time.time()

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
from measuring import peak_memory_mb  # noqa: E402


def main(options: dict) -> None:
    """Trains as `options` say."""
    imported = time.time()
    keras.utils.set_random_seed(0)
    size = (options["size"], options["size"])
    dataset = keras.utils.image_dataset_from_directory(
        f"{options['folder']}/train", image_size=size, batch_size=32, seed=0, verbose=False
    )
    classes = len(dataset.class_names)
    if options["plain_cache"]:
        dataset = dataset.cache()
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    if options["flip"]:
        flip = keras.layers.RandomFlip("horizontal")
        dataset = dataset.map(lambda x, y: (flip(x, training=True), y), tf.data.AUTOTUNE)
        dataset = dataset.prefetch(tf.data.AUTOTUNE)
    base, preprocess = _base(options, size)
    opened = options["open_from"]
    base.trainable = opened is not None
    if opened:
        names = [layer.name for layer in base.layers]
        for layer in base.layers[: names.index(opened)]:
            layer.trainable = False
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    inputs = keras.Input((*size, 3))
    x = base(preprocess(inputs), training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    for units in options["head"]:
        x = keras.layers.Dense(units, activation="relu")(x)
    model = keras.Model(inputs, keras.layers.Dense(classes)(x))
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    first = _FirstStep()
    began, cpu = time.time(), time.process_time()
    model.fit(dataset, epochs=options["epochs"], verbose=0, callbacks=[first])
    print(
        json.dumps(
            {
                "seconds": time.time() - began,
                "cpu": time.process_time() - cpu,
                "jit": bool(model.jit_compile),
                "start": first.time - imported,
                "import": imported - started,
                "memory_mb": peak_memory_mb(),
            }
        )
    )


def _base(options: dict, size):
    weights = options["weights"]
    shape = (*size, 3)
    if options["backbone"] == "mobilenet_v2":
        base = keras.applications.MobileNetV2(shape, include_top=False, weights=weights)
        return base, keras.applications.mobilenet_v2.preprocess_input
    if options["backbone"] == "resnet50":
        base = keras.applications.ResNet50(input_shape=shape, include_top=False, weights=weights)
        return base, keras.applications.resnet50.preprocess_input
    from tlkeras.models import BACKBONES
    from tlkeras.models.backbones.construct import construct

    base = construct(BACKBONES.get(options["backbone"]), shape, {})
    return base, lambda x: (x - 127.0) / 128.0


class _FirstStep(keras.callbacks.Callback):
    time = 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.time = self.time or time.time()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
