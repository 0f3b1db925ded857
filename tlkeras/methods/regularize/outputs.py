"""Losses on features and logits: BSS, Co-Tuning, knowledge distillation."""

from pathlib import Path

import keras
import numpy as np
from keras import ops

from tlkeras.data import evaluation_batches
from tlkeras.errors import UserError
from tlkeras.methods.regularize.base import REGULARIZERS, Regularizer
from tlkeras.methods.term import Setting
from tlkeras.models.cuts.graph import inputs_of, output_of
from tlkeras.models.probabilities import softmax
from tlkeras.models.source_head import source_classifier


@REGULARIZERS.register("bss")
class BSS(Regularizer):
    """Batch spectral shrinkage: small singular values of the features shrink (Chen et al. 2019, equation 6).

    The loss is the sum of the squares of the `k` smallest singular values of the features `(b, d)` of the
    global batch.

    Args:
        weight: Factor of the loss.
        k: Number of singular values, at least 1.
    """

    default_weight = 1e-3

    gathers = True

    def __init__(self, weight: float | None = None, k: int = 1):
        super().__init__(weight)
        self.k = int(k)
        if self.k < 1:
            raise UserError(f"bss needs at least one singular value. Received: options.k={k}")

    def loss(self, features):
        """Returns the squares of the smallest singular values."""
        features = ops.cast(features.source, "float32")
        # The eigenvalues of features x features are too imprecise: in float32 they are lost below 3e-4 of the
        # largest singular value. With constant u and v, u F v has the gradient of the singular value.
        left, _, right = ops.svd(ops.stop_gradient(features), full_matrices=False)  # descending
        left, right = left[:, -self.k :], ops.transpose(right)[:, -self.k :]
        smallest = ops.sum(left * ops.matmul(features, right), axis=0)
        return ops.sum(ops.square(smallest))


@REGULARIZERS.register("co_tuning")
class CoTuning(Regularizer):
    """Co-tuning: the head of the source is trained on source classes of the labels (You et al. 2020).

    As in the direct approach of the paper, p(source class | target class) is the mean prediction of the start
    network on the training rows of the target class. There is no calibration, which would need source data.
    The loss is the cross-entropy of the source head with these probabilities as labels.

    Args:
        weight: Factor of the loss, lambda in the paper.
    """

    default_weight = 2.3
    needs_backbone = False

    def act_on(self, setting: Setting) -> None:
        """Creates the head of the source, and the variable for the relationship of the classes."""
        head = source_classifier(setting.model_config)
        width = setting.model.neck.output_shape[-1]
        if head is None or head[0].shape[0] != width or setting.domain.task != "multiclass":
            found = "no source head" if head is None else f"a source head on {head[0].shape[0]} features"
            raise UserError(
                "co_tuning needs a task with classes, and a source whose last Dense layer takes the same "
                f"features. Received: {found}, {width} features, task={setting.domain.task}"
            )
        self._setting, self._width = setting, head[0].shape[1]
        make = self.own.add_weight
        self._kernel, self._bias = (
            make(name=f"source_{name}", shape=value.shape, dtype="float32", initializer=_values(value))
            for name, value in zip(("kernel", "bias"), head, strict=True)
        )
        self._relation = make(
            name="relation", shape=(setting.domain.num_outputs, self._width), dtype="float32",
            initializer="zeros", trainable=False,
        )  # fmt: skip

    def begin(self) -> None:
        """Computes the relationship, unless an earlier process did."""
        if not np.any(ops.convert_to_numpy(self._relation)):
            self._relation.assign(self._relationship())

    def loss(self, features, labels):
        """Returns the cross-entropy of the source head."""
        if len(labels.shape) == 1:
            labels = ops.one_hot(ops.cast(labels, "int32"), self._relation.shape[0])
        wanted = ops.matmul(ops.cast(labels, "float32"), self._relation)
        logits = ops.matmul(ops.cast(features.source, "float32"), self._kernel) + self._bias
        return ops.mean(ops.categorical_crossentropy(wanted, logits, from_logits=True))

    def _relationship(self) -> np.ndarray:
        domain, plain = self._setting.domain, self._setting.model.to_functional()
        features = keras.Model(inputs_of(plain), output_of(plain, "features"))
        rows, sums, seen = domain.splits["train"], np.zeros(()), 0
        kernel, bias = (ops.convert_to_numpy(v).astype(np.float64) for v in (self._kernel, self._bias))
        for x, _, _ in evaluation_batches(rows, domain, batch_size=64, pad=True):
            # predict would return one result per replica in the scope of a strategy
            found = np.asarray(features(x, training=False), np.float64) @ kernel + bias
            answers = softmax(found[: len(rows) - seen])
            labels = np.eye(domain.num_outputs)[rows.labels[seen : seen + len(answers)]]
            sums = sums + labels.T @ answers
            seen += len(answers)
        return (sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-12)).astype(np.float32)


@REGULARIZERS.register("distillation")
class Distillation(Regularizer):
    """Distillation: the logits are trained to match those of a teacher (Hinton et al. 2015, section 2).

    The loss is `temperature^2 * KL(teacher || student)` of the softened softmaxes, the mean over rows. The
    square keeps the size of the gradient at any temperature.

    Args:
        weight: Factor of the loss.
        teacher: Directory of a finished run with the same classes and image size.
        temperature: Temperature of both softmaxes, above 0.
    """

    default_weight = 1.0
    needs_backbone = False
    needs_inputs = True

    def __init__(self, weight: float | None = None, teacher: str = "", temperature: float = 3.0):
        super().__init__(weight)
        self.teacher = teacher
        if isinstance(temperature, bool) or not isinstance(temperature, int | float) or temperature <= 0:
            raise UserError(
                f"distillation needs a temperature above 0. Received: options.temperature={temperature!r}"
            )
        self.temperature = float(temperature)

    def act_on(self, setting: Setting) -> None:
        """Loads the teacher."""
        file = Path(self.teacher).expanduser() / "best.keras"
        if not self.teacher or not file.is_file():
            raise UserError(
                "distillation needs options.teacher, the directory of a finished run. "
                f"Received: options.teacher={self.teacher!r}"
            )
        self._model = keras.models.load_model(file, compile=False)
        expected = (setting.domain.input_shape, setting.domain.num_outputs)
        inputs = inputs_of(self._model)
        shape = (
            {n: t.shape[1:] for n, t in inputs.items()} if isinstance(inputs, dict) else inputs[0].shape[1:]
        )
        found = (shape, self._model.output_shape[-1])
        if expected != found or setting.domain.task != "multiclass":
            raise UserError(
                "The teacher must take the same inputs and have the same classes. Expected: input shape "
                f"{expected[0]}, {expected[1]} logits. Received: {found[0]}, {found[1]} from {self.teacher}"
            )

    def loss(self, inputs, logits):
        """Returns the distance of the student's logits from the teacher's."""
        teacher = ops.stop_gradient(self._model(inputs, training=False))
        return softened_divergence(teacher, logits.source, self.temperature)


def softened_divergence(teacher, student, temperature: float):
    """Returns `temperature^2 * KL(teacher || student)`, the mean over rows, as a scalar.

    It is computed from log-softmaxes. A KL divergence of probabilities must clip them and would then have no
    gradient for a student that is confidently wrong.

    Args:
        teacher: Logits of the teacher, `(n, classes)`.
        student: Logits of the student, `(n, classes)`.
        temperature: Divisor of the logits, above 0.
    """
    teacher, student = (ops.log_softmax(ops.cast(x, "float32") / temperature) for x in (teacher, student))
    return temperature**2 * ops.mean(ops.sum(ops.exp(teacher) * (teacher - student), axis=-1))


def _values(array: np.ndarray):
    return lambda shape, dtype=None: ops.convert_to_tensor(array, dtype)
