"""Methods that minimise a distance between the features of the two domains."""

from tlkeras.methods.adapt import alignment
from tlkeras.methods.adapt.base import METHODS, Method

from keras import ops  # isort: skip


@METHODS.register("dan")
class DAN(Method):
    """Multi-kernel maximum mean discrepancy of the features (Long et al. 2015, eq. 2).

    Args:
        scales: Kernel precisions relative to 1 / (median squared distance within the source).
        linear: Whether the linear-time estimate is used.
    """

    gathers = True

    def __init__(self, scales=(0.25, 0.5, 1.0, 2.0, 4.0), linear: bool = False):
        super().__init__()
        self.scales, self.linear = tuple(scales), linear

    def loss(self, features):
        return alignment.mmd(*features, scales=self.scales, linear=self.linear)


@METHODS.register("jan")
class JAN(Method):
    """Joint discrepancy of features and predicted classes (Long et al. 2017, eq. 8).

    Args:
        scales: Kernel scales of the features. The predictions have one kernel.
        linear: Whether the linear-time estimate is used.
    """

    gathers, min_classes = True, 2

    def __init__(self, scales=(0.25, 0.5, 1.0, 2.0, 4.0), linear: bool = False):
        super().__init__()
        self.scales, self.linear = tuple(scales), linear

    def loss(self, features, logits):
        source, target = zip(features, map(ops.softmax, logits), strict=True)
        return alignment.joint_mmd(source, target, scales=[self.scales, (1.0,)], linear=self.linear)


@METHODS.register("deep_coral")
class DeepCORAL(Method):
    """Distance of covariances (Sun & Saenko 2016, eq. 1).

    Args:
        on: Outputs that are compared: `logits` as in the paper, or `features`.
    """

    gathers = True

    def __init__(self, on: str = "features"):
        super().__init__()
        if on not in ("features", "logits"):
            raise ValueError(f"on must be 'features' or 'logits', not {on!r}")
        self.on = on

    def loss(self, features, logits):
        return alignment.coral(*(features if self.on == "features" else logits))


@METHODS.register("mean_distance")
class MeanDistance(Method):
    """Euclidean distance between the means of the domains (Tzeng et al. 2014, eq. 1)."""

    gathers = True

    def loss(self, features):
        return alignment.mean_distance(*features)


@METHODS.register("afn")
class AFN(Method):
    """Stepwise adaptive feature norm of both domains (Xu et al. 2019, eq. 5).

    Args:
        step: Amount by which the norm of each row should grow.
    """

    def __init__(self, step: float = 1.0):
        super().__init__()
        self.step = step

    def loss(self, features):
        return sum(alignment.afn(x, self.step) for x in features)


@METHODS.register("none")
class NoAlignment(Method):
    """No alignment (D = 0): training on the concatenated batch alone, for comparison with other methods."""

    def loss(self, features):
        return ops.zeros(())
