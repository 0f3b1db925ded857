"""Distances between two batches of features, and losses on unlabelled predictions.

They are pure functions of `keras.ops` and keep the dtype of their inputs, float32 or float64. Features are
`(n, d)`, and losses on predictions take logits `(n, classes)`. If nothing else is stated, they return a
scalar.
"""

from collections.abc import Sequence

from keras import ops

TINY = 1e-7


def _rows(x):
    """Returns the number of rows in the dtype of `x`, from the static or the dynamic shape."""
    return ops.cast(ops.shape(x)[0], x.dtype)


def coral(source, target):
    """Squared Frobenius distance of the covariances over `4 d^2` (Sun & Saenko 2016, eq. 1).

    Args:
        source: Features of the source rows, float `(n, d)`.
        target: Features of the target rows, float `(m, d)`.

    Returns:
        Loss, a scalar of at least 0.
    """
    size = source.shape[-1]
    return ops.sum(ops.square(_covariance(source) - _covariance(target))) / (4 * size * size)


def _covariance(features):
    centred = features - ops.mean(features, axis=0, keepdims=True)
    return ops.matmul(ops.transpose(centred), centred) / (_rows(features) - 1)


def mean_distance(source, target):
    """Euclidean distance between the means of the two domains, `sqrt(sum (m_s - m_t)^2)`.

    Args:
        source: Features of the source rows, float `(n, d)`.
        target: Features of the target rows, float `(m, d)`.

    Returns:
        Distance, a scalar of at least 0.
    """
    gap = ops.mean(source, axis=0) - ops.mean(target, axis=0)
    # the constant avoids the infinite gradient of the square root at 0
    return ops.sqrt(ops.sum(ops.square(gap)) + 1e-12)


def squared_distances(left, right):
    """Returns the squared Euclidean distances `(n, m)` between the rows of `left` and `right`."""
    products = ops.matmul(left, ops.transpose(right))
    norms = ops.sum(left * left, axis=1)[:, None] + ops.sum(right * right, axis=1)[None, :]
    return ops.maximum(norms - 2 * products, 0)


def _median(values):
    """Returns the lower median without a gradient. It defines the width of a kernel."""
    flat = ops.sort(ops.reshape(ops.stop_gradient(values), (-1,)))
    return ops.maximum(flat[(ops.shape(flat)[0] - 1) // 2], TINY)


def _kernels(source, target, scales: Sequence[float]):
    """Returns the mean Gaussian kernels within the source, within the target and between them."""
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
        source: Features of the source rows, float `(n, d)` with n of at least 2.
        target: Features of the target rows, float `(m, d)` with m of at least 2.
        scales: Factors above 0 of the precision of each kernel, which is 1 / (median squared distance within
            the source). The kernels are averaged.
        linear: Whether the estimate uses n / 2 disjoint pairs, which requires `n == m`. Its
            variance is larger.

    Returns:
        Squared distance, a scalar in -2..2. It may be negative because the estimate is unbiased.
    """
    return joint_mmd([source], [target], scales=[scales], linear=linear)


def joint_mmd(sources, targets, *, scales: Sequence[Sequence[float]] | None = None, linear: bool = False):
    """MMD of the product of kernels over several layers (Long et al. 2017, eq. 8).

    Args:
        sources: Outputs of the source rows, one float `(n, d)` per layer, e.g. features and class
            probabilities. The layers may have different widths d.
        targets: Outputs of the target rows, one float `(m, d)` per layer.
        scales: Kernel scales above 0, one sequence per layer, by default `(1.0,)` for each; see `mmd`.
        linear: Whether the estimate uses disjoint pairs; see `mmd`.

    Returns:
        Squared distance, a scalar in -2..2. It may be negative because the estimate is unbiased.

    Raises:
        ValueError: `sources`, `targets` and `scales` differ in length.
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
    """Returns the kernel entries of the rows (0, 2, ..) and the columns (1, 3, ..), or transposed."""
    entries = ops.diagonal(kernel, offset=1) if column else ops.diagonal(kernel, offset=-1)
    return entries[::2]


def _mean_off_diagonal(kernel):
    size = _rows(kernel)
    return (ops.sum(kernel) - ops.sum(ops.diagonal(kernel))) / (size * (size - 1))


def entropy_per_row(logits):
    """Returns the Shannon entropy of each row's prediction in nats, `(n,)`."""
    return -ops.sum(ops.softmax(logits) * ops.log_softmax(logits), axis=-1)


def entropy(logits):
    """Mean entropy of the predictions (Grandvalet & Bengio 2004).

    Args:
        logits: Logits of target rows, float `(n, k)`.

    Returns:
        Mean entropy in nats, a scalar in 0..log(k).
    """
    return ops.mean(entropy_per_row(logits))


def mcc(logits, temperature: float = 2.5):
    """Minimum class confusion (Jin et al. 2020, eq. 5-7).

    The entropy weights of the rows are constants without a gradient. The paper does not mention this, but the
    authors' code does it.

    Args:
        logits: Logits of target rows, float `(n, k)`.
        temperature: Divisor of the logits, above 0; 2.5 in the paper.

    Returns:
        Loss, a scalar in 0..1: the share of the confusion between different classes.
    """
    logits = logits / temperature
    probabilities = ops.softmax(logits)
    weights = 1 + ops.exp(-entropy_per_row(logits))
    weights = ops.stop_gradient(weights / ops.mean(weights))
    confusion = ops.matmul(ops.transpose(probabilities * weights[:, None]), probabilities)
    confusion = confusion / ops.sum(confusion, axis=1, keepdims=True)
    return (ops.sum(confusion) - ops.sum(ops.diagonal(confusion))) / logits.shape[-1]


def bnm(logits):
    """Batch nuclear-norm maximisation, `-||softmax||_* / n` (Cui et al. 2020, eq. 11).

    Args:
        logits: Logits of target rows, float `(n, k)`.

    Returns:
        Loss, a scalar in -1..0. It is small if predictions are certain and differ between the rows.
    """
    # the gradient of the nuclear norm ||P||_* is U V^T, which is computed as a constant
    probabilities = ops.softmax(logits)
    left, _, right = ops.svd(ops.stop_gradient(probabilities), full_matrices=False)
    return -ops.sum(probabilities * ops.matmul(left, right)) / _rows(logits)


def mcd(logits, other_logits):
    """Mean absolute difference of two classifiers' probabilities (Saito et al. 2018, eq. 2).

    Args:
        logits: Logits of the first classifier, float `(n, k)`.
        other_logits: Logits of the second classifier for the same rows, float `(n, k)`.

    Returns:
        Discrepancy, a scalar in 0..1.
    """
    return ops.mean(ops.abs(ops.softmax(logits) - ops.softmax(other_logits)))


def mdd(source_logits, source_classes, target_logits, target_classes, margin: float = 4.0):
    """Margin disparity discrepancy as the adversarial classifier minimises it (Zhang et al. 2019, eq. 27-30).

    It is `margin * CE(source) - mean log(1 - p(target))` for the classes that the main classifier predicts.
    The features are trained to maximise it.

    Args:
        source_logits: Logits of the adversarial classifier for the source, float `(n, k)`.
        source_classes: Predictions of the main classifier for the source, one-hot float `(n, k)`.
        target_logits: Logits of the adversarial classifier for the target, float `(m, k)`.
        target_classes: Predictions of the main classifier for the target, one-hot float `(m, k)`.
        margin: Margin exp(rho) of the paper, above 0. It weighs the source against the target.

    Returns:
        Loss, a scalar of at least 0.
    """
    agree = -ops.mean(ops.sum(ops.log_softmax(source_logits) * source_classes, axis=-1))
    # log(1 - p) is computed as the log of the share of the other classes, as 1 - p may be 0 in float32
    others = ops.where(target_classes > 0, -1e30, target_logits)
    disagree = ops.logsumexp(target_logits, axis=-1) - ops.logsumexp(others, axis=-1)
    return margin * agree + ops.mean(disagree)


def afn(features, step: float = 1.0):
    """Stepwise adaptive feature norm: the norm of each row should grow by `step` (Xu et al. 2019, eq. 5).

    Args:
        features: Features of the rows of either domain, float `(n, d)`.
        step: Growth of the norm per training step, above 0, in units of the features.

    Returns:
        Loss, a scalar. Its value is always `step ** 2`; only its gradient matters.
    """
    norms = ops.sqrt(ops.sum(ops.square(features), axis=1) + 1e-12)
    return ops.mean(ops.square(norms - (ops.stop_gradient(norms) + step)))


def wasserstein(source_values, target_values):
    """Difference of a critic's means, an estimate of the Wasserstein-1 distance (Shen et al. 2018, alg. 1).

    Args:
        source_values: Outputs of the critic for source rows, float `(n, 1)`.
        target_values: Outputs of the critic for target rows, float `(m, 1)`.

    Returns:
        Difference of the means, a scalar of either sign. The critic maximises it, and the features minimise
        it.
    """
    return ops.mean(source_values) - ops.mean(target_values)


def gradient_penalty(gradients):
    """Mean squared deviation of a critic's gradient norms from 1 (Gulrajani et al. 2017, eq. 3).

    Args:
        gradients: Gradients of the critic with respect to its inputs, which lie between the domains, float
            `(n, d)`.

    Returns:
        Penalty, a scalar of at least 0. The paper multiplies it by 10.
    """
    return ops.mean(ops.square(ops.sqrt(ops.sum(ops.square(gradients), axis=1) + 1e-12) - 1))


def domain_cross_entropy(source_logits, target_logits, weights=None):
    """Binary cross-entropy of a domain classifier, source 1 and target 0, from logits.

    The loss is the mean over all rows, which is half the sum of the means of both domains. Some
    implementations use the sum, so that their weight 1 equals weight 2 here.

    Args:
        source_logits: Logits of the source rows, float `(n, 1)`.
        target_logits: Logits of the target rows, float `(m, 1)`.
        weights: Two arrays of row weights, float `(n,)` and `(m,)`, each with mean 1; or None for equal
            weights.

    Returns:
        Loss in nats, a scalar of at least 0. It is log(2) if all logits are 0.
    """
    source_loss = ops.softplus(-source_logits[:, 0])
    target_loss = ops.softplus(target_logits[:, 0])
    if weights is not None:
        source_loss, target_loss = source_loss * weights[0], target_loss * weights[1]
    rows = _rows(source_loss) + _rows(target_loss)
    return (ops.sum(source_loss) + ops.sum(target_loss)) / rows
