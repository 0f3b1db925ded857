"""The networks of candidates: raw inputs to features, and to logits if the candidate has a head."""

from dataclasses import dataclass

import keras

from tlkeras.config import ExperimentConfig, LinearHeadConfig, NeckConfig, load_config
from tlkeras.data import Domain
from tlkeras.models import BACKBONES, build_model
from tlkeras.models.backbones.preprocessing import build_preprocessing
from tlkeras.models.cuts.graph import inputs_of, output_of, replay
from tlkeras.models.facts_of_data import with_facts_of_data
from tlkeras.models.source_head import network_with_head
from tlkeras.run_dir import RunDir
from tlkeras.runs.model_file import load_model
from tlkeras.studies.candidates import Candidate


@dataclass(frozen=True)
class CandidateNetwork:
    """The network of a candidate.

    Attributes:
        trunk: Model from raw inputs to `(b, features + classes)`: feature vectors, then logits.
        features: Width of the feature vector.
        classes: Number of logits of the source model, or 0 without a trained head.
        binary: Whether the source model is a binary classifier with a single logit.
        parameters: Number of parameters up to the features.
        head: Model from feature vectors to logits, if `trunk` does not compute the logits.
    """

    trunk: keras.Model
    features: int
    classes: int
    binary: bool
    parameters: int
    head: keras.Model | None = None


def image_size(candidate: Candidate, config: ExperimentConfig):
    """Returns the image size of a candidate's inputs, or None if it takes vectors.

    A run uses its own size. A backbone uses the size of the config, or else its default size.
    """
    if candidate.is_run:
        shape = RunDir(candidate.name).read_json("manifest.json")["input_shape"]
        return tuple(shape[:2]) if len(shape) == 3 else None
    return config.data.image_size or BACKBONES.get(candidate.name).size or None


def candidate_network(candidate: Candidate, config: ExperimentConfig, source: Domain) -> CandidateNetwork:
    """Builds the network of a candidate.

    Args:
        candidate: Candidate to build.
        config: Config of the target task.
        source: Data of the target task, as the candidate takes them.

    Raises:
        UserError: The weights are not available, or the input does not fit.
    """
    if candidate.is_run:
        return _of_run(RunDir(candidate.name))
    row = BACKBONES.get(candidate.name)
    pooling = config.model.neck.pooling if config.model.neck.pooling in ("max", "both") else None
    options = config.model.backbone_options if candidate.name == config.model.backbone else {}
    model_config = config.model.model_copy(
        update={
            "backbone": candidate.name, "weights": candidate.weights, "fallback": None,
            "backbone_options": options, "adapter": None, "nested": None, "neck": NeckConfig(pooling=pooling),
            "head": LinearHeadConfig(),
        }
    )  # fmt: skip
    model_config = with_facts_of_data(model_config, source)
    model = build_model(model_config, input_shape=source.input_shape, num_outputs=2, seed=config.seed)
    trunk = model.trunk()
    packaged = candidate.weights == "imagenet" and row.weights_package and pooling is None
    head = _packaged_head(row, source.input_shape) if packaged else None
    return CandidateNetwork(trunk, trunk.output_shape[-1], 0, False, trunk.count_params(), head)


def top_model(candidate: Candidate) -> CandidateNetwork | None:
    """Returns a backbone with the ImageNet head at its own image size.

    It is None if the file of that head is not available.
    """
    if candidate.is_run or candidate.weights != "imagenet":
        return None
    net = network_with_head(candidate.name)
    if net is None:
        return None
    shape, mode = net.input_shape[1:], BACKBONES.get(candidate.name).family.preprocessing
    inputs = keras.Input(shape, dtype="float32", name="inputs")
    logits = replay(net, replay(build_preprocessing(mode, shape), inputs))
    return CandidateNetwork(keras.Model(inputs, logits), 0, net.output_shape[-1], False, net.count_params())


def head_of_weights(candidate: Candidate) -> Candidate | None:
    """Returns the run from which a backbone takes its weights, or None."""
    if candidate.is_run or candidate.weights in (None, "imagenet"):
        return None
    run = RunDir(candidate.weights)
    if not (run.is_run and run.best_model.is_file()):
        return None
    same = load_config(str(run.config)).model.backbone == candidate.name
    return Candidate(candidate.weights, "run") if same else None


def _of_run(run: RunDir) -> CandidateNetwork:
    model = load_model(run.best_model)
    (logits,) = model.outputs
    features = output_of(model, "features")
    binary = run.read_json("manifest.json")["task"] == "binary"
    return _joined(inputs_of(model), features, logits, binary=binary)


def _packaged_head(row, input_shape: tuple) -> keras.Model | None:
    """Returns the layers after the pooling of a network whose weights file has the head, or None."""
    net = network_with_head(row.name, input_shape)
    if net is None:
        return None
    pooled = next(x for x in reversed(net.layers) if isinstance(x, keras.layers.GlobalAveragePooling2D))
    return keras.Model(output_of(net, pooled.name), net.outputs[0])


def _joined(inputs, features, logits, binary: bool = False) -> CandidateNetwork:
    both = keras.layers.Concatenate(name="features_and_logits", dtype="float32")([features, logits])
    parameters = keras.Model(inputs, features).count_params()
    trunk = keras.Model(inputs, both, name="trunk")
    return CandidateNetwork(trunk, features.shape[-1], logits.shape[-1], binary, parameters)
