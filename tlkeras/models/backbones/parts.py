"""What the families of backbones share that are built here."""

from tlkeras.lazy import LateModule

keras, layers = LateModule("keras"), LateModule("keras.layers")


def small_normal():
    """Returns the initializer of transformers: a normal distribution of deviation .02, cut at .04."""
    return keras.initializers.TruncatedNormal(stddev=0.02)


def drop_path(x, last_rate: float, index: int, count: int, name: str):
    """Returns a branch that is left out at random while training (Huang et al. 2016, "Deep Networks with
    Stochastic Depth", section 3).

    Args:
        x: Symbolic output of the branch, `(batch, ...)`. It is left out for whole examples.
        last_rate: Probability of the last block. That of the first one is 0.
        index: Index of the block.
        count: Number of blocks.
        name: Name of the layer. There is none if the probability is 0.
    """
    rate = last_rate * index / max(count - 1, 1)
    if not rate:
        return x
    return layers.Dropout(rate, noise_shape=(None, *[1] * (len(x.shape) - 1)), name=name)(x)
