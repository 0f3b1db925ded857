"""Models that adapt: what moves, what equals what, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_problems import Tapped, batches, dense, sigmoid_network, train
from variants import all_but

from tlkeras.config.adaptation import StrengthConfig
from tlkeras.data.combined_batches import pair_batches
from tlkeras.errors import UserError
from tlkeras.methods.adapt import METHODS, make_method
from tlkeras.methods.adapt.base import Adversarial
from tlkeras.methods.adapt.configured import adaptation_model

CONSTANT = StrengthConfig(schedule="constant")


def weights_of(model):
    return [v.numpy() for v in model.variables]


def closed_form_toy(strength):
    """Source x2 = 0, target x2 = 1; only a domain classifier gives x2 a meaning."""
    rng = np.random.default_rng(0)
    x1 = rng.random((100, 1)).astype("float32")
    source, target = np.c_[x1, np.zeros_like(x1)], np.c_[x1[::-1], np.ones_like(x1)]
    encoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")]
    )
    model = Tapped(encoder, keras.Sequential([keras.Input((1,)), dense(1, 0, use_bias=False)]))
    train(
        model,
        batches(source, target, 0.2 * x1, batch=32),
        400,
        per_call=100,
        method="dann",
        options={"units": (10,)},
        strength=StrengthConfig(schedule="constant", value=strength),
        optimizer=keras.optimizers.Adam(0.01),
        loss="mse",
    )
    kernel = encoder.layers[0].kernel.numpy()
    return kernel[1, 0], kernel[0, 0]


def test_toy_strength_zero_leaves_the_weight_exactly():
    assert closed_form_toy(0.0)[0] == 1.0


def test_toy_strength_one_removes_the_domain():
    on_x2, on_x1 = closed_form_toy(1.0)
    assert abs(on_x2 / on_x1) < 0.15


EACH_KIND = ["cdan_e", "deep_coral", "wasserstein", "adda"]


@pytest.mark.parametrize("method", all_but(EACH_KIND, [*EACH_KIND, "dann", "dan", "mdd", "pada"]))
def test_weight_zero_is_the_concatenated_step_without_d_bit_for_bit(small_batches, method):
    results = []
    for name, weight in ((method, 0.0), ("none", 1.0)):
        model = sigmoid_network(batch_norm=True)
        train(model, small_batches, 20, method=name, weight=weight, strength=CONSTANT,
              optimizer=keras.optimizers.Adam(0.01))  # fmt: skip
        results.append(weights_of(model))
    for left, right in zip(*results, strict=True):
        np.testing.assert_array_equal(left, right)


def test_without_d_one_step_is_a_plain_source_step(small_batches):
    adapted, plain = sigmoid_network(), sigmoid_network()
    train(adapted, small_batches, 1, method="dann", weight=0.0)
    source, _ = next(iter(small_batches))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss)
    plain.train_on_batch(*source)
    for left, right in zip(weights_of(adapted), weights_of(plain), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)


def test_the_class_loss_is_the_mean_over_source_rows(small_batches):
    model = sigmoid_network()
    (x, y), _ = next(iter(small_batches))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = float(loss(y, model(x)))
    _, history = train(model, small_batches, 1, method="none")
    assert history["class_loss"][0] == pytest.approx(expected, abs=1e-6)
    assert history["loss"][0] == pytest.approx(expected, abs=1e-6)


def run_on_target_labels(target_labels, pair):
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 64, 2)).astype("float32")
    labels = (source[:, 0] > 0).astype("int32")
    paired = pair(
        tf.data.Dataset.from_tensor_slices((source, labels)).repeat().batch(8),
        tf.data.Dataset.from_tensor_slices((target, target_labels)).repeat().batch(8),
    )
    model = sigmoid_network()
    train(model, paired, 10, method="dann", options={"units": (8,)})
    return weights_of(model)


def equal_under_other_target_labels(pair):
    first = run_on_target_labels(np.zeros(64, "int32"), pair)
    second = run_on_target_labels(np.arange(64, dtype="int32") % 2, pair)
    return all(np.array_equal(x, y) for x, y in zip(first, second, strict=True))


def test_target_labels_cannot_matter():
    assert equal_under_other_target_labels(pair_batches)


def test_the_check_for_leaks_finds_a_leak():
    def leaky(source, target):
        joined = tf.data.Dataset.zip((source, target))
        return joined.map(lambda s, t: ((s[0], (s[1] + t[1]) % 2), t[0]))

    assert not equal_under_other_target_labels(leaky)


def test_a_target_batch_with_labels_is_refused():
    (x, y), target = (tf.ones((8, 2)), tf.zeros(8, tf.int32)), tf.ones((8, 2))
    data = tf.data.Dataset.from_tensors(((x, y), (target, y)))
    with pytest.raises(UserError, match="no target labels"):
        train(sigmoid_network(), data, 1, method="dann")
    with pytest.raises(UserError, match="2 view"):
        train(sigmoid_network(), data, 1, method="adamatch")


class DeadDiscriminator(Adversarial):
    """A softmax over one unit: always 1, gradient exactly 0."""

    def loss(self, features):
        rows = keras.ops.concatenate(features)
        return keras.ops.mean(keras.ops.softmax(self.domain_head(self.reversal(rows)), axis=-1))


@pytest.mark.filterwarnings("ignore:You are using a softmax")  # which is the point
def test_a_dead_discriminator_is_an_error(small_batches):
    with pytest.raises(UserError, match="No gradient arrives"):
        train(sigmoid_network(), small_batches, 5, method=DeadDiscriminator((8,)))
    _, history = train(sigmoid_network(), small_batches, 5, method="dann", options={"units": (8,)})
    assert history["reversal_gradient_norm"][0] > 0


def test_a_frozen_model_without_a_layer_before_the_features_is_refused():
    model = sigmoid_network()
    model.encoder.trainable = False
    with pytest.raises(UserError, match="cannot change the features"):
        adaptation_model(model, "dann", steps=1)
    adaptation_model(model, "none", steps=1)


def test_unknown_methods_options_and_outputs_are_refused():
    with pytest.raises(UserError, match="Did you mean 'dann'"):
        adaptation_model(sigmoid_network(), "dan_n", steps=1)
    with pytest.raises(UserError, match="Did you mean 'units'"):
        adaptation_model(sigmoid_network(), "dann", steps=1, options={"unit": 3})
    with pytest.raises(UserError, match="at least 2 logits"):
        adaptation_model(sigmoid_network(outputs=1), "mcc", steps=1)
    with pytest.raises(UserError, match="on must be"):
        make_method("deep_coral", {"on": "pixels"})


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_trains_under_its_own_needs(name):
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 16, 2)).astype("float32")
    y = (source[:, 0] > 0).astype("int32")
    method = make_method(name)
    views = (target, target + 0.1) if method.target_views == 2 else target
    data = tf.data.Dataset.from_tensors(((source, y), views)).repeat()
    model = sigmoid_network(batch_norm=True)
    before = weights_of(model)
    adaptation, history = train(model, data, 4, epochs=2, per_call=2, method=method, strength=CONSTANT)
    assert np.isfinite(list(history.values())).all()
    assert int(adaptation.terms[0].own.step) == 4
    moved = [not np.array_equal(a, b) for a, b in zip(before, weights_of(model), strict=True)]
    assert moved[0] or moved[2]
    if method.reversal is not None:
        assert history["reversal_gradient_norm"][-1] > 0
    for variable in method.critic_variables:
        assert id(variable) not in {id(v) for v in adaptation.trainable_variables}


def test_the_strength_follows_the_schedule_through_epochs_and_calls(small_batches):
    adaptation, history = train(
        sigmoid_network(), small_batches, 10, epochs=2, per_call=5, method="dann",
        options={"units": (8,)}, strength=StrengthConfig(schedule="linear"),
    )  # fmt: skip
    np.testing.assert_allclose(history["strength"], [0.2, 0.7], atol=1e-6)
    assert float(adaptation.terms[0].reversal.strength) == pytest.approx(0.9)


def test_evaluation_is_that_of_the_plain_model_and_keeps_the_histogram(small_batches):
    model = sigmoid_network()
    adaptation, _ = train(model, small_batches, 5, method="dann", options={"units": (8,)})
    shares = adaptation.terms[0].own.histogram.shares()
    assert shares["source"].sum() == pytest.approx(1)
    assert shares["target"].sum() == pytest.approx(1)
    x = np.random.default_rng(1).normal(size=(8, 2)).astype("float32")
    result = adaptation.evaluate(x, np.zeros(8, int), return_dict=True, verbose=0)
    assert set(result) == {"loss", "accuracy"}
    np.testing.assert_array_equal(adaptation.terms[0].own.histogram.shares()["target"], shares["target"])
    np.testing.assert_array_equal(adaptation.predict(x, verbose=0), model.predict(x, verbose=0))


def test_mixed_precision_trains_and_measures_without_the_loss_scale(small_batches):
    norms = {}
    for policy in ("float32", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        try:
            optimizer = keras.optimizers.SGD(0.01)
            if policy == "mixed_float16":
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            _, history = train(
                sigmoid_network(), small_batches, 3, method="dann", options={"units": (8,)},
                optimizer=optimizer, strength=CONSTANT,
            )  # fmt: skip
        finally:
            keras.config.set_dtype_policy("float32")
        norms[policy] = history["reversal_gradient_norm"][0]
    assert norms["mixed_float16"] == pytest.approx(norms["float32"], rel=0.05)


@pytest.mark.parametrize("method", ["dann", "cdan_e", "wasserstein", "adda", "mcd", "adamatch"])
def test_state_has_the_same_names_in_every_model(method):
    """A process that goes on has made fewer models and optimizers before this one."""
    names = []
    for _ in range(2):
        adaptation = adaptation_model(sigmoid_network(seed=0), method, steps=1)
        model = {id(v) for v in adaptation.model.variables}
        own = [v for v in adaptation.variables if id(v) not in model]
        names.append([v.path for v in (*own, *adaptation.further_variables)])
    assert names[0] == names[1] and names[0]
