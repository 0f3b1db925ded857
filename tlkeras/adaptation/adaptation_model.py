"""The model that trains on a labelled source and an unlabelled target."""

from contextlib import nullcontext

import keras
import tensorflow as tf
from keras import ops

from tlkeras.adaptation.batch_norm import DomainStatistics, batch_norm_layers
from tlkeras.adaptation.class_histogram import ClassHistogram
from tlkeras.adaptation.gradient_guard import GradientGuard
from tlkeras.adaptation.methods import METHODS, Method, Pair, make_method
from tlkeras.adaptation.pairs import target_views
from tlkeras.adaptation.replicas import gather_rows
from tlkeras.adaptation.strength import strength_schedule
from tlkeras.config.adaptation import AdaptationConfig, StrengthConfig
from tlkeras.errors import UserError
from tlkeras.models.distributed_fit import scale_for_replicas
from tlkeras.models.paired_fit import PairedFit


class AdaptationModel(PairedFit):
    """Wraps a model for training on two domains: class loss on source rows plus `weight * D`.

    Batches are `((source_x, source_y[, weight]), target_x)`; see `pair_batches`. Inside each replica
    source and target rows are concatenated for one forward pass, so that BatchNormalization sees both.
    The class loss is the mean over the source rows, D is what the method says (averaged over 2N rows
    for domain classifiers), and both weigh the same on any number of replicas.

    The wrapped model's variables are trained in place: save `model.model`. `evaluate` and `predict`
    are those of the wrapped model. Compile anew, and make a new AdaptationModel, for each stage.

    Args:
        model: Has `features(x, training)` `(n, d)` and `classify(features, training)` `(n, classes)`.
        method: A name in `METHODS`, or a `Method`.
        steps: Training steps over which the strength's schedule runs.
        weight: Factor of D.
        strength: Its schedule. It scales the gradient behind a reversal layer, or else D.
        batch_norm: `shared` or `domain_specific`; `adabn` trains as `shared`, see `adapt_batch_norm`.
        options: Settings of a method given by name.
        seed: Of the method's heads.
        input_shape: Shape of one input; by default `model.input_shape`.

    Raises:
        UserError: Where the method is unknown or unfit, or no trainable variable stands before the
            features, so that D could move nothing.
    """

    validates_source = False

    def __init__(
        self,
        model: keras.Model,
        method: str | Method = "dann",
        *,
        steps: int,
        weight: float = 1.0,
        strength: StrengthConfig | None = None,
        batch_norm: str = "shared",
        options: dict | None = None,
        seed: int = 0,
        input_shape: tuple[int, ...] | None = None,
        **kwargs,
    ):
        # numbered by Keras, its state would have another name in a process that goes on
        super().__init__(**{"name": "adaptation_model"} | kwargs)
        self.model = model
        self.method = make_method(method, options) if isinstance(method, str) else method
        self.weight, self.steps, self.seed = float(weight), int(steps), seed
        self.schedule = strength_schedule(strength or StrengthConfig(), self.method.schedule)
        feature_size, classes = self._probe(tuple(input_shape or model.input_shape[1:]))
        self.method.prepare(feature_size, classes, seed)
        if self.method.reversal is not None:
            self.method.reversal.gradient_norm.gathered = self.method.gathers
        self.step = self.add_weight(
            name="adaptation_step", shape=(), dtype="int32", initializer="zeros", trainable=False,
            aggregation="only_first_replica",
        )  # fmt: skip
        self.statistics = DomainStatistics(model) if batch_norm == "domain_specific" else None
        copies = self._copies() if "copied_features" in self.method.needs else []
        self.copies = lambda: copies  # a list of the model's variables would be tracked as our own
        self.class_loss = keras.metrics.Mean(name="class_loss")
        self.distance = keras.metrics.Mean(name="alignment")
        self.strength = keras.metrics.Mean(name="strength")
        self.histogram = ClassHistogram(classes) if classes > 1 else None
        self.built = True

    @classmethod
    def from_config(cls, config: AdaptationConfig, model, *, steps: int, seed: int, **kwargs):
        """Returns the model that `config` describes; see the class for the rest."""
        return cls(
            model, config.method, steps=steps, weight=config.weight, strength=config.strength,
            batch_norm=config.batch_norm, options=config.options, seed=seed, **kwargs,
        )  # fmt: skip

    def _probe(self, input_shape) -> tuple[int, int]:
        """Returns the widths of features and logits, after a check that D can move something."""
        found = []

        def probe():  # inside a replica, where gradients of mirrored variables are known
            with tf.GradientTape() as tape:
                features = self.model.features(ops.zeros((2, *input_shape)), training=False)
            logits = self.model.classify(features, training=False)
            gradients = tape.gradient(features, self.model.trainable_variables)
            found.append((features.shape, logits.shape[-1], any(g is not None for g in gradients)))

        # traced, not run: shapes and the existence of gradients are all that is asked
        tf.function(lambda: self.distribute_strategy.run(probe)).get_concrete_function()
        shape, classes, moves = found[0]
        if len(shape) != 2:
            raise UserError(f"Features must be (n, d). Received: shape {shape}")
        if not moves and type(self.method) is not METHODS.get("none"):
            raise UserError(
                "Adaptation has nothing to move: the backbone is frozen and no trainable layer stands "
                "before the features. Open blocks (stages.N.train='last:1') or set "
                "model.neck.bottleneck=256. Received: 0 trainable variables before the features"
            )
        if classes < self.method.min_classes:
            name = type(self.method).__name__
            raise UserError(f"{name} needs at least {self.method.min_classes} logits. Received: {classes}")
        return shape[-1], classes

    def _copies(self) -> list:
        """Returns pairs of a variable of the encoder and its copy, for a second encoder."""
        moving = [v for x in batch_norm_layers(self.model) for v in (x.moving_mean, x.moving_variance)]
        pairs = []
        for index, variable in enumerate([*self.model.trainable_variables, *moving]):
            copy = self.add_weight(
                name=f"copy_{index}", shape=variable.shape, dtype=variable.dtype, trainable=False,
                autocast=False, aggregation="only_first_replica",
            )  # fmt: skip
            copy.assign(variable)
            pairs.append((variable, copy))
        return pairs

    def call(self, x, training=None):
        """Returns the wrapped model's logits."""
        return self.model(x, training=training)

    @property
    def trainable_variables(self):
        """What the main optimizer trains: model and heads, without a critic of inner steps."""
        inner = {id(v) for v in self.method.critic_variables}
        return [v for v in super().trainable_variables if id(v) not in inner]

    @property
    def further_variables(self) -> list:
        """State that Keras does not track and a checkpoint must hold: that of a critic's own optimizer."""
        optimizer = getattr(self.method, "critic_optimizer", None)
        return [] if optimizer is None else list(optimizer.variables)

    @property
    def metrics(self):
        """Loss and compiled metrics; while training, those of adaptation as well."""
        own = self._get_own_metrics()
        adaptation = [self.class_loss, self.distance, self.strength, self.histogram]
        if type(self.method) is METHODS.get("none"):
            adaptation = [self.class_loss, self.histogram]
        if self.method.reversal is not None:
            adaptation.append(self.method.reversal.gradient_norm)
        adaptation = [m for m in (*adaptation, *self.method._metrics) if m is not None]
        ids = {id(m) for m in adaptation}
        own = [m for m in own if id(m) not in ids]
        return own if self.is_evaluating else own + adaptation

    def source_statistics(self):
        """Returns a context with the source's BatchNormalization, where each domain has its own."""
        return nullcontext() if self.statistics is None else self.statistics.source()

    def fit(self, *args, callbacks=None, **kwargs):
        """As `keras.Model.fit`; stops with an error where the reversal layer gets no gradient.

        Validation rows are the source's, and are normalised as such.
        """
        if self.weight > 0 and self.method.reversal is not None:
            if isinstance(callbacks, keras.callbacks.CallbackList):
                callbacks.append(GradientGuard())
            else:
                callbacks = [*(callbacks or []), GradientGuard()]
        self.validates_source = True
        try:
            return super().fit(*args, callbacks=callbacks, **kwargs)
        finally:
            self.validates_source = False

    def evaluate(self, *args, **kwargs):
        """As `PairedFit.evaluate`; the saved model's answers, except for `fit`'s own validation."""
        with self.source_statistics() if self.validates_source else nullcontext():
            return super().evaluate(*args, **kwargs)

    def train_step(self, data):
        """One step: forward on both domains, critic steps, class loss + weight * D, one update."""
        source, views = self.labelled_part(data), target_views(data, self.method.target_views)
        x, labels, sample_weight = source
        strength = self._advance()
        with tf.GradientTape() as tape:
            supplied, logits = self._forward(x, labels, views, strength)
            with tape.stop_recording():
                self._train_critic(supplied.get("features"))
            class_loss = self.compute_loss(
                x, labels, logits.source, self._row_weights(labels, strength, sample_weight),
                training=True,
            )  # fmt: skip
            distance = self.method.loss(**{k: supplied[k] for k in self.method.needs})
            pull = self.weight * (1.0 if self.method.reversal is not None else strength)
            loss = class_loss + scale_for_replicas(pull * distance)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        if self.method.reversal is not None:  # what it measures is to be free of the loss scale
            self.method.reversal.loss_scale = self.optimizer.scale_loss(1.0)
        gradients = tape.gradient(scaled, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self._measure(loss, class_loss, distance, strength, labels, logits)
        self.compute_metrics(x, labels, logits.source, sample_weight=sample_weight)

    def _advance(self):
        """Sets the strength of this step from its place among all steps, and returns it."""
        strength = self.schedule(ops.cast(self.step, "float32") / max(self.steps, 1))
        if self.method.reversal is not None:
            self.method.reversal.strength.assign(strength)
        self.step.assign_add(1)
        return strength

    def _forward(self, x, labels, views, strength):
        """Returns all that a method may ask for, and the logits of this replica."""
        if self.statistics is None:
            features, logits = self._outputs(ops.concatenate([x, *views]))
        else:
            with self.statistics.source():
                of_source = self._outputs(x)
            pairs = zip(of_source, self._outputs(ops.concatenate(views)), strict=True)
            features, logits = (ops.concatenate(pair) for pair in pairs)
        rows = ops.shape(x)[0]
        both = rows + ops.shape(views[0])[0]
        parts = [slice(0, rows), slice(rows, both), slice(both, None)]
        supplied = {
            "features": Pair(*(ops.cast(features[p], "float32") for p in parts[:2])),
            "logits": Pair(*(ops.cast(logits[p], "float32") for p in parts[:2])),
            "labels": labels,
            "strong_logits": ops.cast(logits[parts[2]], "float32"),
        }
        own = supplied["logits"]
        if self.copies():
            supplied["copied_features"] = self._copied_features(x, strength)
        if self.method.gathers:
            supplied = {
                k: tf.nest.map_structure(gather_rows, v)
                for k, v in supplied.items()
                if k in self.method.needs
            }
        return {**supplied, "strength": strength}, own

    def _outputs(self, x):
        """Returns features and logits in training."""
        features = self.model.features(x, training=True)
        return features, self.model.classify(features, training=True)

    def _copied_features(self, x, strength):
        """Returns the source's features by the copied encoder, which follows while strength is 0."""
        for variable, copy in self.copies():
            copy.assign(ops.where(strength > 0, copy, ops.cast(variable.value, copy.dtype)))
        with keras.StatelessScope(state_mapping=[(v, c.value) for v, c in self.copies()]):
            features = self.model.features(x, training=False)
        return ops.stop_gradient(ops.cast(features, "float32"))

    def _row_weights(self, labels, strength, sample_weight):
        """Returns the sample weights times what the method asks for."""
        factors = self.method.source_weights(labels, strength) if self.weight > 0 else None
        if factors is None:
            return sample_weight
        return factors if sample_weight is None else factors * ops.cast(sample_weight, "float32")

    def _train_critic(self, features) -> None:
        """Runs the method's inner steps on constant features."""
        variables = self.method.critic_variables
        for _ in range(self.method.critic_steps):
            with tf.GradientTape() as tape:
                constant = Pair(*map(ops.stop_gradient, features))
                loss = scale_for_replicas(self.method.critic_loss(constant))
            gradients = tape.gradient(loss, variables)
            self.method.critic_optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def _measure(self, loss, class_loss, distance, strength, labels, logits) -> None:
        """Updates the metrics of adaptation."""
        rows = ops.shape(logits.source)[0]
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self._loss_tracker.update_state(loss * replicas, sample_weight=rows)
        self.class_loss.update_state(class_loss * replicas)
        self.distance.update_state(distance)
        self.strength.update_state(strength)
        if self.histogram is not None:
            self.histogram.update_state(labels, logits.target)
