import numpy as np
import pytest

from tlkeras.errors import UserError
from tlkeras.methods.probe.feature_mapping import Coral, LinearMap, SubspaceAlignment
from tlkeras.methods.probe.probes import fit_probe, make_probe


@pytest.fixture
def domains():
    """Returns source and target features and labels; the target is the source turned and shifted."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = rng.normal(size=(200, 6)) * [3, 1, 1, 0.5, 0.2, 0.1] + 2.0 * y[:, None] * [0, 1, -1, 0, 0, 0]
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    return x[:100], y[:100], x[100:] @ turn + 4, y[100:], turn


def test_coral_gives_the_source_the_mean_and_covariance_of_the_target(domains):
    source, _, target, _, _ = domains
    mapped = Coral(regularization=1e-12).fit(source, target).map_source(source)
    np.testing.assert_allclose(mapped.mean(axis=0), target.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(np.cov(mapped, rowvar=False), np.cov(target, rowvar=False), atol=1e-8)


def test_subspaces_of_one_domain_are_aligned_already(domains):
    source = domains[0]
    mapping = SubspaceAlignment(3).fit(source, source)
    assert mapping.map_source(source).shape == (100, 3)
    kernel, bias = np.random.default_rng(1).normal(size=(3, 2)), np.array([0.5, -1.0])
    own_kernel, own_bias = mapping.before_mapping(kernel, bias)
    mapped = mapping.map_source(source) @ kernel + bias
    np.testing.assert_allclose(source @ own_kernel + own_bias, mapped, atol=1e-9)


def test_linear_map_finds_the_turn_between_paired_samples(domains):
    source, labels, _, _, turn = domains
    paired = source @ turn + 4
    mapping = LinearMap(1e-9).fit(source[:60], paired[:60])
    np.testing.assert_allclose(mapping.map_source(source[60:]), paired[60:], atol=1e-5)
    probe = fit_probe(make_probe("logistic_regression"), mapping.map_source(source), labels)
    assert probe.score(paired, labels) > probe.score(source, labels)


def test_shapes_that_do_not_fit_are_refused(domains):
    with pytest.raises(UserError, match="same samples"):
        LinearMap().fit(domains[0], domains[2][:5])
    with pytest.raises(UserError, match=r"\(n, d\) and \(m, d\)"):
        Coral().fit(domains[0], domains[2][:, :3])
