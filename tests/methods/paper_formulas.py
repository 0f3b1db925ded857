"""The losses as their papers write them, in plain NumPy and float64, apart from how tlkeras computes them.

Each takes the arrays of its loss. What a paper holds constant (the width of a kernel, the entropy weights)
comes from `at`, the same arrays before they were moved; without it, from the arrays themselves.
"""

import numpy as np
from scipy.spatial.distance import cdist


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def entropies(p):
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1)


def coral(source, target):  # Sun & Saenko 2016, eq. 1-3, with their covariances
    def covariance(x):
        n, ones = len(x), np.ones((1, len(x)))
        return (x.T @ x - (ones @ x).T @ (ones @ x) / n) / (n - 1)

    return np.linalg.norm(covariance(source) - covariance(target), "fro") ** 2 / (4 * source.shape[1] ** 2)


def mean_distance(source, target):  # Tzeng et al. 2014, eq. 1
    return np.linalg.norm(source.sum(axis=0) / len(source) - target.sum(axis=0) / len(target))


def _kernel(left, right, width, scales):
    return np.mean([np.exp(-s * cdist(left, right, "sqeuclidean") / width) for s in scales], axis=0)


def _width(source):
    return np.sort(cdist(source, source, "sqeuclidean"), axis=None)[(len(source) ** 2 - 1) // 2]


def joint_mmd(sources, targets, scales, linear=False, at=None):  # Gretton 2012, eq. 3; Long 2017, eq. 8
    widths = [_width(s) for s in (at or (sources,))[0]]
    layers = list(zip(sources, targets, widths, scales, strict=True))
    product = lambda pick: np.prod([_kernel(*pick(s, t), w, k) for s, t, w, k in layers], axis=0)  # noqa: E731
    ss, tt, st = (product(p) for p in (lambda s, t: (s, s), lambda s, t: (t, t), lambda s, t: (s, t)))
    n, m = ss.shape[0], tt.shape[0]
    if linear:  # Gretton 2012, section 6: h((x1, y1), (x2, y2)) over disjoint pairs
        pairs = [(i, i + 1) for i in range(0, n - 1, 2)]
        return np.mean([ss[i, j] + tt[i, j] - st[i, j] - st[j, i] for i, j in pairs])
    within = (ss.sum() - np.trace(ss)) / (n * (n - 1)) + (tt.sum() - np.trace(tt)) / (m * (m - 1))
    return within - 2 * st.sum() / (n * m)


def mmd(source, target, scales=(1.0,), linear=False, at=None):
    return joint_mmd([source], [target], [scales], linear, at=None if at is None else ([at[0]],))


def entropy(logits):
    return entropies(softmax(logits)).mean()


def mcc(logits, temperature=2.5, at=None):  # Jin et al. 2020, eq. 4-7
    y = softmax(logits / temperature)
    certainty = 1 + np.exp(-entropies(softmax((logits if at is None else at[0]) / temperature)))
    w = np.diag(len(y) * certainty / certainty.sum())
    c = y.T @ w @ y
    c = c / c.sum(axis=1, keepdims=True)
    return sum(c[j, k] for j in range(len(c)) for k in range(len(c)) if j != k) / len(c)


def bnm(logits):  # Cui et al. 2020, eq. 11
    return -np.linalg.svd(softmax(logits), compute_uv=False).sum() / len(logits)


def mcd(left, right):  # Saito et al. 2018, eq. 2, averaged over rows
    return np.mean([np.abs(p - q).sum() / len(p) for p, q in zip(softmax(left), softmax(right), strict=True)])


def _log_rest(logits, chosen):
    """log(1 - p) of each row's chosen class, as the log of the share of all others."""
    rest = np.array([np.delete(row, k) for row, k in zip(logits, chosen, strict=True)])
    log_sum = lambda x: x.max(axis=1) + np.log(np.exp(x - x.max(axis=1, keepdims=True)).sum(axis=1))  # noqa: E731
    return log_sum(rest) - log_sum(logits)


def mdd(source, target, source_classes, target_classes, margin=4.0):  # Zhang et al. 2019, eq. 27-30
    sure = np.log(softmax(source))[np.arange(len(source)), source_classes]
    return -margin * sure.mean() - _log_rest(target, target_classes).mean()


def afn(features, step=1.0, at=None):  # Xu et al. 2019, eq. 5
    before = np.linalg.norm(features if at is None else at[0], axis=1)
    return np.mean((before + step - np.linalg.norm(features, axis=1)) ** 2)


def wasserstein(source, target):  # Shen et al. 2018, eq. 3
    return source.sum() / len(source) - target.sum() / len(target)


def gradient_penalty(gradients):  # Gulrajani et al. 2017, eq. 3
    return np.mean((np.linalg.norm(gradients, axis=1) - 1) ** 2)


def domain_cross_entropy(source, target, weights=None):  # Ganin et al. 2016, eq. 9, over all rows
    sigmoid = lambda x: 1 / (1 + np.exp(-x[:, 0]))  # noqa: E731
    left, right = (np.ones(len(source)), np.ones(len(target))) if weights is None else weights
    losses = [*(-left * np.log(sigmoid(source))), *(-right * np.log(1 - sigmoid(target)))]
    return np.mean(losses)


def adamatch(source, target, strong, threshold=0.9, at=None):  # Berthelot et al. 2022, section 3
    source, target = (source, target) if at is None else at[:2]
    p, q = softmax(source), softmax(target)
    aligned = q * p.mean(axis=0) / q.mean(axis=0)
    aligned /= aligned.sum(axis=1, keepdims=True)
    mask = aligned.max(axis=1) >= threshold * p.max(axis=1).mean()
    return np.mean(mask * -(aligned * np.log(softmax(strong))).sum(axis=1))


def soft_neighborhood_density(logits, temperature=0.05):  # Saito et al. 2021, eq. 2-4
    p = softmax(logits)
    unit, found = p / np.sqrt((p**2).sum(axis=1, keepdims=True)), []
    for i in range(len(p)):
        others = np.delete(unit, i, axis=0) @ unit[i]
        found.append(entropies(softmax(others / temperature)[None])[0])
    return np.mean(found)


def deep_embedded_validation(weights, errors):  # You et al. 2019, algorithm 1
    loss = weights * errors
    covariance = ((loss - loss.mean()) * (weights - weights.mean())).sum() / (len(loss) - 1)
    eta = -covariance / (((weights - weights.mean()) ** 2).sum() / (len(loss) - 1))
    return loss.mean() + eta * weights.mean() - eta


def logistic_ratio(source, target, at):
    """n_s / n_t times the odds of a logistic regression with half the squared weights added, by Newton."""
    rows = np.concatenate([source, target])
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    x = np.c_[(rows - centre) / spread, np.ones(len(rows))]
    y, w = np.r_[np.zeros(len(source)), np.ones(len(target))], np.zeros(x.shape[1])
    decay = np.r_[np.ones(x.shape[1] - 1), 0]
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ w))
        hessian = x.T @ (x * (p * (1 - p))[:, None]) + np.diag(decay)
        w -= np.linalg.solve(hessian, x.T @ (p - y) + decay * w)
    return np.exp(np.c_[(at - centre) / spread, np.ones(len(at))] @ w) * len(source) / len(target)
