"""The train step: class loss plus the losses of the terms of a stage."""

from contextlib import ExitStack, contextmanager

import keras
from keras import ops

from tlkeras.backend.distributed_fit import DistributedFit, scale_for_replicas
from tlkeras.backend.gradients import recording
from tlkeras.backend.replicas import gather_rows, replica_count
from tlkeras.data.combined_batches import target_views
from tlkeras.data.input_shapes import Shape
from tlkeras.errors import UserError
from tlkeras.methods.term import Pair, Setting, Term, number_of_rows, outputs_of


class TrainingModel(DistributedFit):
    """Trains a model with a tuple of terms: class loss plus `weight * loss` of each.

    Batches are `(x, y[, weight])`. If a term takes target views (see `pair_batches`) or a second labelled
    batch, they are `((x, y[, weight]), other)`. In each replica labelled rows and target rows pass the
    network in one batch, so that BatchNormalization normalises both together. The class loss is the mean over
    the labelled rows. The weight of a term does not depend on the number of replicas.

    The variables of the wrapped model are trained in place, and `model.model` is the model to save.
    `evaluate` and `predict` are those of the wrapped model. Without terms, a step is that of Keras. Each
    stage needs a new instance, which is compiled again.

    Args:
        model: Model to train. With terms it must have `features(x, training)` `(n, d)` and
            `classify(features, training)` `(n, outputs)`.
        terms: Terms of the stage.
        name: Name of the Keras model.
        **setting: Attributes of the terms' `Setting` other than the model.

    Raises:
        UserError: Terms exclude each other, or a term does not fit the model.
    """

    def __init__(self, model: keras.Model, terms: tuple[Term, ...] = (), *, name="training", **setting):
        # a name that Keras numbers would differ in a process that resumes
        super().__init__(name=name)
        check_terms(terms)
        self.model = model  # first, so that the names of its variables do not change
        self.terms = tuple(terms)
        self.is_evaluating = self.is_fitting = False
        shape = setting.pop("input_shape", None) or _without_batch(model.input_shape)
        for term in self.terms:
            term.prepare(Setting(model=model, input_shape=shape, **setting))
        self.own = [term.own for term in self.terms]
        self.built = True

    def build(self, input_shape=None):
        """Does nothing, because all variables exist already."""
        self.built = True

    @property
    def input_shape(self) -> tuple:
        """Input shape of the wrapped model."""
        return self.model.input_shape

    @property
    def target_views(self) -> int:
        """Number of views of each target row in a batch."""
        return max((term.target_views for term in self.terms), default=0)

    @property
    def trainable_variables(self):
        """Variables of model and terms that the optimizer updates. Terms may exclude some."""
        critics = {id(v) for term in self.terms for v in term.critic_variables}
        variables = [v for v in super().trainable_variables if id(v) not in critics]
        for term in self.terms:
            variables = term.trained(variables)
        return variables

    @property
    def further_variables(self) -> list:
        """State that Keras does not track and a checkpoint needs."""
        return [v for term in self.terms for v in term.further_variables]

    @property
    def metrics(self):
        """Loss and compiled metrics, and while training also the metrics of the terms."""
        own = self.own_metrics()
        return own if self.is_evaluating else own + [m for term in self.terms for m in term.metrics]

    def call(self, x, training=None):
        """Returns the wrapped model's logits."""
        return self.model(x, training=training)

    def labelled_part(self, batch):
        """Returns the first part of a training batch, or an unchanged evaluation batch."""
        if isinstance(batch, tuple | list) and isinstance(batch[0], tuple | list):
            batch = batch[0]
        return keras.utils.unpack_x_y_sample_weight(batch)

    def compile(self, *args, **kwargs):
        """Compiles the model; see `keras.Model.compile`."""
        super().compile(*args, **kwargs)
        for term in self.terms:
            term.compiled(self)

    def fit(self, *args, callbacks=None, **kwargs):
        """Trains the model; see `keras.Model.fit`. Validation rows belong to the labelled domain."""
        watchers = [watcher for term in self.terms for watcher in term.callbacks()]
        if callbacks is not None and isinstance(callbacks, keras.callbacks.CallbackList):
            for watcher in watchers:
                callbacks.append(watcher)
        else:
            callbacks = [*(callbacks or []), *watchers]
        self.is_fitting = True
        try:
            return super().fit(*args, callbacks=callbacks, **kwargs)
        finally:
            self.is_fitting = False

    def evaluate(self, *args, **kwargs):
        """Evaluates the wrapped model; see `keras.Model.evaluate`. Metrics of the terms do not change."""
        self.is_evaluating = True
        try:
            with ExitStack() as stack:
                if self.is_fitting:
                    stack.enter_context(self.validation())
                return super().evaluate(*args, **kwargs)
        finally:
            self.is_evaluating = False

    @contextmanager
    def validation(self):
        """Context in which the model predicts for the labelled domain, e.g. with its batch statistics."""
        with ExitStack() as stack:
            for term in self.terms:
                stack.enter_context(term.validation())
            yield

    def make_train_function(self, force=False):
        """Makes the train function after the terms are ready."""
        if self.train_function is None:
            for term in self.terms:
                term.begin()
        return super().make_train_function(force)

    def train_step(self, data):
        """Runs one step: forward pass, critic steps, class loss plus weighted losses of the terms, update."""
        x, labels, sample_weight = self.labelled_part(data)
        for term in self.terms:
            term.before_step()
        with recording() as tape:
            logits, supplied = self._forward(x, labels, data)
            weights = self._row_weights(labels, sample_weight)
            class_loss = loss = self.compute_loss(x, labels, logits.source, weights, training=True)
            values = []
            for term, quantities in zip(self.terms, supplied, strict=True):
                with tape.stop_recording():
                    _train_critic(term, quantities.get("features"))
                value = term.value(quantities)
                loss = loss if value is None else term.add_to(loss, value)
                values.append(value)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        replicas = replica_count()
        self.loss_tracker.update_state(loss * replicas, sample_weight=ops.shape(logits.source)[0])
        for term, value in zip(self.terms, values, strict=True):
            term.after_update()
            term.measure(value, class_loss * replicas, labels, logits)
        return self.compute_metrics(x, labels, logits.source, sample_weight=sample_weight)

    def _forward(self, x, labels, data) -> tuple[Pair, list[dict]]:
        """Returns the logits of this replica, and the quantities for each term."""
        if not self.terms:
            return Pair(self.model(x, training=True), None), []
        supplied = {"inputs": x, "labels": labels}
        if any(term.takes_second_batch for term in self.terms):
            second_x, supplied["second_labels"] = data[1][:2]
            features, logits = self._pass((x, second_x))
            outputs = {"features": Pair(features[0], None), "logits": Pair(logits[0], None)}
            supplied["second_logits"] = logits[1]
        elif self.target_views:
            outputs = self._both_domains(x, target_views(data, self.target_views))
        else:
            features, logits = self._pass(x)
            outputs = {"features": Pair(features, None), "logits": Pair(logits, None)}
        supplied |= outputs
        return supplied["logits"], [_for_term(term, supplied) for term in self.terms]

    def _pass(self, x):
        """Returns features and logits of rows in training, from the term with its own forward pass if any."""
        for term in self.terms:
            if term.passes_rows:
                return term.forward(self.model, x, ops.convert_to_tensor(self.optimizer.iterations))
        return outputs_of(self.model, x)

    def _both_domains(self, x, views) -> dict:
        """Returns the float32 outputs of labelled rows and target rows."""
        adapting = next(term for term in self.terms if term.target_views)
        features, logits = adapting.pass_domains(self._pass, x, views)
        rows = number_of_rows(x)
        both = rows + number_of_rows(views[0])
        parts = [slice(0, rows), slice(rows, both), slice(both, None)]
        return {
            "features": Pair(*(ops.cast(features[p], "float32") for p in parts[:2])),
            "logits": Pair(*(ops.cast(logits[p], "float32") for p in parts[:2])),
            "strong_logits": ops.cast(logits[parts[2]], "float32"),
        }

    def _row_weights(self, labels, sample_weight):
        """Returns the sample weights times the row weights of the terms."""
        for term in self.terms:
            factors = term.row_weights(labels)
            if factors is not None:
                weighted = sample_weight is not None
                sample_weight = factors * ops.cast(sample_weight, "float32") if weighted else factors
        return sample_weight


def check_terms(terms: tuple[Term, ...]) -> None:
    """Raises `UserError` if terms exclude each other.

    Only one term can have its own forward pass. A batch has only one second part, which is either target rows
    or the rows of another task.
    """
    for does, kind in (
        (lambda term: term.passes_rows, "computes the forward pass in its own way"),
        (lambda term: term.takes_second_batch or term.target_views > 0, "needs its own rows"),
    ):
        found = [term.name for term in terms if does(term)]
        if len(found) > 1:
            raise UserError(
                f"{' and '.join(found)} cannot train in the same stage, because each {kind}: choose one "
                f"of them. Received: {', '.join(term.name for term in terms)}"
            )


def _without_batch(shape) -> Shape:
    """Removes the batch axis from a shape, or from shapes by name."""
    return {n: tuple(part[1:]) for n, part in shape.items()} if isinstance(shape, dict) else tuple(shape[1:])


def _for_term(term: Term, supplied: dict) -> dict:
    """Returns the quantities for a term, with the rows of all replicas if it gathers."""
    if not term.gathers:
        return supplied
    return {name: keras.tree.map_structure(_gathered, supplied[name]) for name in term.needs}


def _gathered(value):
    return None if value is None else gather_rows(value)


def _train_critic(term: Term, features) -> None:
    """Runs the inner steps of a term on constant features."""
    variables = term.critic_variables
    for _ in range(term.critic_steps):
        with recording() as tape:
            constant = Pair(*map(ops.stop_gradient, features))
            loss = scale_for_replicas(term.critic_loss(constant))
        gradients = tape.gradient(loss, variables)
        term.critic_optimizer.apply_gradients(zip(gradients, variables, strict=True))
