"""The network of a candidate: raw inputs to features, and to what its own head says where it has one."""

from dataclasses import dataclass

import keras

from tlkeras.config import ExperimentConfig, LinearHeadConfig, NeckConfig, load_config
from tlkeras.models import BACKBONES, build_model
from tlkeras.models.backbones.preprocessing import build_preprocessing
from tlkeras.models.cuts.graph import output_of, replay
from tlkeras.models.source_head import network_with_head
from tlkeras.run_dir import RunDir
from tlkeras.runs.saved_run import load_model
from tlkeras.studies.candidates import Candidate


@dataclass(frozen=True)
class SourceModel:
    """A candidate's network.

    Attributes:
        trunk: Raw inputs -> `(b, features + classes)`: feature vector and logits side by side.
        features: Width of the feature vector.
        classes: Number of the source model's logits; 0 without a trained head.
        binary: Whether its one logit is that of a yes or no.
        parameters: Number of parameters up to the features.
        head: Feature vectors -> logits, where these do not stand beside the features.
    """

    trunk: keras.Model
    features: int
    classes: int
    binary: bool
    parameters: int
    head: keras.Model | None = None


def image_size(candidate: Candidate, config: ExperimentConfig):
    """Returns the size at which a candidate sees images; None where it takes vectors.

    A run sees them at its own, a backbone at that of the config or else its default.
    """
    if candidate.is_run:
        shape = RunDir(candidate.name).read_json("manifest.json")["input_shape"]
        return tuple(shape[:2]) if len(shape) == 3 else None
    return config.data.image_size or BACKBONES.get(candidate.name).size or None


def source_model(candidate: Candidate, config: ExperimentConfig, input_shape: tuple) -> SourceModel:
    """Builds a candidate.

    Args:
        candidate: What to build.
        config: Of the target task.
        input_shape: Shape of one raw input.

    Raises:
        UserError: Weights that cannot be had, or an input that does not suit it.
    """
    if candidate.is_run:
        return _of_run(RunDir(candidate.name))
    row = BACKBONES.get(candidate.name)
    pooling = config.model.neck.pooling if config.model.neck.pooling in ("max", "both") else "avg"
    options = config.model.backbone_options if candidate.name == config.model.backbone else {}
    model_config = config.model.model_copy(
        update={
            "backbone": candidate.name, "weights": candidate.weights, "fallback": None,
            "backbone_options": options, "adapter": None, "nested": None, "neck": NeckConfig(pooling=pooling),
            "head": LinearHeadConfig(),
        }
    )  # fmt: skip
    model = build_model(model_config, input_shape=input_shape, num_outputs=2, seed=config.seed)
    trunk = model.trunk()
    packaged = candidate.weights == "imagenet" and row.weights_package and pooling == "avg"
    head = _packaged_head(row, input_shape) if packaged else None
    return SourceModel(trunk, trunk.output_shape[-1], 0, False, trunk.count_params(), head)


def top_model(candidate: Candidate) -> SourceModel | None:
    """Returns a backbone with ImageNet's head at its own image size.

    None where the file with that head is not at hand.
    """
    if candidate.is_run or candidate.weights != "imagenet":
        return None
    net = network_with_head(candidate.name)
    if net is None:
        return None
    shape, mode = net.input_shape[1:], BACKBONES.get(candidate.name).family.preprocessing
    inputs = keras.Input(shape, dtype="float32", name="inputs")
    logits = replay(net, replay(build_preprocessing(mode, shape), inputs))
    return SourceModel(keras.Model(inputs, logits), 0, logits.shape[-1], False, net.count_params())


def head_of_weights(candidate: Candidate) -> Candidate | None:
    """Returns the run whose weights a backbone takes, where it takes a run's."""
    if candidate.is_run or candidate.weights in (None, "imagenet"):
        return None
    run = RunDir(candidate.weights)
    if not (run.is_run and run.best_model.is_file()):
        return None
    same = load_config(str(run.config)).model.backbone == candidate.name
    return Candidate(candidate.weights, "run") if same else None


def _of_run(run: RunDir) -> SourceModel:
    model = load_model(run.best_model)
    (inputs,), (logits,) = model.inputs, model.outputs
    features = output_of(model, "features")
    return _joined(inputs, features, logits, binary=run.read_json("manifest.json")["task"] == "binary")


def _packaged_head(row, input_shape: tuple) -> keras.Model:
    """Returns what comes after the pooling of a network whose head is in the same file."""
    net = network_with_head(row.name, input_shape)
    pooled = next(x for x in reversed(net.layers) if isinstance(x, keras.layers.GlobalAveragePooling2D))
    return keras.Model(output_of(net, pooled.name), net.outputs[0])


def _joined(inputs, features, logits, binary: bool = False) -> SourceModel:
    both = keras.layers.Concatenate(name="features_and_logits", dtype="float32")([features, logits])
    parameters = keras.Model(inputs, features).count_params()
    trunk = keras.Model(inputs, both, name="trunk")
    return SourceModel(trunk, features.shape[-1], logits.shape[-1], binary, parameters)
