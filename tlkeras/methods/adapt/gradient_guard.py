"""A guard against domain classifiers that give the features no gradient."""

import keras

from tlkeras.errors import UserError


class GradientGuard(keras.callbacks.Callback):
    """Raises `UserError` if the gradient at the reversal layer is exactly zero.

    Methods with a reversal layer add this callback. A classifier that cannot learn, such as a softmax over
    one unit, passes all other checks, because its loss is finite and constant.

    Args:
        reversal: Reversal layer.
        first_check: Step of the first check. Later checks are at the end of each epoch.
    """

    def __init__(self, reversal, first_check: int = 50):
        super().__init__()
        self.reversal = reversal
        self.first_check = first_check

    def on_train_begin(self, logs=None):
        self.checked = False

    def on_train_batch_end(self, batch, logs=None):
        if not self.checked and batch >= self.first_check:
            self.checked = True
            self._check()

    def on_epoch_end(self, epoch, logs=None):
        self._check()

    def _check(self):
        metric = self.reversal.gradient_norm
        steps = float(metric.steps + 0.0)  # the sum over replicas, as a tensor
        if steps > 0 and float(metric.result()) == 0:
            raise UserError(
                "No gradient arrives at the gradient reversal layer, so the domains cannot be drawn "
                "together: the domain classifier does not learn. Look at the method's head and loss. "
                f"Received: reversal_gradient_norm=0.0 over {steps:.0f} steps"
            )
