"""Config of the network: a backbone with its weights, a neck and a head."""

import string
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tlkeras.config.base import Config
from tlkeras.config.columns import Columns
from tlkeras.config.data import Fraction, PositiveInt
from tlkeras.config.kinds import Kinds
from tlkeras.maybe import MaybeNone

Pooling = Literal["avg", "max", "both", "flatten", "class", "class_and_avg", "gem"]


class BranchConfig(Config):
    """Private dense layers of a task: one of the parallel branches of a neck.

    Attributes:
        pooling: Pooling of the branch; see `NeckConfig`. None uses the pooling of the neck.
        units: Widths of the layers. If empty, the branch returns the pooled features.
        activation: Activation after each layer.
        dropout: Dropout rate after each layer.
    """

    pooling: Pooling | MaybeNone = None
    units: tuple[PositiveInt, ...] = (64,)
    activation: str = "relu"
    dropout: Fraction = 0.0


class AdapterConfig(BranchConfig):
    """A private input branch, which maps the inputs of a task to the input vectors of the common part.

    It trains in every stage, like neck and head, so that no trunk can be cached. BatchNormalization in its
    network follows the `bn` of the stage.

    Attributes:
        backbone: Registered name of the network before the dense layers, or `none` for no network.
        weights: Weights of this network; see `ModelConfig`.
        backbone_options: Extra keyword arguments of its builder.
        pooling: Pooling of the outputs of the network.
        units: Widths of the dense layers. The last is the width of the common part's inputs.
    """

    backbone: str = "none"
    weights: str | None = None
    backbone_options: dict[str, Any] = {}
    pooling: Pooling = "flatten"
    units: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64,)


class NestedConfig(Config):
    """A complete earlier model with its head as a part of this model (task nesting).

    Its outputs are features for the head of this model. It takes the same raw inputs, and it is the first of
    the blocks, with the name `nested`.

    Attributes:
        source: Directory of an earlier run, or a `.keras` file.
        activation: Activation on its outputs, which are logits for a run. `linear` keeps them, and `softmax`
            and `sigmoid` convert them to probabilities.
        join: Use of its outputs: `concat` concatenates them with the pooled features of the backbone, and
            `alone` uses no backbone (`backbone="none"`).
        frozen: Whether it is frozen in all stages, also with `train="all"`.
        pretrained: Whether its weights are used. If not, its architecture gets random weights.
    """

    source: str
    activation: Literal["linear", "softmax", "sigmoid"] = "linear"
    join: Literal["concat", "alone"] = "concat"
    frozen: bool = True
    pretrained: bool = True


class NeckConfig(Config):
    """The layers that convert the output of the backbone to a feature vector.

    Attributes:
        pooling: Pooling over the places of a map or the tokens of the patches: average, max, both
            concatenated, the generalised mean with power 3 (`gem`, Radenovic et al. 2019) or no pooling
            (`flatten`). For a transformer it can also be the class token (`class`) or the class token and
            the average (`class_and_avg`). None uses the pooling with which the paper of the backbone's
            family probes. It has no effect if the backbone returns vectors.
        branches: Parallel private branches, each on the output of the backbone. If empty, there are none.
        join: Combination of the outputs of the branches: concatenation or mean.
        bottleneck: Units of an optional Dense-BatchNorm-ReLU layer after pooling and branches, or None.
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
    """The head, which converts the feature vector to logits. Each kind of head has its own fields.

    `HeadConfig(name=...)` makes the config of that head.

    Attributes:
        name: Registered name of the head. `tlkeras list heads` prints all.
    """

    told_by, default = "name", "linear"


class LinearHeadConfig(HeadConfig):
    """A head of one Dense layer.

    Attributes:
        zero_init: Whether kernel and bias are initialised with zero.
    """

    name: Literal["linear"] = "linear"
    zero_init: bool = False


class MlpHeadConfig(HeadConfig):
    """A head of hidden Dense layers and one Dense layer. `flatten_dense` is the same on a flattened map.

    Attributes:
        units: Widths of the hidden layers.
        activation: Activation of the hidden layers.
        dropout: Dropout rate after each hidden layer.
        batch_norm: Whether hidden layers are followed by BatchNormalization.
        zero_init: Whether kernel and bias of the last layer are initialised with zero.
    """

    name: Literal["mlp", "flatten_dense"] = "mlp"
    units: tuple[PositiveInt, ...] = (256,)
    activation: str = "relu"
    dropout: Fraction = 0.0
    batch_norm: bool = False
    zero_init: bool = False


class CosineHeadConfig(HeadConfig):
    """A head of scaled cosines between the features and one learned vector per class.

    Attributes:
        scale: Initial value of the learned scale.
    """

    name: Literal["cosine"] = "cosine"
    scale: Annotated[float, Field(gt=0)] = 16.0


class NeighborsHeadConfig(HeadConfig):
    """A head that stores the training rows. A `knn` probe fills it.

    Attributes:
        neighbors: Number of nearest rows that vote.
        vote: Weight of a vote: one over the `distance`, or equal weights (`uniform`).
        rows: Number of stored rows. A run sets it to the number of its training rows.
    """

    name: Literal["neighbors"] = "neighbors"
    neighbors: PositiveInt = 5
    vote: Literal["distance", "uniform"] = "distance"
    rows: PositiveInt | None = None


class ClassNamesHeadConfig(HeadConfig):
    """A classifier that begins with the names of the classes, as the text tower of CLIP or SigLIP reads them.

    With `stages=[]` it classifies without any training (zero-shot). A stage can train it further.

    Attributes:
        prompts: Texts in which `{}` stands for the name of a class. Several are averaged.
        weights: Checkpoint of transformers with both towers; None for `model.weights`.
        tokenizer: `tokenizer.json`, or its folder; None for the one next to the weights.
        class_names: Names of the classes, in the order of the data. None for the names in the data.
    """

    name: Literal["class_names"] = "class_names"
    prompts: Annotated[tuple[str, ...], Field(min_length=1)] = ("a photo of a {}.",)
    weights: str | None = None
    tokenizer: str | None = None
    class_names: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _prompts_have_a_place(self):
        for prompt in self.prompts:
            try:
                fields = [field for _, field, _, _ in string.Formatter().parse(prompt) if field is not None]
            except ValueError:
                fields = []
            if fields != [""]:
                raise ValueError(
                    f"each prompt needs {{}} once, in place of the name of a class. Received: {prompt!r}"
                )
        return self


class OtherHeadConfig(HeadConfig):
    """A head that a package or a file of the user registers in `HEADS`.

    Attributes:
        options: Settings of the head, whose names its row in `HEADS` defines.
    """

    name: str
    options: dict[str, Any] = {}


class FrontEndConfig(Config):
    """The layers before the backbone that turn sounds into pictures: a spectrogram on the mel scale.

    Attributes:
        bands: Number of bands, which is the height of the picture.
        window: Seconds of a frame.
        hop: Seconds between the beginnings of two frames.
        low: Lower end of the lowest band in Hz.
        high: Upper end of the highest band in Hz. None means half the sampling rate.
        size: Height and width to which the picture is resized. None keeps bands and frames.
        sample_rate: Samples per second. A run sets it to `data.sample_rate`.
    """

    takes: ClassVar[str] = "sound"
    """Modality of the inputs."""
    makes: ClassVar[str] = "image"
    """Modality of the inputs of the backbone behind it."""

    bands: Annotated[int, Field(ge=8, le=512)] = 64
    window: Annotated[float, Field(gt=0, le=1)] = 0.025
    hop: Annotated[float, Field(gt=0, le=1)] = 0.01
    low: Annotated[float, Field(ge=0)] = 60.0
    high: Annotated[float, Field(gt=0)] | None = None
    size: tuple[PositiveInt, PositiveInt] | None = None
    sample_rate: PositiveInt | MaybeNone = None


class BesideConfig(Config):
    """A further backbone, for a further part of each row.

    Attributes:
        backbone: Registered name of the network.
        weights: Weights of this network; see `ModelConfig`.
        backbone_options: Extra keyword arguments of its builder.
        pooling: Pooling of its outputs; see `NeckConfig`.
    """

    backbone: str
    weights: str | None = None
    backbone_options: dict[str, Any] = {}
    pooling: Pooling | None = None


class JoinConfig(Kinds):
    """The way in which the features of several backbones become one vector.

    `JoinConfig(name=...)` makes the config of that join.

    Attributes:
        name: Name of the join: `concat`, `gated` or `low_rank`.
        dropout: Rate at which training drops the whole features of one part of a row (modality dropout,
            Neverova et al. 2016). It prepares the head for rows in which a part is missing.
    """

    told_by, default = "name", "concat"

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class ConcatJoinConfig(JoinConfig):
    """A join that concatenates the features."""

    name: Literal["concat"] = "concat"


class GatedJoinConfig(JoinConfig):
    """A join by gates, which weigh the parts for each row (Arevalo et al. 2017, section 3.1).

    Attributes:
        units: Width of the joined vector.
    """

    name: Literal["gated"] = "gated"
    units: PositiveInt = 256


class LowRankJoinConfig(JoinConfig):
    """A bilinear join of low rank (Kim et al. 2017, "Hadamard Product for Low-rank Bilinear Pooling").

    Attributes:
        units: Width of the joined vector.
        rank: Rank of the bilinear form, which is the width of the product.
    """

    name: Literal["low_rank"] = "low_rank"
    units: PositiveInt = 256
    rank: PositiveInt = 256


class ModelConfig(Config):
    """A backbone with its initial weights, a neck and a head.

    Attributes:
        backbone: Registered name in snake case. `tlkeras list backbones` prints all.
        weights: `imagenet`, a path to `.weights.h5` or `.keras`, the directory of an earlier run
            (parameter transfer by layer name and shape), a checkpoint of timm or transformers (a file, a
            folder, or `hf://ORG/NAME` on the Hugging Face Hub), a run that `tlkeras push` published there, or
            None for random weights.
        fallback: Backbone that is used, with a notice, if the ImageNet weights of `backbone` are not
            available and cannot be downloaded.
        backbone_options: Extra keyword arguments of the backbone's builder, e.g. `{"alpha": 0.5}`.
        bn_momentum: Momentum of the backbone's BatchNormalization. None keeps that of each layer.
        front_end: Layers that turn sounds into pictures for a backbone of images. None means the defaults of
            `FrontEndConfig` if the data are sounds.
        adapter: Private input branch, whose vectors are the inputs of the backbone, or None.
        nested: Complete earlier model as a part of this model, or None.
        beside: Backbones of further parts of a row, by the name of the part. `backbone` takes the first part
            of picture or sound, text and columns; `beside.text` and `beside.columns` take those after it.
        columns: Facts about the columns of the data. A run sets them; see `DataConfig.columns`.
        join: Way in which the features of several backbones become one vector.
        neck: Pooling, private branches and bottleneck.
        head: New head.
    """

    backbone: str = "mobilenet_v2"
    weights: str | None = "imagenet"
    fallback: str | None = None
    backbone_options: dict[str, Any] = {}
    bn_momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    front_end: FrontEndConfig | None = None
    adapter: AdapterConfig | None = None
    nested: NestedConfig | None = None
    beside: dict[Literal["text", "columns"], BesideConfig] = {}
    columns: Columns = {}
    join: JoinConfig = ConcatJoinConfig()
    neck: NeckConfig = NeckConfig()
    head: HeadConfig = LinearHeadConfig()

    @property
    def first_network(self) -> str:
        """Name of the first network that gets the inputs, which is that of the adapter if there is one."""
        return self.backbone if self.adapter is None else self.adapter.backbone

    @model_validator(mode="after")
    def _several_backbones_stand_alone(self):
        for field in ("adapter", "nested", "bn_momentum"):
            if self.beside and getattr(self, field) is not None:
                raise ValueError(f"beside cannot be combined with {field}. Received: beside and {field}")
        return self

    @model_validator(mode="after")
    def _alone_is_without_a_backbone(self):
        if self.nested is not None and self.nested.join == "alone" and self.backbone != "none":
            raise ValueError(
                "nested.join='alone' uses no backbone: set backbone='none' and weights=none. Received: "
                f"backbone={self.backbone!r}"
            )
        return self
