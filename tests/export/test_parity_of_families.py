import importlib.util
from pathlib import Path

import pytest
from variants import further

_BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "export_parity.py"


@pytest.fixture(scope="module")
def benchmark():
    for package in ("tf2onnx", "onnxruntime"):
        pytest.importorskip(package)
    spec = importlib.util.spec_from_file_location("export_parity", _BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("backbone", "options", "formats"),
    [
        further("mobilenet", {"alpha": 0.25}, ["saved_model", "litert", "onnx", "keras"]),
        # its Normalization layer keeps constants outside the graph, which tf2onnx took for inputs
        ("efficientnet_b0", {}, ["onnx"]),
        # factors per channel, which LiteRT takes as depthwise kernels only
        ("dinov2_small", {"width": 12, "depth": 1, "heads": 3, "patch": 8}, ["litert", "onnx"]),
        ("convnextv2_atto", {"depths": [1, 1], "width": 4}, ["litert", "onnx"]),
    ],
)
def test_families_answer_alike_in_every_format(benchmark, backbone, options, formats):
    compared = benchmark.measure(backbone, 32, formats, rows=8, **options)
    for name, parity in compared.items():
        assert 0 <= parity.relative < 1e-3, (name, parity)
        assert parity.agreement == 1


def test_grouped_convolutions_and_gelu_leave_in_every_format(tmp_path):
    """ConvNeXt has both: Keras has XLA compile the former, and the latter needs Erfc, which ONNX has not."""
    for package in ("tf2onnx", "onnxruntime"):
        pytest.importorskip(package)
    import keras
    import numpy as np

    from tlkeras.data.reading import PixelSpec
    from tlkeras.export import FORMATS, ServedModel
    from tlkeras.export.served_model import answering_model

    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(8, 3)(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Conv2D(8, 3, groups=8, padding="same", activation="gelu")(x)
    x = keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(12, 3, groups=4)(x))
    model = answering_model(keras.Model(inputs, keras.layers.Dense(3)(x)), "multiclass")
    served = ServedModel(model, "multiclass", ("a", "b", "c"), (12, 12, 3), PixelSpec((12, 12)), None, {})
    images = np.random.default_rng(0).uniform(0, 255, (4, 12, 12, 3)).astype("float32")
    expected = model.predict(images, verbose=0)
    assert np.ptp(expected, axis=0).max() > 1e-2
    for name in ("onnx", "litert", "saved_model", "keras"):
        (tmp_path / name).mkdir()
        FORMATS.get(name).write(served, tmp_path / name)
        np.testing.assert_allclose(FORMATS.get(name).load(tmp_path / name)(images), expected, atol=1e-5)
