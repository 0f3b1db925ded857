"""Optimizers and schedules: against Keras' own, by weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkeras.backend.averaging import adopt_average, averaged_weights, swap_average
from tlkeras.backend.stage_optimizer import ReplicaLossScaleOptimizer
from tlkeras.config import OptimizerConfig, ScheduleConfig
from tlkeras.errors import UserError
from tlkeras.training.optimizers import OPTIMIZERS, build_optimizer, option_names
from tlkeras.training.schedules import build_schedule

SHAPES = ((4, 3), (3,), (5, 2))


def variables(seed=0):
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=shape).astype("float32") for shape in SHAPES]
    return [keras.Variable(value, name=f"v{k}") for k, value in enumerate(values)]


def gradients(step):
    rng = np.random.default_rng([1, step])
    return [tf.constant(rng.normal(size=shape).astype("float32")) for shape in SHAPES]


def run(optimizer, steps=5, seed=0):
    """Returns the variables after some updates, as arrays."""
    targets = variables(seed)
    for step in range(steps):
        optimizer.apply(gradients(step), targets)
    return [v.numpy() for v in targets]


def built(steps=20, multipliers=None, **config):
    return build_optimizer(OptimizerConfig(**config), steps=steps, multipliers=multipliers)


def learning_rates(name, steps, **config):
    schedule = build_schedule(ScheduleConfig(name=name, **config), 0.5, steps=steps)
    if isinstance(schedule, float):
        return np.full(steps + 1, schedule)
    return np.array([float(schedule(step)) for step in range(steps + 1)])


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_without_extras_it_is_keras_own_optimizer(name):
    own = run(built(name=name, learning_rate=0.01))
    theirs = run(OPTIMIZERS.get(name)(learning_rate=0.01))
    for mine, other in zip(own, theirs, strict=True):
        # AdamW and Muon decay by default: biases are spared here only.
        if mine.ndim > 1 or name not in ("adamw", "muon"):
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_multiplier_zero_freezes_whatever_the_optimizer(name):
    before = [v.numpy() for v in variables()]
    decay = {} if name == "adafactor" else {"weight_decay": 0.1}
    after = run(built(name=name, learning_rate=0.1, multipliers={"v0": 0.0}, **decay))
    np.testing.assert_array_equal(after[0], before[0])
    assert np.isfinite(after[2]).all()
    assert np.abs(after[2] - before[2]).max() > 1e-4


def test_multiplier_scales_the_update_and_the_weight_decay():
    def moved(**kwargs):
        before = variables()
        after = run(built(name="sgd", **kwargs), steps=1)
        return [b - a.numpy() for b, a in zip(after, before, strict=True)]

    full = moved(learning_rate=0.1, weight_decay=0.3)
    tenth = moved(learning_rate=0.1, weight_decay=0.3, multipliers={"v2": 0.1})
    np.testing.assert_allclose(tenth[2], full[2] * 0.1, rtol=0.02, atol=2e-4)
    np.testing.assert_allclose(tenth[0], full[0])
    by_hand = 0.01 * (0.3 * variables()[2].numpy())
    plain = moved(learning_rate=0.1, multipliers={"v2": 0.1})
    np.testing.assert_allclose(plain[2] - tenth[2], by_hand, atol=1e-6)


def test_weight_decay_spares_biases_and_norms():
    decayed = run(built(name="adamw", learning_rate=0.1, weight_decay=0.5))
    plain = run(built(name="adam", learning_rate=0.1))
    np.testing.assert_array_equal(decayed[1], plain[1])
    assert np.abs(decayed[0] - plain[0]).max() > 1e-2


@pytest.mark.parametrize(
    ("layer", "shape", "decays"),
    [
        (keras.layers.DepthwiseConv1D(1), (5, 4), False),  # a factor per channel
        (keras.layers.DepthwiseConv2D(1), (5, 5, 4), False),
        (keras.layers.DepthwiseConv2D(3), (5, 5, 4), True),
        (keras.layers.Dense(1), (4,), True),
        (keras.layers.LayerNormalization(), (4,), False),
    ],
)
def test_weight_decay_spares_factors_per_channel(layer, shape, decays):
    layer.build((None, *shape))
    optimizer = built(name="adamw", learning_rate=0.1, weight_decay=0.5)
    assert optimizer.decays(layer.trainable_variables[0]) == decays


def test_frozen_variables_have_no_share_in_the_global_norm():
    clipped = run(built(name="sgd", learning_rate=1.0, global_clipnorm=0.5, multipliers={"v0": 0.0}), steps=1)
    moved = [after - before.numpy() for after, before in zip(clipped, variables(), strict=True)]
    norm = np.sqrt(sum((m**2).sum() for m in moved))
    np.testing.assert_allclose(norm, 0.5, rtol=1e-5)


def test_accumulation_equals_the_mean_gradient():
    accumulated = built(name="sgd", learning_rate=1.0, accumulate_steps=3, clipnorm=0.4)
    got = run(accumulated, steps=7)  # two updates; the seventh batch waits
    expected = variables()
    reference = keras.optimizers.SGD(1.0, clipnorm=0.4)
    for start in (0, 3):
        means = [np.mean(g, axis=0) for g in zip(*(gradients(start + k) for k in range(3)), strict=True)]
        reference.apply([tf.constant(m) for m in means], expected)
    for mine, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(mine, other.numpy(), atol=1e-6)


def test_moving_average_by_hand_counts_updates_not_batches():
    targets = variables()
    optimizer = built(name="sgd", learning_rate=0.1, accumulate_steps=2, ema_momentum=0.7)
    average = None
    for step in range(6):
        optimizer.apply(gradients(step), targets)
        if step % 2:
            value = targets[0].numpy()
            average = value if average is None else 0.7 * average + 0.3 * value
    with averaged_weights(optimizer):
        np.testing.assert_allclose(targets[0].numpy(), average, atol=1e-6)


def test_swapping_the_average_is_exact_and_survives_a_checkpoint(tmp_path):
    targets = variables()
    optimizer = built(name="adam", learning_rate=0.1, ema_momentum=0.7)
    swap_average(optimizer)  # before anything is built: nothing to swap
    for step in range(3):
        optimizer.apply(gradients(step), targets)
    before = [v.numpy() for v in targets]
    optimizer.finalize_variable_values(targets)
    swap_average(optimizer)
    averages = [v.numpy() for v in targets]
    swap_average(optimizer)
    for variable, old, average in zip(targets, before, averages, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)
        assert np.abs(average - old).max() > 1e-3
    path = tf.train.Checkpoint(optimizer=optimizer).save(str(tmp_path / "state"))
    others = variables(seed=5)
    restored = build_optimizer(
        OptimizerConfig(name="adam", learning_rate=0.1, ema_momentum=0.7), steps=20, variables=others
    )
    tf.train.Checkpoint(optimizer=restored).restore(path).assert_consumed()
    adopt_average(restored)
    for variable, average in zip(others, averages, strict=True):
        np.testing.assert_array_equal(variable.numpy(), average)


def test_loss_scaling_under_mixed_float16_skips_an_overflow():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        optimizer = built(name="sgd", learning_rate=0.1)
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(optimizer, ReplicaLossScaleOptimizer)
    targets = variables()
    optimizer.build(targets)
    before, scale = targets[0].numpy(), float(optimizer.dynamic_scale.numpy())
    bad = gradients(0)
    bad[1] = tf.constant([np.inf, 0.0, 0.0])
    optimizer.apply(bad, targets)
    np.testing.assert_array_equal(targets[0].numpy(), before)
    assert float(optimizer.dynamic_scale.numpy()) == scale / 2
    optimizer.apply([g * scale / 2 for g in gradients(0)], targets)
    np.testing.assert_allclose(
        targets[0].numpy(), before - 0.1 * gradients(0)[0].numpy(), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("constant", {}, {0: 0.5, 20: 0.5}),
        ("cosine", {"final": 0.1}, {0: 0.5, 10: 0.275, 20: 0.05}),
        ("linear", {}, {0: 0.5, 5: 0.375, 20: 0.0}),
        ("exponential", {"final": 0.01}, {0: 0.5, 10: 0.05, 20: 0.005}),
        ("step", {}, {0: 0.5, 9: 0.5, 10: 0.05, 14: 0.05, 15: 0.005}),
        ("ganin", {}, {0: 0.5, 10: 0.5 / 6**0.75, 20: 0.5 / 11**0.75}),
        ("constant", {"warmup_steps": 4}, {0: 0.0, 1: 0.125, 4: 0.5, 20: 0.5}),
        ("linear", {"warmup_steps": 10}, {5: 0.25, 10: 0.5, 15: 0.25, 20: 0.0}),
    ],
)
def test_schedules(name, config, expected):
    rates = learning_rates(name, 20, **config)
    for step, rate in expected.items():
        np.testing.assert_allclose(rates[step], rate, rtol=1e-5, atol=1e-7, err_msg=str(step))


@pytest.mark.parametrize("name", ["ganin", "cosine", "constant"])
def test_schedules_are_serializable(name):
    schedule = build_schedule(ScheduleConfig(name=name, warmup_steps=3), 0.5, steps=20)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert [float(again(k)) for k in range(20)] == [float(schedule(k)) for k in range(20)]


def test_a_constant_learning_rate_can_be_changed():
    optimizer = built(name="adam", learning_rate=0.01)
    optimizer.learning_rate = 0.5
    np.testing.assert_allclose(float(optimizer.learning_rate.numpy()), 0.5)


@pytest.mark.parametrize(
    ("steps", "expected"), [(20, {0: 0.0, 2: 0.5, 11: 0.25, 20: 0.0}), (3, {0: 0.5, 3: 0.0})]
)
def test_a_stage_that_is_no_longer_than_its_warm_up_has_a_shorter_one(steps, expected):
    schedule = build_schedule(ScheduleConfig(name="linear", warmup_steps=20), 0.5, steps=steps)
    assert {step: float(schedule(step)) for step in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"name": "adamm"}, "Did you mean 'adam'"),
        ({"name": "sgd", "options": {"momentun": 0.9}}, "Did you mean 'momentum'"),
        ({"name": "sgd", "options": {"momentum": 3.0}}, "momentum"),
        ({"clipnorm": 1.0, "global_clipnorm": 1.0}, "Received: clipnorm=1.0, global_clipnorm=1.0"),
        ({"schedule": ScheduleConfig(name="exponential")}, "final=0.0"),
    ],
)
def test_mistakes_are_one_clear_line(config, says):
    with pytest.raises(UserError, match=says) as error:
        built(**config)
    assert "\n" not in str(error.value)


def test_options_leave_out_what_the_config_says_elsewhere():
    assert {"momentum", "nesterov", "clipvalue"} <= set(option_names("sgd"))
    assert not {"learning_rate", "use_ema", "self"} & set(option_names("sgd"))
