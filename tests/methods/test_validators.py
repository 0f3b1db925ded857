"""Validators: goldens, what they need, and the floor on source validation."""

from types import SimpleNamespace

import numpy as np
import pytest

from tlkeras.errors import UserError
from tlkeras.methods.adapt.validators import (
    VALIDATORS,
    deep_embedded_risk,
    density_ratio,
    importance_weighted_risk,
    needs,
    validate,
)
from tlkeras.training.checkpoints import BestModel

K = np.arange(20)
WEIGHTS, ERRORS = 1 + 0.5 * np.sin(K), 0.5 + 0.4 * np.cos(0.7 * K)
TARGET = np.cos(1.3 * np.arange(32.0).reshape(8, 4)) + 0.5


def test_goldens():
    assert deep_embedded_risk(WEIGHTS, ERRORS) == pytest.approx(0.539746554, abs=6e-10)
    assert importance_weighted_risk(WEIGHTS, ERRORS) == pytest.approx(0.540930889, abs=6e-10)
    assert validate("entropy", target_logits=TARGET) == pytest.approx(-1.180591161, abs=6e-10)
    assert validate("bnm", target_logits=TARGET) == pytest.approx(0.352176418, abs=6e-10)
    expected = 1.375281946 - 1.180591161
    score = validate("information_maximization", target_logits=TARGET)
    assert score == pytest.approx(expected, abs=2e-9)


def test_equal_weights_leave_the_plain_risk():
    assert deep_embedded_risk(np.ones(20), ERRORS) == pytest.approx(ERRORS.mean())


def test_no_validator_can_ask_for_target_labels():
    for name in VALIDATORS.names():
        assert not [q for q in needs(name) if "target" in q and "label" in q]
    with pytest.raises(UserError, match="target_labels"):
        validate("entropy", target_logits=TARGET, target_labels=np.zeros(8))
    with pytest.raises(UserError, match="source_val_labels"):
        validate("source", source_val_logits=TARGET)


def test_information_maximization_falls_on_collapse_and_entropy_does_not():
    diverse = 9 * np.eye(4)[np.arange(80) % 4]
    collapsed = 20 * np.eye(4)[np.zeros(80, int)]
    scores = {
        name: [validate(name, target_logits=x) for x in (diverse, collapsed)]
        for name in ("information_maximization", "entropy", "bnm")
    }
    assert scores["information_maximization"][0] > scores["information_maximization"][1]
    assert scores["bnm"][0] > scores["bnm"][1]
    assert scores["entropy"][0] < scores["entropy"][1]  # why it is never the default


def test_the_floor_rules_out_an_epoch_that_forgot_the_source():
    def chosen(scores, source, floor):
        best = BestModel(
            SimpleNamespace(save_arrays=lambda *_, **__: None), "val_selection", {}, 0, None, floor
        )
        for epoch, logs in enumerate(zip(scores, source, strict=True)):
            best.on_epoch_end(epoch, dict(zip(("val_selection", "val_accuracy"), logs, strict=True)))
        return best.state and best.state["epoch"]

    assert chosen([0.1, 0.5, 0.9], [0.95, 0.94, 0.4], 0.9) == 2
    assert chosen([0.1, 0.5, 0.9], [0.95, 0.94, 0.4], 0.0) == 3
    assert chosen([0.9, 0.1, 0.2], [0.4, 0.95, 0.94], 0.9) == 3  # the first epoch fell below the floor later
    assert chosen([0.1, float("nan"), 0.2], [0.9, 0.9, 0.9], 0.9) == 3
    assert chosen([float("nan")] * 2, [0.5, 0.9], 0.9) is None


def test_density_ratio_is_that_of_two_gaussians():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(4000, 1)), rng.normal(0.5, size=(2000, 1))
    at = np.array([[-1.0], [0.25], [1.0]])
    np.testing.assert_allclose(density_ratio(source, target, at), np.exp(0.5 * at[:, 0] - 0.125), rtol=0.15)


def test_all_validators_score_a_shifted_problem():
    rng = np.random.default_rng(0)
    features = {
        "source_train_features": rng.normal(size=(200, 3)),
        "source_val_features": rng.normal(size=(100, 3)),
        "target_features": rng.normal(0.3, size=(150, 3)),
    }
    logits = {
        "source_val_logits": features["source_val_features"],
        "target_logits": features["target_features"],
        "source_val_labels": rng.integers(0, 3, 100),
    }
    for name in VALIDATORS.names():
        assert np.isfinite(validate(name, **features, **logits)), name
