"""Methods that use the predictions for the target."""

from keras import ops

from tlkeras.data import random_streams
from tlkeras.methods.adapt import alignment
from tlkeras.methods.adapt.base import METHODS, Method, split_rows
from tlkeras.methods.adapt.class_histogram import one_hot_labels


@METHODS.register("mcc")
class MCC(Method):
    """Minimum class confusion (Jin et al. 2020, eq. 7).

    Args:
        temperature: Divisor of the target's logits.
    """

    gathers, min_classes = True, 2

    def __init__(self, temperature: float = 2.5):
        super().__init__()
        self.temperature = temperature

    def loss(self, logits):
        return alignment.mcc(logits.target, self.temperature)


@METHODS.register("bnm")
class BNM(Method):
    """Batch nuclear-norm maximisation (Cui et al. 2020, eq. 11)."""

    gathers, min_classes = True, 2

    def loss(self, logits):
        return alignment.bnm(logits.target)


@METHODS.register("mcd")
class MCD(Method):
    """Maximum classifier discrepancy (Saito et al. 2018, eq. 5-8), in one step by reversal.

    Two extra classifiers are trained to predict the source labels and to disagree on the target. The
    features, before a reversal layer, are trained to make them agree. The saved classifier is trained
    separately.

    Args:
        units: Widths of the hidden layers of the extra classifiers.
    """

    min_classes = 2

    def __init__(self, units=()):
        super().__init__()
        self.units = tuple(units)

    def make_heads(self, features, classes):
        self.classes = classes
        self.reverse()
        self.first = self.head(features, self.units, classes, "first_classifier")
        # the two classifiers must have different initial weights
        self.seed += random_streams.SECOND_CLASSIFIER
        self.second = self.head(features, self.units, classes, "second_classifier")

    def loss(self, features, labels):
        truth, reversed_target = one_hot_labels(labels, self.classes), self.reversal(features.target)
        discrepancy = alignment.mcd(self.first(reversed_target), self.second(reversed_target))
        classified = sum(
            ops.mean(ops.categorical_crossentropy(truth, head(features.source), from_logits=True))
            for head in (self.first, self.second)
        )
        return classified - discrepancy


@METHODS.register("mdd")
class MDD(Method):
    """Margin disparity discrepancy (Zhang et al. 2019, eq. 27-30).

    Args:
        units: Widths of the hidden layers of the adversarial classifier.
        margin: Margin exp(rho), 2 to 4 in the paper.
    """

    min_classes = 2

    def __init__(self, units=(1024,), margin: float = 4.0):
        super().__init__()
        self.units, self.margin = tuple(units), margin

    def make_heads(self, features, classes):
        self.classes = classes
        self.reverse()
        self.adversary = self.head(features, self.units, classes, "adversary")

    def loss(self, features, logits):
        answers = self.adversary(self.reversal(ops.concatenate(features)))
        source, target = split_rows(answers, features)
        classes = [ops.one_hot(ops.argmax(x, axis=-1), self.classes) for x in logits]
        return alignment.mdd(source, classes[0], target, classes[1], self.margin)


@METHODS.register("adamatch")
class AdaMatch(Method):
    """Self-training on a second, stronger view of the target (Berthelot et al. 2022, section 3).

    Pseudo-labels are the predictions on the first view, aligned to the class distribution of the source. They
    are used if their confidence exceeds `threshold` times the mean confidence on the source. The strength is
    the warm-up of the paper. Random logit interpolation is left out.

    Args:
        threshold: Threshold tau of the paper.
    """

    gathers, min_classes = True, 2

    def __init__(self, threshold: float = 0.9):
        super().__init__()
        self.threshold = threshold

    def loss(self, logits, strong_logits):
        source, target = (ops.stop_gradient(ops.softmax(x)) for x in logits)
        aligned = target * (ops.mean(source, axis=0) / (ops.mean(target, axis=0) + 1e-6))
        aligned = aligned / ops.sum(aligned, axis=1, keepdims=True)
        cutoff = self.threshold * ops.mean(ops.max(source, axis=1))
        sure = ops.cast(ops.max(aligned, axis=1) >= cutoff, "float32")
        losses = ops.categorical_crossentropy(aligned, strong_logits, from_logits=True)
        return ops.mean(losses * sure)
