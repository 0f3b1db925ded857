"""The network: a backbone with its weights, a neck and a head."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tlkeras.config.base import Config
from tlkeras.config.data import Fraction, PositiveInt


class NeckConfig(Config):
    """What turns the backbone's output into a feature vector.

    Attributes:
        pooling: Over the spatial axes: average, max, both concatenated, or none of it (`flatten`).
            Ignored where the backbone already puts out vectors.
        bottleneck: Units of an optional Dense-BatchNorm-ReLU layer after pooling; None is no bottleneck.
        dropout: Dropout rate on the feature vector.
    """

    pooling: Literal["avg", "max", "both", "flatten"] = "avg"
    bottleneck: PositiveInt | None = None
    dropout: Fraction = 0.0


class HeadConfig(Config):
    """What turns the feature vector into logits.

    Attributes:
        name: A registered head: `linear`, `mlp`, `cosine`, ...
        units: Widths of the hidden layers of an `mlp` head.
        activation: Activation of the hidden layers.
        dropout: Dropout rate after each hidden layer.
        batch_norm: Whether hidden layers are followed by BatchNormalization.
        zero_init: Whether the last layer's kernel and bias start at zero.
        scale: Start value of the `cosine` head's learned scale.
        neighbors: How many of its rows the `neighbors` head asks.
        vote: How it counts them: by one over their `distance`, or each the same (`uniform`).
        rows: How many rows it holds. A run sets it to the number of its training rows.
    """

    name: str = "linear"
    units: tuple[PositiveInt, ...] = (256,)
    activation: str = "relu"
    dropout: Fraction = 0.0
    batch_norm: bool = False
    zero_init: bool = False
    scale: Annotated[float, Field(gt=0)] = 16.0
    neighbors: PositiveInt = 5
    vote: Literal["distance", "uniform"] = "distance"
    rows: PositiveInt | None = None


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
        neck: Pooling and bottleneck.
        head: The new head.
    """

    backbone: str = "mobilenet_v2"
    weights: str | None = "imagenet"
    fallback: str | None = None
    backbone_options: dict[str, Any] = {}
    bn_momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    neck: NeckConfig = NeckConfig()
    head: HeadConfig = HeadConfig()
