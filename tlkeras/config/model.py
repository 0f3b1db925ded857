"""The network: a backbone with its weights, a neck and a head."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tlkeras.config.base import Config
from tlkeras.config.data import Fraction, PositiveInt
from tlkeras.config.kinds import Kinds

Pooling = Literal["avg", "max", "both", "flatten", "class", "class_and_avg", "gem"]


class BranchConfig(Config):
    """Dense layers of a task's own: one of the private branches that stand side by side in a neck.

    Attributes:
        pooling: As in `NeckConfig`; None is the neck's.
        units: Widths of the layers; empty hands on what was pooled.
        activation: Activation after each layer.
        dropout: Dropout rate after each layer.
    """

    pooling: Pooling | None = None
    units: tuple[PositiveInt, ...] = (64,)
    activation: str = "relu"
    dropout: Fraction = 0.0


class AdapterConfig(BranchConfig):
    """A private input branch: a task's own inputs to the vectors that the common part takes.

    It trains in every stage, as neck and head do, so nothing behind it is cached. BatchNormalization in its
    network follows the stage's `bn`.

    Attributes:
        backbone: The network in front of the dense layers, a registered name; `none` is none.
        weights: Its weights, as in `ModelConfig`.
        backbone_options: Extra keyword arguments of its builder.
        pooling: Of what the network puts out.
        units: Widths of the layers; the last is that of the common part's inputs.
    """

    backbone: str = "none"
    weights: str | None = None
    backbone_options: dict[str, Any] = {}
    pooling: Pooling = "flatten"
    units: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64,)


class NestedConfig(Config):
    """A whole earlier model, head included, as a part of this one (task nesting).

    Its outputs are features for this model's head. It takes the same raw inputs, and lies at the bottom of
    the blocks, as the block `nested`.

    Attributes:
        source: Directory of an earlier run, or a `.keras` file.
        activation: On its outputs, which a run leaves as logits: `linear` takes them as they are, `softmax`
            and `sigmoid` make probabilities of them.
        join: `concat` sets them beside the pooled features of the backbone; `alone` is without a backbone
            (`backbone="none"`).
        frozen: Whether it stays as it is in all stages, `train="all"` too.
        pretrained: False takes its architecture with random weights.
    """

    source: str
    activation: Literal["linear", "softmax", "sigmoid"] = "linear"
    join: Literal["concat", "alone"] = "concat"
    frozen: bool = True
    pretrained: bool = True


class NeckConfig(Config):
    """What turns the backbone's output into a feature vector.

    Attributes:
        pooling: Over the places of a map or the tokens of the patches: average, max, both side by side, the
            generalised mean with power 3 (`gem`, Radenovic et al. 2019) or none of it (`flatten`); of a
            transformer also its class token, alone (`class`) or beside the average (`class_and_avg`). None is
            what the paper of the backbone's family probes with. Ignored where the backbone puts out vectors.
        branches: Private branches side by side, each on the backbone's output; none is no dense layer.
        join: How their outputs become one vector: side by side, or averaged.
        bottleneck: Units of an optional Dense-BatchNorm-ReLU layer after pooling and branches; None is no
            bottleneck.
        dropout: Dropout rate on the feature vector.
    """

    pooling: Pooling | None = None
    branches: tuple[BranchConfig, ...] = ()
    join: Literal["concat", "average"] = "concat"
    bottleneck: PositiveInt | None = None
    dropout: Fraction = 0.0

    @model_validator(mode="after")
    def _branches_can_be_averaged(self):
        widths = [branch.units[-1:] for branch in self.branches]
        if self.join == "average" and (() in widths or len(set(widths)) > 1):
            raise ValueError(
                "join='average' needs branches whose last layers are equally wide. "
                f"Received: branches of units {[list(b.units) for b in self.branches]}"
            )
        return self


class HeadConfig(Kinds):
    """What turns the feature vector into logits; each head has fields of its own.

    `HeadConfig(name=...)` makes the config of that head.

    Attributes:
        name: A registered head; `tlkeras list heads` prints all.
    """

    told_by, default = "name", "linear"


class LinearHeadConfig(HeadConfig):
    """One Dense layer.

    Attributes:
        zero_init: Whether its kernel and bias start at zero.
    """

    name: Literal["linear"] = "linear"
    zero_init: bool = False


class MlpHeadConfig(HeadConfig):
    """Hidden Dense layers, then one Dense layer; `flatten_dense` is the same on a flattened map.

    Attributes:
        units: Widths of the hidden layers.
        activation: Activation of the hidden layers.
        dropout: Dropout rate after each hidden layer.
        batch_norm: Whether hidden layers are followed by BatchNormalization.
        zero_init: Whether the last layer's kernel and bias start at zero.
    """

    name: Literal["mlp", "flatten_dense"] = "mlp"
    units: tuple[PositiveInt, ...] = (256,)
    activation: str = "relu"
    dropout: Fraction = 0.0
    batch_norm: bool = False
    zero_init: bool = False


class CosineHeadConfig(HeadConfig):
    """Scaled cosines between the features and one learned vector per class.

    Attributes:
        scale: Start value of the learned scale.
    """

    name: Literal["cosine"] = "cosine"
    scale: Annotated[float, Field(gt=0)] = 16.0


class NeighborsHeadConfig(HeadConfig):
    """The training rows themselves, which a `knn` probe puts there.

    Attributes:
        neighbors: How many of its rows the head asks.
        vote: How it counts them: by one over their `distance`, or each the same (`uniform`).
        rows: How many rows it holds. A run sets it to the number of its training rows.
    """

    name: Literal["neighbors"] = "neighbors"
    neighbors: PositiveInt = 5
    vote: Literal["distance", "uniform"] = "distance"
    rows: PositiveInt | None = None


class OtherHeadConfig(HeadConfig):
    """A head that a package or a file of the user's registers in `HEADS`.

    Attributes:
        options: Settings of the head, as its row in `HEADS` names them.
    """

    name: str
    options: dict[str, Any] = {}


class ModelConfig(Config):
    """A backbone, the weights it starts from, and what stands on it.

    Attributes:
        backbone: A registered name in snake case; `tlkeras list backbones` prints all.
        weights: `imagenet`, a path to `.weights.h5` or `.keras`, the directory of an earlier run
            (parameter transfer by layer name and shape), or None for random weights.
        fallback: Backbone that takes over, with a notice, where the ImageNet weights of `backbone` are
            neither at hand nor to be downloaded.
        backbone_options: Extra keyword arguments of the backbone's builder, e.g. `{"alpha": 0.5}`.
        bn_momentum: Momentum of the backbone's BatchNormalization; None leaves each layer its own.
        adapter: A private input branch in front of the backbone, which then takes its vectors; None is none.
        nested: A whole earlier model as a part of this one; None is none.
        neck: Pooling, private branches and bottleneck.
        head: The new head.
    """

    backbone: str = "mobilenet_v2"
    weights: str | None = "imagenet"
    fallback: str | None = None
    backbone_options: dict[str, Any] = {}
    bn_momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    adapter: AdapterConfig | None = None
    nested: NestedConfig | None = None
    neck: NeckConfig = NeckConfig()
    head: HeadConfig = LinearHeadConfig()

    @property
    def first_network(self) -> str:
        """Name of the network that raw inputs meet first: the adapter's, where there is one."""
        return self.backbone if self.adapter is None else self.adapter.backbone

    @model_validator(mode="after")
    def _alone_is_without_a_backbone(self):
        if self.nested is not None and self.nested.join == "alone" and self.backbone != "none":
            raise ValueError(
                "nested.join='alone' is without a backbone: set backbone='none' and weights=none. "
                f"Received: backbone={self.backbone!r}"
            )
        return self
