"""Classification by the names of classes: the text towers of CLIP and SigLIP against transformers."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from random_tensors import random_pictures, random_tensor
from safetensors.numpy import save_file

from tlkeras import run_experiment
from tlkeras.config import DataConfig, ExperimentConfig, HeadConfig, ModelConfig, StageConfig
from tlkeras.data.tokenizer import Tokenizer
from tlkeras.errors import UserError
from tlkeras.models import build_model
from tlkeras.models.text_towers import _ids

tokenizers = pytest.importorskip("tokenizers")

PAIRS = json.loads((Path(__file__).parent / "tiny_pairs.json").read_text())
SPECIAL = ["<pad>", "</s>", "<|startoftext|>", "<|endoftext|>"]
WORDS = [*SPECIAL, "a", "photo", "of", "red", "green", "round", "thing", "cat"]
NAMES = ("red_cat", "green round thing", "round")
PROMPT = "a photo of {}"
BACKBONES = {"CLIP": "clip_base_16", "Siglip": "siglip_base"}
OPTIONS = {"width": 16, "depth": 2, "heads": 2, "patch": 8}


@pytest.fixture(scope="module", params=sorted(PAIRS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    """A folder as transformers writes it: weights, config and tokenizer."""
    found, place = PAIRS[kind], tmp_path_factory.mktemp(kind)
    save_file(
        {k: random_tensor(k, tuple(shape)) for k, shape in found["shapes"].items()},
        place / "model.safetensors",
    )
    (place / "config.json").write_text(json.dumps({"text_config": found["text_config"]}))
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    around = "<|startoftext|> $A <|endoftext|>" if kind == "CLIP" else "$A </s>"
    special = [(word, i) for i, word in enumerate(SPECIAL) if word in around]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single=around, special_tokens=special)
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(place / "tokenizer.json"))
    if kind == "Siglip":
        (place / "tokenizer_config.json").write_text('{"pad_token": "</s>"}')
    return place


def config_of(kind, folder, **head):
    head = HeadConfig(name="class_names", prompts=[PROMPT], **head)
    return ModelConfig(backbone=BACKBONES[kind], weights=str(folder), backbone_options=OPTIONS, head=head)


def test_ids_are_those_that_the_original_was_given(kind, folder):
    texts = [PROMPT.format(name.replace("_", " ")) for name in NAMES]
    found = _ids(Tokenizer.read(folder), texts, 10, folder if kind == "Siglip" else None)
    np.testing.assert_array_equal(found["ids"], PAIRS[kind]["ids"])


def test_logits_are_those_of_transformers(kind, folder):
    config = config_of(kind, folder, class_names=NAMES, weights=str(folder))
    model = build_model(config, input_shape=(32, 32, 3), num_outputs=3)
    logits = model.head(model.neck(model.backbone(random_pictures(2, 32)))).numpy()
    np.testing.assert_allclose(logits, PAIRS[kind]["logits"], atol=2e-5)


def test_several_prompts_are_averaged_as_unit_vectors(kind, folder):
    def kernel(*prompts):
        config = config_of(kind, folder, class_names=NAMES, weights=str(folder))
        config = config.model_copy(update={"head": config.head.model_copy(update={"prompts": prompts})})
        return build_model(config, input_shape=(32, 32, 3), num_outputs=3).head.layers[-1].get_weights()[0]

    one, two, both = kernel(PROMPT), kernel("{}"), kernel(PROMPT, "{}")
    scale = np.linalg.norm(one[:, 0])
    expected = one / scale + two / scale
    np.testing.assert_allclose(both / scale, expected / np.linalg.norm(expected, axis=0), atol=1e-6)


# a whole run is the same for both
of_clip = pytest.mark.parametrize("kind", ["CLIP"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 255, (24, 32, 32, 3)).astype("float32"), np.array(sorted(NAMES))[np.arange(24) % 3]
    return {"train": (x[:12], y[:12]), "val": (x[12:18], y[12:18]), "test": (x[18:], y[18:])}


def experiment(kind, folder, stages, batch_size=6):
    data = DataConfig(source="arrays", batch_size=batch_size, image_size=(32, 32))
    return ExperimentConfig(data=data, model=config_of(kind, folder), stages=stages)


@of_clip
def test_a_run_without_stages_classifies_by_the_names_alone(kind, folder, rows, tmp_path):
    run = run_experiment(experiment(kind, folder, ()), tmp_path / "run", data=rows)
    model = keras.models.load_model(run.run_dir.best_model)
    x = rows["test"][0]
    config = config_of(kind, folder, class_names=sorted(NAMES), weights=str(folder))
    untrained = build_model(config, input_shape=(32, 32, 3), num_outputs=3).to_functional()
    np.testing.assert_allclose(model(x).numpy(), untrained(x).numpy(), atol=1e-5)
    assert {layer.name for layer in model.layers} >= {"head_unit", "logits"}
    assert run.metrics["source"]["test"]["rows"] == 6
    again = run_experiment(experiment(kind, folder, ()), tmp_path / "run", data=rows)
    assert again.metrics == run.metrics


@pytest.mark.usefixtures("without_report")
@of_clip
def test_a_stage_starts_from_the_names(kind, folder, rows, tmp_path):
    stage = StageConfig(name="head", train="head", steps=2, optimizer={"learning_rate": 1e-5})
    run = run_experiment(experiment(kind, folder, [stage]), tmp_path / "run", data=rows)
    config = config_of(kind, folder, class_names=sorted(NAMES), weights=str(folder))
    start = build_model(config, input_shape=(32, 32, 3), num_outputs=3).head.layers[-1].get_weights()
    end = keras.models.load_model(run.run_dir.best_model).get_layer("logits").get_weights()
    np.testing.assert_allclose(end[0], start[0], atol=1e-4)
    assert np.abs(end[0] - start[0]).max() > 0


@pytest.mark.usefixtures("without_report")
@of_clip
@pytest.mark.parametrize("train", ["head", "last:1"])
def test_the_names_are_an_anchor_of_the_head(kind, folder, rows, train, tmp_path):
    config = config_of(kind, folder, class_names=sorted(NAMES), weights=str(folder))
    start = build_model(config, input_shape=(32, 32, 3), num_outputs=3).head.layers[-1].get_weights()[0]

    def distance(name, **regularizer):
        near = (
            {"regularizer": {"name": "l2_sp", "weight": 1.0, "options": regularizer}} if regularizer else {}
        )
        # a step of .05 with a factor of 20 goes straight back to the anchor
        sgd = {"name": "sgd", "learning_rate": 0.05}
        stage = StageConfig(name="tune", train=train, epochs=1, optimizer=sgd, **near)
        run = run_experiment(experiment(kind, folder, [stage], batch_size=1), tmp_path / name, data=rows)
        return np.linalg.norm(
            keras.models.load_model(run.run_dir.best_model).get_layer("logits").kernel - start
        )

    free, held = distance("free"), distance("held", head=20.0)
    assert 0 < held < 0.7 * free  # what is left is the last step


@of_clip
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": {"name": "class_names", "prompts": ["a photo"]}}, "needs {} once"),
        ({"head": {"name": "class_names", "prompts": ["{} and {}"]}}, "needs {} once"),
        ({"head": {"name": "class_names", "prompts": ["a {name}"]}}, "needs {} once"),
        ({"weights": None}, "needs a checkpoint of CLIP or SigLIP"),
        ({"neck": {"bottleneck": 8}}, "without a bottleneck"),
    ],
)
def test_mistakes_are_named(change, message, folder, kind, rows, tmp_path):
    good = config_of(kind, folder).model_dump()
    with pytest.raises((UserError, ValueError), match=message):
        config = experiment(kind, folder, ()).model_dump() | {"model": good | change}
        run_experiment(ExperimentConfig(**config), tmp_path / "run", data=rows)
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_without_text_tower_is_refused(folder, kind, tmp_path):
    names = [name for name in PAIRS[kind]["shapes"] if not name.startswith("text_model.")]
    save_file(
        {k: random_tensor(k, tuple(PAIRS[kind]["shapes"][k])) for k in names}, tmp_path / "model.safetensors"
    )
    with pytest.raises(UserError, match="with the text tower"):
        build_model(
            config_of(kind, tmp_path, class_names=NAMES, weights=str(tmp_path)),
            input_shape=(32, 32, 3),
            num_outputs=3,
        )
