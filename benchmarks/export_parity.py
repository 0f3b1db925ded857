"""Compares the answers of exported models with those of the Keras model: one line per backbone, one column
per format.

Command:  python benchmarks/export_parity.py [--backbones=resnet50,vgg16] [--formats=litert,onnx]
Time:     about 10 minutes on two idle CPU cores for all but int8, and as long again with it.

Weights are random. BatchNormalization has the statistics of one batch with random changes. A network with
initial statistics would return values near 0 and agree with everything. Each number is the largest difference
of a probability over rows and classes, divided by the largest range of a probability over the rows. Random
networks amplify a rounding error in the last bit about 500 times, and trained networks do not. Therefore
float16 is worse here than in practice. The int8 column, which shows the fraction of rows with the same class,
has no meaning here: each export measures the accuracy of the trained model instead.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from tlkeras.backend import import_tensorflow

import_tensorflow()

import keras  # noqa: E402

from tlkeras.config import ModelConfig  # noqa: E402
from tlkeras.data.reading import PixelSpec  # noqa: E402
from tlkeras.evaluation import Predictions  # noqa: E402
from tlkeras.export import FORMATS, ServedModel  # noqa: E402
from tlkeras.export.parity import Parity, compare  # noqa: E402
from tlkeras.export.served_model import answering_model  # noqa: E402
from tlkeras.models import build_model  # noqa: E402

BACKBONES = (
    "mobilenet", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "efficientnet_v2_b0",
    "efficientnet_lite0", "resnet50", "resnet50_v2", "densenet121", "inception_v3", "xception", "vgg16",
    "convnext_tiny", "nasnet_mobile",
)  # fmt: skip
CLASSES = 10


def measure(backbone: str, size: int, formats: list[str], rows: int = 24, **options) -> dict[str, Parity]:
    """Returns the difference between the exports of a random network and the network itself, by format."""
    images = smooth_images(rows, size)
    model = random_network(backbone, size, images, options)
    names = tuple(f"class {i}" for i in range(CLASSES))
    reference = Predictions.from_logits(
        model.predict(images, verbose=0), task="multiclass", class_names=names
    )
    served = ServedModel(
        model=answering_model(model, "multiclass"),
        task="multiclass",
        class_names=names,
        input_shape=(size, size, 3),
        spec=PixelSpec((size, size)),
        representative=lambda: (image[None] for image in images),
        facts={"name": backbone},
    )
    compared = {}
    for name in formats:
        with tempfile.TemporaryDirectory() as folder:
            FORMATS.get(name).write(served, Path(folder))
            compared[name] = compare(FORMATS.get(name).load(Path(folder))(images), reference)
    return compared


def random_network(backbone: str, size: int, images: np.ndarray, options: dict | None = None) -> keras.Model:
    """Returns a network whose outputs differ from row to row like those of a trained one."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    config = ModelConfig(backbone=backbone, weights=None, backbone_options=options or {})
    model = build_model(config, input_shape=(size, size, 3), num_outputs=CLASSES).to_functional()
    normalisations = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for layer in normalisations:
        layer.momentum, layer.trainable = 0.0, True  # a frozen layer would keep its statistics
    model(images, training=True)
    for layer in normalisations:
        for variable in (layer.moving_variance, *layer.trainable_variables):
            variable.assign(variable * rng.uniform(0.9, 1.1, variable.shape))
    for layer in model.layers:
        if "layer_scale" in layer.name:  # 1e-6 in a new ConvNeXt, with which its blocks would have no effect
            layer.gamma.assign(rng.uniform(0.1, 1.0, layer.gamma.shape))
    head = model.get_layer("logits")
    logits = model.predict(images, verbose=0)
    scale = 2.0 / np.ptp(logits, axis=0).max()
    assert scale < 1e3, f"{backbone} is dead: its logits differ by {2 / scale:.1e}"
    head.kernel.assign(head.kernel * scale)
    head.bias.assign(-logits.mean(axis=0) * scale)
    return model


def smooth_images(rows: int, size: int) -> np.ndarray:
    """Returns random blobs, float32 `(rows, size, size, 3)` in 0..255."""
    coarse = np.random.default_rng(0).uniform(0, 255, (rows, 6, 6, 3)).astype(np.float32)
    return np.asarray(keras.ops.image.resize(coarse, (size, size), interpolation="bilinear"))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbones", default=",".join(BACKBONES))
    parser.add_argument("--formats", default=",".join(n for n in FORMATS.names() if n != "litert_int8"))
    parser.add_argument("--size", type=int, default=80)
    arguments = parser.parse_args()
    formats = arguments.formats.split(",")
    print(f"{'backbone':<20}" + "".join(f"{name:>16}" for name in formats) + f"{'seconds':>9}", flush=True)
    for backbone in arguments.backbones.split(","):
        started = time.perf_counter()
        compared = measure(backbone, arguments.size, formats)
        cells = [
            f"{p.relative:.1e}" + (f" ({p.agreement:.2f})" if "int8" in n else "")
            for n, p in compared.items()
        ]
        seconds = time.perf_counter() - started
        print(f"{backbone:<20}" + "".join(f"{c:>16}" for c in cells) + f"{seconds:9.0f}", flush=True)
        keras.backend.clear_session()


if __name__ == "__main__":
    main()
