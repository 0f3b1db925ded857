"""The model that a run trains: preprocessing, backbone, neck and head."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from tlkeras.backend.distributed_fit import DistributedFit
from tlkeras.models.cuts.cut_points import Block
from tlkeras.models.cuts.freezing import Selection, opened_layers
from tlkeras.models.cuts.graph import leaf_layers, new_inputs, replay
from tlkeras.models.cuts.route import Route, route_for
from tlkeras.models.cuts.towers import Tower, opened_towers
from tlkeras.models.weights.load import WeightReport


class FeatureModel(DistributedFit):
    """The part of a `TransferModel` after the cut: tail, neck and head, which it shares with that model.

    Its inputs are the outputs of the trunk. `fit` on them trains the variables of the whole model.

    Args:
        route: Route of inputs through backbone and neck.
        head: Model from features to logits.
    """

    def __init__(self, route: Route, head: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.tail, self.neck, self.head = route.tail, route.neck, head
        self._route = _Held(route)

    def build(self, input_shape=None):
        """Nothing is left to create: the parts come built."""
        self.built = True

    def call(self, x, training=None):
        """Returns float32 logits `(b, num_outputs)`."""
        return self.classify(self.features(x, training=training), training=training)

    def features(self, x, training=None):
        """Returns the neck's output `(b, features)`."""
        return self._route.value.after_cut(x, training)

    def classify(self, features, training=None):
        """Returns float32 logits for feature vectors `(b, features)`."""
        return self.head(features, training=training)


class TransferModel(DistributedFit):
    """The model of a run: raw inputs -> preprocess -> backbone -> neck -> head -> logits.

    `build_model` makes it. Before each stage, `select` sets what trains and how BatchNormalization behaves.
    Before the first call only neck and head train. All layers before the first trainable block are called in
    inference mode, also in `fit`: dropout and stochastic depth are off, and statistics do not change.

    Args:
        preprocess: Model from raw inputs to the inputs of the backbone.
        backbone: Functional model.
        blocks: Named blocks of the backbone, from input to output.
        neck: Model from the output of the backbone to features.
        head: Model from features to logits.
        weights_report: Report of the loaded weights of the backbone.
        towers: The backbones, if there are several. Each stage then puts their blocks in its own order.

    Example:
        >>> model = build_model(ModelConfig(backbone="small_cnn", weights=None),
        ...                     input_shape=(32, 32, 3), num_outputs=10)
        >>> model.select("last:1", bn="frozen").blocks
        ('conv_3',)
    """

    def __init__(
        self,
        preprocess: keras.Model,
        backbone: keras.Model,
        blocks: list[Block],
        neck: keras.Model,
        head: keras.Model,
        weights_report: WeightReport | None = None,
        towers: Sequence[Tower] = (),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.preprocess, self.backbone, self.neck, self.head = preprocess, backbone, neck, head
        self.weights_report = weights_report
        self._blocks = tuple(blocks)
        self._towers = _Held(tuple(towers))
        self._functional = _Held()
        self._route = _Held()
        self._trunk = _Held()
        self._takes_features = False
        self.select("head")

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Blocks of the backbone that stages can open, from input to output."""
        return tuple(block for block in self._blocks if block.trains == "by_stage")

    @property
    def input_shape(self) -> tuple | dict:
        """Shape of a batch of inputs (raw inputs, or features after `set_input`): `(None, ...)`, or dict."""
        if self._takes_features:
            return self.trunk().output_shape
        inputs = self.preprocess.inputs
        return inputs[0].shape if len(inputs) == 1 else {tensor.name: tensor.shape for tensor in inputs}

    def zeros(self, rows: int):
        """Returns NumPy inputs of `rows` rows of zeros for `call`."""
        if self._takes_features:
            return np.zeros((rows, *self.input_shape[1:]), np.float32)
        inputs = self.preprocess.inputs
        found = {x.name: np.zeros((rows, *x.shape[1:]), x.dtype) for x in inputs}
        return found if len(inputs) > 1 else found[inputs[0].name]

    def build(self, input_shape=None):
        """Nothing is left to create: the parts come built."""
        self.built = True

    def set_input(self, what: Literal["inputs", "features"]) -> None:
        """Sets whether calls, `fit` and `evaluate` get raw inputs or the outputs of `trunk()`.

        With features, all layers before the cut are skipped. Variables, names and random numbers of the
        layers after it are the same. `select` returns to raw inputs. The model must be compiled again
        afterwards.

        Raises:
            ValueError: The selection has no frozen block.
        """
        if what == "features":
            self._require_trunk()
        self._takes_features = what == "features"
        self.train_function = self.test_function = self.predict_function = None

    def call(self, x, training=None):
        """Returns float32 logits `(b, num_outputs)`."""
        return self.classify(self.features(x, training=training), training=training)

    def features(self, x, training=None):
        """Returns the neck's output `(b, features)`."""
        route = self._route.value
        if self._takes_features:
            return route.after_cut(x, training)
        x = route.through_tail(route.to_cut(self.preprocess(x)), training)
        return self.neck(x, training=training)

    @property
    def tail(self) -> keras.Model | None:
        """Trained part of the backbone, which is the part after the cut, or None if none is trained."""
        return self._route.value.tail

    def before_tail(self, x):
        """Returns the inputs of the tail for inputs of `call`."""
        route = self._route.value
        if self._takes_features:
            return ops.cast(x, (route.tail or route.neck).inputs[0].dtype)
        return route.to_cut(self.preprocess(x))

    def through_tail(self, x, training=None, instead=lambda operation: operation):
        """Returns the output of the backbone for the result of `before_tail`.

        Args:
            x: Result of `before_tail`.
            training: Whether layers that behave differently in training do so.
            instead: Function that returns the replacement of an operation of the tail.
        """
        return self._route.value.through_tail(x, training, instead)

    def classify(self, features, training=None):
        """Returns float32 logits for feature vectors `(b, features)`."""
        return self.head(features, training=training)

    def select(self, train: str, bn: str = "frozen") -> Selection:
        """Sets what trains. The model must be compiled again, because Keras traces the train step with it.

        Args:
            train: Trained part: `head`, `last:N`, `from:NAME`, `all` or `regex:PATTERN`, and for several
                backbones also `PART=...,PART=...`. Neck and head always train.
            bn: BatchNormalization in the backbone: `frozen` (statistics, gamma and beta do not change),
                `inference` (statistics do not change, gamma and beta of opened blocks train), `train`.

        Raises:
            UserError: `train` does not name a block or layer of this backbone.
        """
        if self._towers.value:
            self._blocks, opened = opened_towers(self._towers.value, train)
        else:
            opened = opened_layers(self._blocks, train, self.backbone.name)
        # Layer by layer: assigning a model the value it has already does nothing to its layers, since
        # TensorFlow's tracking returns early from `self.x = self.x`.
        for part, trains in (
            (self.preprocess, False), (self.backbone, False), (self.neck, True), (self.head, True)
        ):  # fmt: skip
            for layer in (part, *leaf_layers([part])):
                layer.trainable = trains
        for _, layer in opened:
            layer.trainable = True
        if bn == "frozen":
            for layer in leaf_layers([self.backbone]):
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.trainable = False
        indices = sorted({i for i, _ in opened})
        first = indices[0] if indices else len(self._blocks)
        self._route.value = route_for(
            self.backbone, self.neck, self._blocks, first, tail_trains=bn != "inference"
        )
        self._trunk.value = None
        self._takes_features = False
        return Selection(
            train=train,
            bn=bn,
            blocks=tuple(self._blocks[i].name for i in indices),
            layers=frozenset(layer.name for _, layer in opened),
            cut=self._route.value.cut and self._route.value.cut.name,
            depths=self._depths(),
        )

    def trunk(self) -> keras.Model:
        """Returns the frozen part as a functional model from raw inputs to the tensor at the cut.

        If the whole backbone is frozen, the pooling belongs to the frozen part.

        Raises:
            ValueError: The selection has no frozen block.
        """
        route = self._require_trunk()
        if self._trunk.value is None:
            x = inputs = new_inputs(self.preprocess)
            for part in (self.preprocess, route.trunk, route.fixed_neck):
                x = x if part is None else replay(part, x)
            self._trunk.value = keras.Model(inputs, x, name="trunk")
        return self._trunk.value

    def on_features(self) -> FeatureModel:
        """Returns the model from the outputs of the trunk to logits, with the same layers and variables."""
        model = FeatureModel(self._require_trunk(), self.head, name="on_features")
        model.build()
        return model

    def _require_trunk(self) -> Route:
        if self._route.value.trunk is None:
            raise ValueError("Nothing is frozen, so there is no trunk. Select fewer blocks first.")
        return self._route.value

    def to_functional(self) -> keras.Model:
        """Returns the plain functional model of Keras' own layers with the same variables.

        All layers of the backbone are direct layers of this model. A saved `.keras` file opens without
        tlkeras, unless the row of the head says otherwise.
        """
        if self._functional.value is None:
            x = inputs = new_inputs(self.preprocess)
            for part in (self.preprocess, self.backbone, self.neck, self.head):
                x = replay(part, x)
            self._functional.value = keras.Model(inputs, x, name="model")
        return self._functional.value

    def _depths(self) -> dict[str, int]:
        depths = {v.path: 0 for part in (self.neck, self.head) for v in part.variables}
        for blocks in [tower.blocks for tower in self._towers.value] or [self._blocks]:
            for i, block in enumerate(blocks):
                for layer in block.layers:
                    depth = 0 if block.trains == "always" else len(blocks) - i
                    depths.update((v.path, depth) for v in layer.variables)
        return depths


class _Held:
    """Holds a value that Keras must not track as a layer of the model."""

    def __init__(self, value: Any = None):
        self.value = value
