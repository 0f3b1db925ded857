"""What models that train on pairs of batches have in common."""

import keras

from tlkeras.models.distributed_fit import DistributedFit


class PairedFit(DistributedFit):
    """A model around another: it trains on pairs of batches and is evaluated as the model inside.

    Training batches are `((x, y[, weight]), other)`, where the first is what the compiled loss and metrics
    see. Subclasses leave their own metrics out of `metrics` while `is_evaluating`.
    """

    is_evaluating = False

    def labelled_part(self, batch):
        """Returns the first part of a training batch, or an evaluation batch as it is."""
        if isinstance(batch, tuple | list) and isinstance(batch[0], tuple | list):
            batch = batch[0]
        return keras.utils.unpack_x_y_sample_weight(batch)

    def evaluate(self, *args, **kwargs):
        """As `keras.Model.evaluate`, of the model inside; metrics of training alone are left as they are."""
        self.is_evaluating = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self.is_evaluating = False
