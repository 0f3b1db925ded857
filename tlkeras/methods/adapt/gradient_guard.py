"""Stops a run whose domain classifier teaches the features nothing."""

import keras

from tlkeras.errors import UserError


class GradientGuard(keras.callbacks.Callback):
    """Raises `UserError` where the gradient that arrives at the reversal layer is exactly zero.

    A method with a reversal layer brings it. A classifier that cannot learn (a softmax over one unit,
    say) passes every other check: its loss is finite and stands still.

    Args:
        reversal: The reversal layer.
        first_check: Step of the first check; later ones are at the end of each epoch.
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
