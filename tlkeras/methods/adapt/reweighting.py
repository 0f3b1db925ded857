"""Importance weights: source rows that look like target rows count more in the class loss.

The weights estimate `p_target(x) / p_source(x)` (Shimodaira 2000). They correct a covariate shift, in which
the inputs of the domains differ but `p(y | x)` is the same. They cannot help where domains do not overlap.
"""

import numpy as np

from tlkeras.lazy import LateModule
from tlkeras.methods.adapt.base import METHODS, Method
from tlkeras.methods.probe.feature_mapping import of_two_domains

scipy = LateModule("scipy")
sklearn = LateModule("sklearn")

_MOST_ROWS = 2000  # rows of one quadratic program, whose time grows with their cube


def domain_odds(source, target, *, penalty: float = 1.0, folds: int = 5, seed: int = 0) -> np.ndarray:
    """Odds of a logistic regression between the domains as weights (Bickel et al. 2009).

    Args:
        source: Features of the source rows, float `(n, d)` with n of at least 2, best standardised.
        target: Features of the target rows, float `(m, d)` with m of at least 2.
        penalty: Strength of the L2 penalty, above 0: the inverse of scikit-learn's `C`.
        folds: Number of folds, at most the rows of the smaller domain. Each row is weighted by a classifier
            that has not seen it. 1 uses one classifier of all rows, whose odds are too extreme if there are
            many features.
        seed: Seed of the folds.

    Returns:
        Weights of the source rows, float64 `(n,)`, above 0. Their mean is near 1.

    Raises:
        UserError: The features have other shapes, or a domain has fewer than two rows.
    """
    source, target = of_two_domains(source, target)
    rows = np.concatenate([source, target])
    is_target = np.repeat([0, 1], [len(source), len(target)])
    classifier = sklearn.linear_model.LogisticRegression(C=1 / penalty, max_iter=1000)
    if folds > 1:
        parts = sklearn.model_selection.StratifiedKFold(folds, shuffle=True, random_state=seed)
        odds = sklearn.model_selection.cross_val_predict(
            classifier, rows, is_target, cv=parts, method="decision_function"
        )[: len(source)]
    else:
        odds = classifier.fit(rows, is_target).decision_function(source)
    return np.exp(np.clip(odds, -50, 50)) * len(source) / len(target)


def kliep(source, target, *, gamma: float | None = None, centers: int = 100, seed: int = 0) -> np.ndarray:
    """Weights by the Kullback-Leibler importance estimation procedure (Sugiyama et al. 2008, eq. 9).

    The weight of a row is a sum of Gaussian kernels at target rows. The coefficients maximise the likelihood
    of the target, and the mean weight is 1.

    Args:
        source: Features of the source rows, float `(n, d)` with n of at least 2, best standardised.
        target: Features of the target rows, float `(m, d)` with m of at least 2.
        gamma: Factor above 0 of the squared distance in the kernel. None chooses it by the likelihood of
            held-out target rows (section 2.3), from multiples of the inverse of the median squared distance.
        centers: Largest number of target rows that are centres of kernels.
        seed: Seed of the choice of centres and of the folds.

    Returns:
        Weights of the source rows, float64 `(n,)`, at least 0 with mean 1.

    Raises:
        UserError: The features have other shapes, or a domain has fewer than two rows.
    """
    source, target = of_two_domains(source, target)
    target = target[np.random.default_rng(seed).permutation(len(target))]
    if gamma is None:
        gammas = np.geomspace(0.03, 30, 7) / _median_distance(source, target)
        gamma = float(max(gammas, key=lambda one: _held_out_likelihood(source, target, one, centers)))
    chosen = target[:centers]
    return _kernel(source, chosen, gamma) @ _coefficients(source, target, chosen, gamma)


def _coefficients(source, target, centers, gamma: float, steps: int = 5000) -> np.ndarray:
    """Returns the coefficients `(centers,)` of the kernels (Sugiyama et al. 2008, eq. 9).

    The problem is solved in its equivalent form without the equation: the maximum of
    `mean(log(A b)) - sum(b)` over `b >= 0` has `sum(b) = 1`.
    """
    means = _kernel(centers, source, gamma).mean(axis=1)
    used = means > 1e-12  # other centres lie where the source has no rows
    kernels = _kernel(target, centers, gamma)[:, used] / means[used]
    if not used.any():
        return np.zeros(len(centers))

    def objective(shares):
        values = kernels @ shares + 1e-300
        return shares.sum() - np.log(values).mean(), 1 - (kernels / values[:, None]).mean(axis=0)

    count = int(used.sum())
    found = scipy.optimize.minimize(
        objective, np.full(count, 1 / count), jac=True, bounds=[(0, None)] * count, method="L-BFGS-B",
        options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-15, "gtol": 1e-9},
    )  # fmt: skip
    coefficients = np.zeros(len(centers))
    coefficients[used] = found.x / found.x.sum() / means[used]
    return coefficients


def _held_out_likelihood(source, target, gamma: float, centers: int, folds: int = 5) -> float:
    """Returns the mean logarithm of the weights of target rows that were not used to find them."""
    likelihoods = []
    for part in np.array_split(np.arange(len(target)), min(folds, len(target))):
        others = np.delete(target, part, axis=0)
        coefficients = _coefficients(source, others, others[:centers], gamma, steps=100)
        values = _kernel(target[part], others[:centers], gamma) @ coefficients
        likelihoods.append(np.log(values + 1e-300).mean())
    return float(np.mean(likelihoods))


def kmm(
    source,
    target,
    *,
    gamma: float | None = None,
    bound: float = 1000.0,
    slack: float | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Weights by kernel mean matching (Huang et al. 2007, eq. 12).

    The weighted mean of the source in the feature space of a Gaussian kernel comes as close as possible to
    the mean of the target. More than 2000 source rows are divided at random into equal parts that
    are weighted separately, and as many target rows are drawn.

    Args:
        source: Features of the source rows, float `(n, d)` with n of at least 2, best standardised.
        target: Features of the target rows, float `(m, d)` with m of at least 2.
        gamma: Factor above 0 of the squared distance in the kernel. None uses the inverse of the median
            squared distance.
        bound: Largest weight B, above 0.
        slack: Largest distance epsilon of the mean weight from 1, at least 0. None uses `1 - 1 / sqrt(n)`.
        seed: Seed of the parts.

    Returns:
        Weights of the source rows, float64 `(n,)` in 0..bound.

    Raises:
        UserError: The features have other shapes, or a domain has fewer than two rows.
    """
    source, target = of_two_domains(source, target)
    gamma = 1 / _median_distance(source, target) if gamma is None else gamma
    rng = np.random.default_rng(seed)
    weights = np.zeros(len(source))
    parts = -(-len(source) // _MOST_ROWS)
    order = np.arange(len(source)) if parts == 1 else rng.permutation(len(source))
    seen = target if len(target) <= _MOST_ROWS else target[rng.permutation(len(target))[:_MOST_ROWS]]
    for part in np.array_split(order, parts):
        rows, count = source[part], len(part)
        pull = _kernel(rows, seen, gamma).mean(axis=1) * count
        epsilon = 1 - 1 / np.sqrt(count) if slack is None else slack
        weights[part] = _bounded_quadratic(_kernel(rows, rows, gamma), pull, bound, epsilon * count)
    return weights


def _bounded_quadratic(matrix, pull, bound: float, slack: float) -> np.ndarray:
    """Returns the smallest `w' matrix w / 2 - pull' w` for `0 <= w <= bound`, `|sum(w) - n| <= slack`.

    It is found by a primal-dual interior-point method with Mehrotra's corrector (Nocedal & Wright 2006,
    algorithm 16.4). The constraints are ordered: upper bounds, lower bounds, largest sum, smallest sum.
    """
    n = len(pull)
    outside = lambda w: np.concatenate([w, -w, [w.sum(), -w.sum()]])  # noqa: E731
    inside = lambda v: v[:n] - v[n : 2 * n] + v[2 * n] - v[2 * n + 1]  # noqa: E731
    limits = np.concatenate([np.full(n, bound), np.zeros(n), [n + slack, slack - n]])

    def step(complement, dual, primal, ratio, room, price, factor):
        shift = (price * primal - complement) / room
        move = scipy.linalg.cho_solve(factor, -dual - inside(shift), check_finite=False)
        return move, -primal - outside(move), shift + ratio * outside(move)

    w = np.ones(n)
    room = np.maximum(limits - outside(w), 1e-3)
    price = 1 / room
    for _ in range(200):
        dual = matrix @ w - pull + inside(price)
        primal = outside(w) + room - limits
        gap = room @ price / len(room)
        if gap < 1e-11 and np.abs(dual).max() < 1e-9 * n and np.abs(primal).max() < 1e-9 * n:
            break
        ratio = price / room
        system = matrix + (ratio[2 * n] + ratio[2 * n + 1])
        system[np.diag_indices(n)] += ratio[:n] + ratio[n : 2 * n]
        factor = scipy.linalg.cho_factor(system, check_finite=False)
        at = dual, primal, ratio, room, price, factor
        _, d_room, d_price = step(room * price, *at)
        length = min(_longest(room, d_room), _longest(price, d_price))
        ahead = (room + length * d_room) @ (price + length * d_price) / len(room)
        move, d_room, d_price = step(room * price + d_room * d_price - (ahead / gap) ** 3 * gap, *at)
        length = 0.99 * min(_longest(room, d_room), _longest(price, d_price))
        w, room, price = w + length * move, room + length * d_room, price + length * d_price
    return np.clip(w, 0, bound)


def _longest(values, change) -> float:
    """Returns the longest step, at most 1, after which no value is negative."""
    falling = change < 0
    return min(1.0, float((-values[falling] / change[falling]).min(initial=np.inf)))


def _kernel(left, right, gamma: float) -> np.ndarray:
    return sklearn.metrics.pairwise.rbf_kernel(left, right, gamma=gamma)


def _median_distance(source, target, most: int = 1000) -> float:
    """Returns the median squared distance between rows of both domains, of at most `most` rows of each."""
    rows = np.concatenate([x[:: -(-len(x) // most)] for x in (source, target)])
    distances = sklearn.metrics.pairwise.euclidean_distances(rows, squared=True)
    return max(float(np.median(distances[np.triu_indices(len(rows), 1)])), 1e-12)


class Reweighting(Method):
    """A method that weights the class loss of source rows and uses the target for nothing else.

    The weights are computed once, before the first step of a stage. With `adaptation.weight` below 1 they are
    flattened to `w ** weight` (Shimodaira 2000, section 5), and with 0 the stage is that of a source-only
    run.
    """

    acts_on_features = False

    @property
    def target_views(self) -> int:
        """Number of views of each target row in a step: none, because only the weights need the target."""
        return 0

    def weights(self, source, target, seed: int = 0) -> np.ndarray:
        """Returns weights with mean 1, float32 `(n,)`, from standardised features.

        Args:
            source: Features of the source, `(n, d)`.
            target: Features of the target, `(m, d)`.
            seed: Seed of random choices.
        """
        source, target = of_two_domains(source, target)
        both = np.concatenate([source, target])
        mean, deviation = both.mean(axis=0), both.std(axis=0)
        deviation[deviation < 1e-12] = 1
        found = self.estimate((source - mean) / deviation, (target - mean) / deviation, seed)
        found = np.maximum(found, 0) ** self.weight
        return (found / max(found.mean(), 1e-300)).astype(np.float32)

    def estimate(self, source, target, seed: int) -> np.ndarray:
        """Returns the importance weights `(n,)` of the method."""
        raise NotImplementedError

    def loss(self):
        """Returns None: nothing is added to the weighted class loss."""
        return

    def measure(self, value, class_loss, labels, logits) -> None:
        """Updates the class loss."""
        self.own.class_loss.update_state(class_loss)

    @property
    def metrics(self):
        """The weighted class loss."""
        return [self.own.class_loss]


@METHODS.register("domain_odds")
class DomainOdds(Reweighting):
    """Importance weights: the odds of a domain classifier (Bickel et al. 2009).

    Args:
        penalty: Strength of the classifier's L2 penalty.
        folds: Number of folds of the cross-fitting.
    """

    def __init__(self, penalty: float = 1.0, folds: int = 5):
        super().__init__()
        self.penalty, self.folds = float(penalty), int(folds)

    def estimate(self, source, target, seed):
        return domain_odds(source, target, penalty=self.penalty, folds=self.folds, seed=seed)


@METHODS.register("kliep")
class KLIEP(Reweighting):
    """Importance weights by the Kullback-Leibler procedure (Sugiyama et al. 2008).

    Args:
        gamma: Factor of the squared distance in the kernel, or None for a choice by held-out likelihood.
        centers: Largest number of kernels.
    """

    def __init__(self, gamma: float | None = None, centers: int = 100):
        super().__init__()
        self.gamma, self.centers = gamma, int(centers)

    def estimate(self, source, target, seed):
        return kliep(source, target, gamma=self.gamma, centers=self.centers, seed=seed)


@METHODS.register("kmm")
class KMM(Reweighting):
    """Importance weights by kernel mean matching (Huang et al. 2007).

    Args:
        gamma: Factor of the squared distance in the kernel, or None for the inverse of the median squared
            distance.
        bound: Largest weight before the mean is made 1.
    """

    def __init__(self, gamma: float | None = None, bound: float = 1000.0):
        super().__init__()
        self.gamma, self.bound = gamma, float(bound)

    def estimate(self, source, target, seed):
        return kmm(source, target, gamma=self.gamma, bound=self.bound, seed=seed)
