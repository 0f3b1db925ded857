"""Goldens and behaviour of the alignment losses."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tlkeras.methods.adapt import alignment

INDEX = np.arange(32.0).reshape(8, 4)
GOLDENS = {
    "coral": (lambda s, t: alignment.coral(s, t), 0.007486997),
    "mmd linear": (lambda s, t: alignment.mmd(s, t, linear=True), 0.136666905),
    "mmd quadratic": (lambda s, t: alignment.mmd(s, t), 0.080633621),
    "mcc": (lambda s, t: alignment.mcc(t, 1.0), 0.651062450),
    "mcc 2.5": (lambda s, t: alignment.mcc(t, 2.5), 0.732024124),
    "entropy": (lambda s, t: alignment.entropy(t), 1.180591161),
    "bnm": (lambda s, t: alignment.bnm(t), -0.352176418),
    "mcd": (lambda s, t: alignment.mcd(s, t), 0.182061132),
}


def batches(dtype):
    source, target = np.sin(INDEX), np.cos(1.3 * INDEX) + 0.5
    return ops.convert_to_tensor(source, dtype), ops.convert_to_tensor(target, dtype)


@pytest.mark.parametrize("name", GOLDENS)
def test_goldens(name):
    loss, value = GOLDENS[name]
    assert float(loss(*batches("float64"))) == pytest.approx(value, abs=6e-10)
    assert float(loss(*batches("float32"))) == pytest.approx(value, abs=2e-6)


def numerical_gradient(loss, x, step=1e-6):
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        moved = x.copy()
        moved[index] += step
        upper = float(loss(ops.convert_to_tensor(moved)))
        moved[index] -= 2 * step
        gradient[index] = (upper - float(loss(ops.convert_to_tensor(moved)))) / (2 * step)
    return gradient


@pytest.mark.parametrize(
    "loss",
    [
        alignment.bnm,
        lambda x: alignment.coral(batches("float64")[0], x),
        lambda x: alignment.mmd(batches("float64")[0], x),
        lambda x: alignment.mean_distance(batches("float64")[0], x),
    ],
)
def test_gradients_are_those_of_the_values(loss):
    x = batches("float64")[1]
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    expected = numerical_gradient(loss, np.array(x))
    np.testing.assert_allclose(tape.gradient(value, x), expected, atol=1e-7)


def test_equal_domains_have_no_distance_and_finite_gradients():
    x = batches("float32")[0]
    for distance in (alignment.coral, alignment.mean_distance, alignment.mmd):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = distance(x, x)
        assert abs(float(value)) < 0.2
        assert np.isfinite(tape.gradient(value, x)).all()


def test_joint_mmd_multiplies_kernels():
    source, target = batches("float64")
    single = alignment.mmd(source, target, scales=(2.0,))
    twice = alignment.joint_mmd([source, source], [target, target])
    assert float(twice) == pytest.approx(float(single))


def test_mdd_is_finite_where_both_classifiers_are_sure():
    sure = ops.convert_to_tensor([[40.0, 0.0], [0.0, 40.0]])
    classes = ops.convert_to_tensor(np.eye(2, dtype="float32"))
    with tf.GradientTape() as tape:
        tape.watch(sure)
        value = alignment.mdd(sure, classes, sure, classes)
    assert np.isfinite(float(value))
    assert np.isfinite(tape.gradient(value, sure)).all()


def test_domain_cross_entropy_averages_over_both_domains():
    zeros = ops.zeros((5, 1))
    assert float(alignment.domain_cross_entropy(zeros, zeros)) == pytest.approx(np.log(2))
