"""Every alignment loss and validator, values and gradients, against the formulas of the papers."""

import numpy as np
import paper_formulas as paper
import pytest
import tensorflow as tf
from keras import ops

from tlkeras.methods.adapt import METHODS, Pair, alignment, make_method
from tlkeras.methods.adapt.validators import (
    VALIDATORS,
    deep_embedded_risk,
    density_ratio,
    importance_weighted_risk,
    validate,
)

SHAPES = [(4, 3), (6, 11), (32, 10), (256, 65)]
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)


def pair(function, papers, **settings):
    """A loss of two arrays."""
    return lambda s, t: function(s, t, **settings), lambda s, t, at=None: papers(s, t, **settings)


def one(function, papers, **settings):
    """A loss of the second array alone, say of the target."""
    return lambda s, t: function(t, **settings), lambda s, t, at=None: papers(t, **settings)


def moved(papers, **settings):
    """A formula of the second array with something held constant."""
    return lambda s, t, at=None: papers(t, at=at and at[1:], **settings)


def classes(logits):
    return np.argmax(np.array(logits), axis=1)


def mdd(s, t):
    """The main classifier's answers are some other ones than the adversary's."""
    width = s.shape[1]
    chosen = [ops.one_hot(np.arange(len(x)) * 7 % width, width, dtype=x.dtype) for x in (s, t)]
    return alignment.mdd(s, chosen[0], t, chosen[1])


def weights_of(x):
    return 1 + 0.5 * np.sin(np.arange(len(x)))


def weighted(s, t):
    return alignment.domain_cross_entropy(
        s, t, tuple(ops.cast(ops.convert_to_tensor(weights_of(x)), x.dtype) for x in (s, t))
    )


def joint(s, t):
    left, right = ([x, ops.softmax(x)] for x in (s, t))
    return alignment.joint_mmd(left, right, scales=[SCALES, (1.0,)])


def papers_joint(s, t, at=None):
    left, right = ([x, paper.softmax(x)] for x in (s, t))
    at = at and ([at[0], paper.softmax(at[0])],)
    return paper.joint_mmd(left, right, [SCALES, (1.0,)], at=at)


def adamatch(s, t):
    s, t = (ops.cast(x, "float32") for x in (s, t))  # as the step supplies them
    return make_method("adamatch").loss(Pair(s, t), strong_logits=t[::-1])


LOSSES = {
    "coral": pair(alignment.coral, paper.coral),
    "mean_distance": pair(alignment.mean_distance, paper.mean_distance),
    "mmd": (alignment.mmd, paper.mmd),
    "mk_mmd": (
        lambda s, t: alignment.mmd(s, t, scales=SCALES),
        lambda s, t, at=None: paper.mmd(s, t, SCALES, at=at),
    ),
    "linear_mmd": (
        lambda s, t: alignment.mmd(s, t, linear=True),
        lambda s, t, at=None: paper.mmd(s, t, linear=True, at=at),
    ),
    "joint_mmd": (joint, papers_joint),
    "entropy": one(alignment.entropy, paper.entropy),
    "mcc": (lambda s, t: alignment.mcc(t), moved(paper.mcc)),
    "mcc_cold": (lambda s, t: alignment.mcc(t, 1.0), moved(paper.mcc, temperature=1.0)),
    "bnm": one(alignment.bnm, paper.bnm),
    "mcd": pair(alignment.mcd, paper.mcd),
    "mdd": (
        mdd,
        lambda s, t, at=None: paper.mdd(s, t, *(np.arange(len(x)) * 7 % x.shape[1] for x in (s, t))),
    ),
    "afn": (lambda s, t: alignment.afn(t), moved(paper.afn)),
    "wasserstein": (  # of a critic's values, (n, 1)
        lambda s, t: alignment.wasserstein(s[:, :1], t[:, :1]),
        lambda s, t, at=None: paper.wasserstein(s[:, :1], t[:, :1]),
    ),
    "gradient_penalty": one(alignment.gradient_penalty, paper.gradient_penalty),
    "domain_cross_entropy": pair(alignment.domain_cross_entropy, paper.domain_cross_entropy),
    "weighted_domains": (
        weighted,
        lambda s, t, at=None: paper.domain_cross_entropy(s, t, (weights_of(s), weights_of(t))),
    ),
    "adamatch": (adamatch, lambda s, t, at=None: paper.adamatch(s, t, t[::-1], at=at)),
}


def arrays(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape), 1.5 * rng.normal(size=shape) + 0.3


def slope(formula, at, directions, step=1e-5):
    """Returns the derivative along `directions`, of fourth order, with the constants as they are at `at`."""
    value = lambda h: formula(*(x + h * d for x, d in zip(at, directions, strict=True)), at=at)  # noqa: E731
    return (8 * (value(step) - value(-step)) - (value(2 * step) - value(-2 * step))) / (12 * step)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients(name, shape):
    """In double and single precision; gradients along themselves, random directions and single entries."""
    loss, formula = LOSSES[name]
    at, expected = arrays(shape), None
    for dtype in ("float64", "float32"):
        inputs = [tf.constant(x, dtype) for x in at]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            value = loss(*inputs)
        assert float(value) == pytest.approx(formula(*at, at=at), rel=1e-5, abs=1e-5)
        gradients = tape.gradient(value, inputs, unconnected_gradients="zero")
        gradients = [np.array(g, np.float64) for g in gradients]
        if expected is None:
            along = directions(gradients)
            expected = [slope(formula, at, d) for d in along]
        found = [sum((g * d).sum() for g, d in zip(gradients, way, strict=True)) for way in along]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def directions(gradients):
    """Returns five directions of length 1 in the space of both arrays."""
    rng = np.random.default_rng(1)
    found = [gradients] + [[rng.normal(size=g.shape) for g in gradients] for _ in range(2)]
    for _ in range(2):
        single = [np.zeros_like(g) for g in gradients]
        single[1][tuple(rng.integers(0, gradients[1].shape))] = 1
        found.append(single)
    lengths = [np.sqrt(sum((d**2).sum() for d in way)) for way in found]
    return [[d / (length or 1) for d in way] for way, length in zip(found, lengths, strict=True)]


def test_mdd_has_its_slope_where_the_adversary_is_sure():
    """At a gap of 30 the probability is 1 in float32; the loss goes on as a straight line."""
    for gap in (10.0, 30.0, 80.0):
        logits = tf.constant([[gap, 0.0, 0.0]])
        truth = ops.one_hot([0], 3)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = alignment.mdd(logits, truth, logits, truth, margin=0.0)
        assert float(value) == pytest.approx(-paper._log_rest(np.array([[gap, 0, 0]]), [0])[0], rel=1e-5)
        np.testing.assert_allclose(tape.gradient(value, logits), [[1, -0.5, -0.5]], atol=1e-4)


def test_no_loss_is_left_out():
    names = {n for n in vars(alignment) if callable(getattr(alignment, n)) and not n.startswith("_")}
    helpers = {"squared_distances", "entropy_per_row", "Sequence"}
    assert names - helpers <= LOSSES.keys()
    with_a_loss = {name for name, method in METHODS.items() if method.acts_on_features}
    assert with_a_loss == HEADS.keys() | {"none"}


HEADS = {
    "dann": lambda v: paper.domain_cross_entropy(v["d"](v["fs"]), v["d"](v["ft"])),
    "cdan": lambda v: paper.domain_cross_entropy(*conditioned(v)),
    "cdan_e": lambda v: paper.domain_cross_entropy(*conditioned(v), sureness(v)),
    "pada": lambda v: paper.domain_cross_entropy(v["d"](v["fs"]), v["d"](v["ft"]), partial(v)),
    "adda": lambda v: (
        paper.domain_cross_entropy(v["d"](v["fc"]), v["d"](v["ft"]))
        + np.mean(np.log(1 + np.exp(-v["d"](v["ft"]))))
    ),
    "wasserstein": lambda v: paper.wasserstein(v["d"](v["fs"]), v["d"](v["ft"])),
    "mdd": lambda v: paper.mdd(v["d"](v["fs"]), v["d"](v["ft"]), classes(v["ys"]), classes(v["yt"])),
    "mcd": lambda v: (
        sum(truth(v, d(v["fs"])) for d in (v["d"], v["d2"])) - paper.mcd(v["d"](v["ft"]), v["d2"](v["ft"]))
    ),
    "dan": lambda v: paper.mmd(v["fs"], v["ft"], SCALES),
    "jan": lambda v: paper.joint_mmd(
        [v["fs"], paper.softmax(v["ys"])], [v["ft"], paper.softmax(v["yt"])], [SCALES, (1.0,)]
    ),
    "deep_coral": lambda v: paper.coral(v["fs"], v["ft"]),
    "mean_distance": lambda v: paper.mean_distance(v["fs"], v["ft"]),
    "afn": lambda v: paper.afn(v["fs"]) + paper.afn(v["ft"]),
    "mcc": lambda v: paper.mcc(v["yt"]),
    "bnm": lambda v: paper.bnm(v["yt"]),
    "adamatch": lambda v: paper.adamatch(v["ys"], v["yt"], v["y2"]),
}


def conditioned(v):  # Long et al. 2018, eq. 4, and eq. 6 where the product would be too wide
    def joined(features, logits):
        rows = zip(features, paper.softmax(logits), strict=True)
        if v["maps"]:
            left, right = v["maps"]
            return np.array([(f @ left) * (p @ right) / np.sqrt(left.shape[1]) for f, p in rows])
        return np.array([np.outer(f, p).ravel() for f, p in rows])

    return v["d"](joined(v["fs"], v["ys"])), v["d"](joined(v["ft"], v["yt"]))


def sureness(v):  # Long et al. 2018, eq. 7, with weights of mean 1
    weights = 1 + np.exp(-paper.entropies(paper.softmax(np.concatenate([v["ys"], v["yt"]]))))
    return np.split(weights / weights.mean(), 2)


def partial(v):  # Cao et al. 2018, eq. 5-7, after one step of the average
    share = 0.99 + 0.01 * paper.softmax(v["yt"]).mean(axis=0)
    return (share / share.max())[v["labels"]], np.ones(len(v["ft"]))


def truth(v, logits):
    return -np.log(paper.softmax(logits)[np.arange(len(logits)), v["labels"]]).mean()


def in_numpy(head):
    """Returns a multi-layer perceptron with the weights of `head`."""
    layers = [[np.array(w, np.float64) for w in layer.get_weights()] for layer in head.layers]

    def call(x):
        for kernel, bias in layers[:-1]:
            x = np.maximum(x @ kernel + bias, 0)
        return x @ layers[-1][0] + layers[-1][1]

    return call


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", HEADS)
def test_methods(name, shape):
    rows, width = shape
    rng = np.random.default_rng(2)
    values = {k: rng.normal(size=shape) for k in ("fs", "ft", "fc", "ys", "yt", "y2")}
    values["labels"] = np.arange(rows) % width
    t = {k: tf.constant(x, tf.int32 if k == "labels" else tf.float32) for k, x in values.items()}
    has_head = hasattr(METHODS.get(name)(), "units")
    method = make_method(name, {"units": (5,)} if has_head else {})
    method.build_heads(width, width, seed=0)
    method.copied_features = lambda inputs: t["fc"]  # of adda's second encoder
    heads = [
        getattr(method, n) for n in ("domain_head", "critic", "adversary", "first") if hasattr(method, n)
    ]
    values["d"] = in_numpy(heads[0]) if heads else None
    if name == "mcd":
        values["d2"] = in_numpy(method.second)
    maps = getattr(method, "projections", {})
    values["maps"] = [np.array(maps[k], np.float64) for k in ("features", "classes") if maps]
    supplied = {
        "features": Pair(t["fs"], t["ft"]), "logits": Pair(t["ys"], t["yt"]), "labels": t["labels"],
        "inputs": None, "strong_logits": t["y2"],
    }  # fmt: skip
    found = method.loss(**{k: supplied[k] for k in method.needs})
    assert float(found) == pytest.approx(HEADS[name](values), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("shape", [(4, 3), (30, 10), (300, 5), (4000, 6)], ids=str)
def test_validators(shape):
    logits = 2 * arrays(shape)[1]
    p = paper.softmax(logits)
    expected = {
        "entropy": -paper.entropy(logits),
        "information_maximization": paper.entropies(p.mean(axis=0)[None])[0] - paper.entropy(logits),
        "bnm": -paper.bnm(logits),
        "snd": paper.soft_neighborhood_density(logits),
    }
    for name, value in expected.items():
        assert validate(name, target_logits=logits) == pytest.approx(value, rel=1e-5), name
    labels = np.arange(len(logits)) % logits.shape[1]
    right = np.mean([row.tolist().index(max(row)) == k for row, k in zip(logits, labels, strict=True)])
    assert validate("source", source_val_logits=logits, source_val_labels=labels) == pytest.approx(right)


@pytest.mark.parametrize("rows", [20, 100, 400, 5000])
def test_validators_with_density_ratios(rows):
    rng = np.random.default_rng(rows)
    source, val = rng.normal(size=(rows, 4)), rng.normal(size=(rows // 2, 4))
    target = rng.normal(0.4, 1.2, size=(rows, 4))
    logits, labels = rng.normal(size=(rows // 2, 3)), rng.integers(0, 3, rows // 2)
    errors = (classes(logits) != labels).astype(float)
    weights = density_ratio(source, target, val)
    np.testing.assert_allclose(weights, paper.logistic_ratio(source, target, val), rtol=2e-3)
    seen = {
        "source_train_features": source, "source_val_features": val, "target_features": target,
        "source_val_logits": logits, "source_val_labels": labels,
    }  # fmt: skip
    dev = paper.deep_embedded_validation(weights, errors)
    assert deep_embedded_risk(weights, errors) == pytest.approx(dev, rel=1e-5)
    assert validate("dev", **seen) == pytest.approx(-dev, rel=1e-5)
    weighted_errors = sum(w * e for w, e in zip(weights, errors, strict=True)) / len(errors)
    assert importance_weighted_risk(weights, errors) == pytest.approx(weighted_errors, rel=1e-5)
    assert validate("importance_weighted", **seen) == pytest.approx(-weighted_errors, rel=1e-5)


def test_no_validator_is_left_out():
    assert set(VALIDATORS.names()) == {
        "source", "entropy", "information_maximization", "bnm", "snd", "importance_weighted", "dev",
    }  # fmt: skip
