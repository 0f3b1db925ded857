"""A source task without labels, from the config to the target that starts from its backbone."""

import json

import keras
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from variants import further

from tlkeras import run_experiment
from tlkeras.config import (
    AugmentConfig,
    DataConfig,
    ExperimentConfig,
    HeadConfig,
    ModelConfig,
    PretextConfig,
    StageConfig,
    TasksConfig,
    apply_overrides,
    load_config,
)

VIEWS = AugmentConfig(crop=0.6, color=0.3)
PROJECTION = HeadConfig(name="mlp", units=(16,))


def pretraining(name):
    """Returns data, head and stage of a pretext task, small."""
    stage = StageConfig(name="source", train="all", bn="train", epochs=2)
    if name == "simclr":
        stage = stage.model_copy(update={"augment": VIEWS})
    head = PROJECTION if name == "simclr" else HeadConfig()
    own = {"dimensions": 6} if name == "simclr" else {}
    return PretextConfig(name=name, **own), head, stage


@pytest.fixture
def config(tmp_path):
    """Returns a function that makes two tasks: pictures in a flat folder, and digits with few labels."""
    from sklearn.datasets import load_digits

    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(load_digits().images[:80]):
        Image.fromarray(np.uint8(image * 15)).save(tmp_path / "pictures" / f"{number}.png")

    def make(name, strategy="share_weights"):
        pretext, head, stage = pretraining(name)
        return ExperimentConfig(
            name="pretext",
            data=DataConfig(source="digits", image_size=8, batch_size=20, per_class=4, limit=100),
            model=ModelConfig(backbone="small_cnn", weights=None, backbone_options={"filters": [6, 8]}),
            stages=[StageConfig(name="target", train="all", bn="train", epochs=2, augment=stage.augment)],
            tasks=TasksConfig(
                strategy=strategy,
                source=DataConfig(
                    source=f"folder:{tmp_path / 'pictures'}", image_size=8, batch_size=20, pretext=pretext
                ),
                head=head,
                stages=[stage],
            ),
            cache={"dir": str(tmp_path / "cache"), "extractor": "exact"},
        )

    return make


def backbone(path):
    model = keras.models.load_model(path, compile=False)
    own = [layer for layer in model.layers if layer.name.startswith(("conv", "bn"))]
    return [weights for layer in own for weights in layer.get_weights()]


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("name", ["simclr", further("rotation")])
def test_target_starts_from_what_was_learned_without_labels(config, tmp_path, name):
    run = run_experiment(config(name, "fix_common"), tmp_path / "run")
    source, target = (backbone(tmp_path / f"run/{task}/best.keras") for task in ("source", "target"))
    assert source and all(np.array_equal(a, b) for a, b in zip(source, target, strict=True))
    transferred = json.loads((tmp_path / "run/target/manifest.json").read_text())["weights"]
    assert transferred.endswith("source")
    tasks = run.before_and_after
    assert tasks["source"]["before"] == tasks["source"]["after"]
    assert {"accuracy", "loss", "rows"} <= tasks["source"]["after"]["test"].keys()


@pytest.mark.usefixtures("without_report")
def test_what_the_pretext_task_has_forgotten_is_measured(config, tmp_path):
    run = run_experiment(config("simclr"), tmp_path / "run")
    source = run.before_and_after["source"]
    assert source["before"]["test"]["loss"] != source["after"]["test"]["loss"]
    assert source["before"]["test"]["batch_size"] == len(range(16))  # all of the sixteen test pictures
    own = json.loads((tmp_path / "run/source/evaluation/metrics.json").read_text())["source"]
    assert own["test"]["accuracy"] == pytest.approx(source["before"]["test"]["accuracy"])


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("name", ["rotation", further("simclr")])
def test_pretext_task_trains_beside_the_target(config, tmp_path, name):
    longer = ["stages.0.epochs=12", "stages.0.optimizer.learning_rate=0.003"]
    config = apply_overrides(config(name, "share_gradients"), longer)
    run = run_experiment(config, tmp_path / "run")
    for task in ("source", "target"):
        when = run.before_and_after[task]
        assert when["after"]["train"]["loss"] < when["before"]["train"]["loss"]


def pretext_alone(name, epochs, **more):
    pretext, head, stage = pretraining(name)
    return ExperimentConfig(
        data=DataConfig(source="digits", image_size=8, batch_size=32, limit=200, pretext=pretext),
        model=ModelConfig(
            backbone="small_cnn", weights=None, backbone_options={"filters": [8, 16]}, head=head
        ),
        stages=[stage.model_copy(update={"epochs": epochs, **more})],
    )


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run that has learned for one epoch."""
    return run_experiment(pretext_alone("simclr", 1), tmp_path_factory.mktemp("begun") / "run")


@pytest.mark.usefixtures("without_report")
def test_simclr_learns_to_find_the_other_view(begun, tmp_path):
    learned = run_experiment(pretext_alone("simclr", 15), tmp_path / "run")
    before, after = (run.metrics["source"]["test"] for run in (begun, learned))
    assert after["loss"] < before["loss"] - 0.1 and after["accuracy"] > before["accuracy"]


def test_evaluate_gives_the_numbers_of_the_run_again(begun):
    first = dict(begun.metrics["source"]["test"])
    assert begun.evaluate()["source"]["test"] == pytest.approx(first, rel=1e-5)
    assert (begun.path / "report.html").is_file()


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("simclr", ["model.head.name=linear"], "projection of two layers"),
        ("simclr", ["stages.0.augment={}"], "equal without augmentation"),
        ("simclr", ["data.batch_size=auto"], "to a number"),
        ("simclr", ["stages.0.augment.mixup=0.2"], "with augment.mixup"),
        ("rotation", ["stages.0.augment.flip=vertical"], "cannot be distinguished"),
        ("rotation", ["stages.0.augment.rotation=60"], "cannot be distinguished"),
        ("rotation", ["data.folds=5"], "cross-validation needs labels"),
        ("rotation", ['verdict.twins=["scratch"]'], "need a task with labels"),
        ("rotation", ["adaptation.target.source=digits"], "a pretext task has none"),
    ],
)
def test_what_does_not_suit_the_pretext_task_is_one_line(name, words, message):
    with pytest.raises((ValidationError, ValueError, Exception), match=message) as error:
        apply_overrides(pretext_alone(name, 1), words)
    assert "Received" in str(error.value)


@pytest.mark.parametrize("name", ["simclr_then_few_labels", further("rotation_then_few_labels")])
def test_named_experiments_run_end_to_end(name, tmp_path):
    words = ["tasks.stages.0.epochs=1", "stages.0.epochs=1", "tasks.source.limit=100", "data.limit=200",
             'model.backbone_options={"filters": [4, 8]}', f"cache.dir={tmp_path / 'cache'}"]  # fmt: skip
    run = run_experiment(load_config(name, words), tmp_path / "run")
    assert run.metrics["target"]["test"]["rows"] > 0
