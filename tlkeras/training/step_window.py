"""Only the steps of a stage that are still to be done."""

from tlkeras.training.callbacks import Position
from tlkeras.training.stages import Steps


class StepWindow:
    """A train function that passes over the steps outside a window.

    Keras' fit counts whole epochs. Where an earlier process did the first steps of an epoch, or the
    stage ends within one, the steps outside the window touch neither data nor weights.

    Args:
        model: A model whose train function is made.
        position: Where the stage goes on.
        steps: Length of the stage.
    """

    def __init__(self, model, position: Position, steps: Steps):
        self._model = model
        self._run = model.train_function
        self._first, self._total = position.first_step, steps.total
        self._step = position.first_epoch * steps.per_epoch

    def __call__(self, group):
        begin, end = self._step, self._step + group.steps
        self._step = end
        todo = min(end, self._total) - max(begin, self._first)
        group.steps = max(todo, 0)
        if group.steps == 0:
            return self._model.get_metrics_result()
        return self._run(group)
