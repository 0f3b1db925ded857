"""The reversal layer: forward, backward, precision, saving and tracing."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkeras.config.adaptation import StrengthConfig
from tlkeras.methods.adapt.gradient_reversal import GradientReversal
from tlkeras.methods.adapt.strength import strength_schedule


def gradient_through(layer, x, upstream):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
        total = tf.reduce_sum(y * tf.cast(upstream, y.dtype))
    return y, tape.gradient(total, x)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_identity_forward_and_scaled_reversed_gradient(dtype):
    layer = GradientReversal(0.5, dtype=dtype)
    x, upstream = np.array([[1.5, -2.25]], "float32"), [[3.0, 4.0]]
    y, gradient = gradient_through(layer, x, upstream)
    np.testing.assert_array_equal(y.numpy().astype("float32"), x)
    assert y.dtype == layer.compute_dtype
    np.testing.assert_allclose(gradient, [[-1.5, -2.0]])
    assert float(layer.gradient_norm.result()) == pytest.approx(5.0)


def test_strength_zero_still_measures_the_arriving_gradient():
    layer = GradientReversal(0.0)
    _, gradient = gradient_through(layer, np.ones((1, 2), "float32"), [[3.0, 4.0]])
    np.testing.assert_array_equal(gradient, np.zeros((1, 2)))
    assert float(layer.gradient_norm.result()) == pytest.approx(5.0)


def test_a_new_strength_needs_no_second_trace():
    layer, traces = GradientReversal(1.0), []

    @tf.function
    def backward(x):
        traces.append(1)
        layer.strength.assign(layer.strength + 1.0)
        return gradient_through(layer, x, tf.ones_like(x))[1]

    gradients = [float(backward(tf.ones((1, 1)))[0, 0]) for _ in range(3)]
    assert gradients == [-2.0, -3.0, -4.0]
    assert len(traces) == 1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own
def test_strength_is_saved_with_the_model(tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(GradientReversal(0.1)(inputs)))
    model.layers[1].strength.assign(0.75)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert float(loaded.layers[1].strength) == 0.75


def test_ganin_schedule_has_the_values_of_the_paper():
    schedule = strength_schedule(StrengthConfig())
    values = [float(schedule(p)) for p in (0, 0.1, 0.25, 0.5, 1)]
    np.testing.assert_allclose(values, [0, 0.462, 0.848, 0.987, 1.0], atol=5e-4)


def test_a_schedule_left_open_is_the_methods_own():
    assert float(strength_schedule(StrengthConfig(start=0.4), "warm_start")(0.4)) == 0
    assert float(strength_schedule(StrengthConfig(schedule="constant"), "warm_start")(0.4)) == 1


def test_other_schedules():
    at = lambda p, **settings: float(strength_schedule(StrengthConfig(**settings))(p))  # noqa: E731
    assert at(0.0, schedule="constant", value=6) == 6
    assert at(0.25, schedule="linear", value=2) == 0.5
    assert at(0.3, schedule="warm_start", start=0.3) == 0
    assert at(1.0, schedule="warm_start", start=0.3) == pytest.approx(at(1.0), abs=1e-6)
    assert at(2.0) == at(1.0)
