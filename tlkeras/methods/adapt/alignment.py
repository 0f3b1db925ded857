"""Distances between two batches of features, and losses on unlabelled predictions.

Pure functions on `keras.ops`, in float32 or float64 as they are called. Features are `(n, d)`; losses
on predictions take logits `(n, classes)`. Each returns a scalar.
"""

from collections.abc import Sequence

from keras import ops

TINY = 1e-7


def _rows(x):
    """Returns the number of rows in the type of `x`, known before the run or not."""
    return ops.cast(ops.shape(x)[0], x.dtype)


def coral(source, target):
    """Squared Frobenius distance of the covariances over `4 d^2` (Sun & Saenko 2016, eq. 1)."""
    size = source.shape[-1]
    return ops.sum(ops.square(_covariance(source) - _covariance(target))) / (4 * size * size)


def _covariance(features):
    centred = features - ops.mean(features, axis=0, keepdims=True)
    return ops.matmul(ops.transpose(centred), centred) / (_rows(features) - 1)


def mean_distance(source, target):
    """Euclidean distance between the means of the two domains, `sqrt(sum (m_s - m_t)^2)`."""
    gap = ops.mean(source, axis=0) - ops.mean(target, axis=0)
    # the square root has no slope at 0
    return ops.sqrt(ops.sum(ops.square(gap)) + 1e-12)


def squared_distances(left, right):
    """Returns `(n, m)` squared Euclidean distances between the rows of `left` and `right`."""
    products = ops.matmul(left, ops.transpose(right))
    norms = ops.sum(left * left, axis=1)[:, None] + ops.sum(right * right, axis=1)[None, :]
    return ops.maximum(norms - 2 * products, 0)


def _median(values):
    """Returns the lower median, without a gradient: it sets the width of a kernel."""
    flat = ops.sort(ops.reshape(ops.stop_gradient(values), (-1,)))
    return ops.maximum(flat[(ops.shape(flat)[0] - 1) // 2], TINY)


def _kernels(source, target, scales: Sequence[float]):
    """Returns the mean of Gaussian kernels within source, within target and between the two."""
    within_source = squared_distances(source, source)
    within_target = squared_distances(target, target)
    between = squared_distances(source, target)
    width = _median(within_source)
    return tuple(
        sum(ops.exp(-distances * (scale / width)) for scale in scales) / len(scales)
        for distances in (within_source, within_target, between)
    )


def mmd(source, target, *, scales: Sequence[float] = (1.0,), linear: bool = False):
    """Squared maximum mean discrepancy, unbiased (Gretton et al. 2012, lemma 6; Long et al. 2015).

    Args:
        source: `(n, d)`; target: `(m, d)`.
        scales: Factors of the kernels' precision 1 / (median squared distance within source).
        linear: Whether to take the estimate from n / 2 disjoint pairs, which wants `n == m`.

    Returns:
        A scalar that may be negative, as unbiased estimates are.
    """
    return joint_mmd([source], [target], scales=[scales], linear=linear)


def joint_mmd(sources, targets, *, scales=None, linear: bool = False):
    """MMD of the product of kernels over several layers (Long et al. 2017, eq. 8).

    Args:
        sources: One `(n, d)` per layer, e.g. features and class probabilities.
        targets: One `(m, d)` per layer.
        scales: One sequence of kernel scales per layer; all `(1.0,)` by default.
        linear: As in `mmd`.
    """
    scales = scales or [(1.0,)] * len(sources)
    within_source = within_target = between = 1.0
    for source, target, layer_scales in zip(sources, targets, scales, strict=True):
        kernels = _kernels(source, target, layer_scales)
        within_source, within_target = within_source * kernels[0], within_target * kernels[1]
        between = between * kernels[2]
    if linear:
        pairs = [
            _beside(within_source, 1),
            _beside(within_target, 1),
            -_beside(between, 1),
            -_beside(between, 0),
        ]
        return ops.mean(sum(pairs))
    return _mean_off_diagonal(within_source) + _mean_off_diagonal(within_target) - 2 * ops.mean(between)


def _beside(kernel, column: int):
    """Returns the kernel's entries at rows (0, 2, ..) with columns (1, 3, ..), or the transposed."""
    entries = ops.diagonal(kernel, offset=1) if column else ops.diagonal(kernel, offset=-1)
    return entries[::2]


def _mean_off_diagonal(kernel):
    size = _rows(kernel)
    return (ops.sum(kernel) - ops.sum(ops.diagonal(kernel))) / (size * (size - 1))


def entropy_per_row(logits):
    """Shannon entropy of each row's prediction in nats, `(n,)`."""
    return -ops.sum(ops.softmax(logits) * ops.log_softmax(logits), axis=-1)


def entropy(logits):
    """Mean entropy of the predictions (Grandvalet & Bengio 2004); low where they are sure."""
    return ops.mean(entropy_per_row(logits))


def mcc(logits, temperature: float = 2.5):
    """Minimum class confusion (Jin et al. 2020, eq. 5-7).

    The entropy weights say how much each row counts and are constants: the paper does not say so, the
    authors' code does.

    Args:
        logits: Of the target, `(n, classes)`.
        temperature: Divides the logits; 2.5 in the paper.
    """
    logits = logits / temperature
    probabilities = ops.softmax(logits)
    weights = 1 + ops.exp(-entropy_per_row(logits))
    weights = ops.stop_gradient(weights / ops.mean(weights))
    confusion = ops.matmul(ops.transpose(probabilities * weights[:, None]), probabilities)
    confusion = confusion / ops.sum(confusion, axis=1, keepdims=True)
    return (ops.sum(confusion) - ops.sum(ops.diagonal(confusion))) / logits.shape[-1]


def bnm(logits):
    """Batch nuclear-norm maximisation, `-||softmax||_* / n` (Cui et al. 2020, eq. 11)."""
    # the nuclear norm through its polar factor: the gradient of ||P||_* is U V^T, taken as constant
    probabilities = ops.softmax(logits)
    left, _, right = ops.svd(ops.stop_gradient(probabilities), full_matrices=False)
    return -ops.sum(probabilities * ops.matmul(left, right)) / _rows(logits)


def mcd(logits, other_logits):
    """Mean absolute difference of two classifiers' probabilities (Saito et al. 2018, eq. 2)."""
    return ops.mean(ops.abs(ops.softmax(logits) - ops.softmax(other_logits)))


def mdd(source_logits, source_classes, target_logits, target_classes, margin: float = 4.0):
    """Margin disparity discrepancy as the adversarial classifier minimises it (Zhang et al. 2019).

    `margin * CE(source) - mean log(1 - p(target))`, where the classes are what the main classifier
    predicts; the features are to maximise it.

    Args:
        source_logits: Of the adversarial classifier, `(n, classes)`; target_logits likewise.
        source_classes: One-hot predictions of the main classifier; target_classes likewise.
        margin: exp of the paper's rho.
    """
    agree = -ops.mean(ops.sum(ops.log_softmax(source_logits) * source_classes, axis=-1))
    # log(1 - p) as the log of the other classes' share: 1 - p is 0 in float32 once the two agree surely
    others = ops.where(target_classes > 0, -1e30, target_logits)
    disagree = ops.logsumexp(target_logits, axis=-1) - ops.logsumexp(others, axis=-1)
    return margin * agree + ops.mean(disagree)


def afn(features, step: float = 1.0):
    """Stepwise adaptive feature norm: each row's norm is to grow by `step` (Xu et al. 2019, eq. 5)."""
    norms = ops.sqrt(ops.sum(ops.square(features), axis=1) + 1e-12)
    return ops.mean(ops.square(norms - (ops.stop_gradient(norms) + step)))


def wasserstein(source_values, target_values):
    """Difference of a critic's means, which estimates the Wasserstein-1 distance (Shen et al. 2018)."""
    return ops.mean(source_values) - ops.mean(target_values)


def gradient_penalty(gradients):
    """Mean squared deviation of a critic's gradient norms from 1 (Gulrajani et al. 2017, eq. 3).

    Args:
        gradients: Of the critic by its input at points between the domains, `(n, d)`.
    """
    return ops.mean(ops.square(ops.sqrt(ops.sum(ops.square(gradients), axis=1) + 1e-12) - 1))


def domain_cross_entropy(source_logits, target_logits, weights=None):
    """Binary cross-entropy of a domain classifier, source 1 and target 0, from logits.

    The loss scale: the average over all 2N rows, which is half the sum of the two domains' means
    (some implementations take the sum; their weight 1 is weight 2 here).

    Args:
        source_logits: `(n, 1)`; target_logits: `(m, 1)`.
        weights: None, or a pair of row weights `(n,)` and `(m,)` with mean 1.
    """
    source_loss = ops.softplus(-source_logits[:, 0])
    target_loss = ops.softplus(target_logits[:, 0])
    if weights is not None:
        source_loss, target_loss = source_loss * weights[0], target_loss * weights[1]
    rows = _rows(source_loss) + _rows(target_loss)
    return (ops.sum(source_loss) + ops.sum(target_loss)) / rows
