"""What tasks are not combined with is said in one line, before anything is written."""

import pytest

from tlkeras import run_experiment
from tlkeras.config import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    StageConfig,
    TasksConfig,
    apply_overrides,
)
from tlkeras.errors import UserError
from tlkeras.studies.two_task_checks import check_tasks

DIGITS = DataConfig(source="digits", image_size=8)


def experiment(strategy, *words):
    config = ExperimentConfig(
        data=DIGITS,
        model=ModelConfig(backbone="small_cnn", weights=None),
        stages=[StageConfig(name="both", train="all")],
        tasks=TasksConfig(strategy=strategy, source=DIGITS),
    )
    return apply_overrides(config, list(words))


JOINT = "share_gradients"
REFUSED = [
    (JOINT, ["adaptation.target.source=digits", "adaptation.method=dann"], "method=dann"),
    (
        JOINT,
        ["adaptation.target.source=digits", "adaptation.method=none", "adaptation.batch_norm=adabn"],
        "adabn",
    ),
    (JOINT, ["stages.0.probe.name=prototypes"], "stages.both.probe=prototypes"),
    (JOINT, ["stages.0.gradual=true"], "the first gradual"),
    ("share_weights", ["data.folds=3"], "data.folds=3"),
    ("fix_common", ["tasks.source.folds=3"], "tasks.source.folds=3"),
    ("fix_common", ["model.nested.source=runs/x"], "choose one of them"),
]


@pytest.mark.parametrize(("strategy", "words", "message"), REFUSED)
def test_what_would_not_take_part_is_refused(strategy, words, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        run_experiment(experiment(strategy, *words), tmp_path / "run")
    assert "Received: " in str(error.value) and not (tmp_path / "run").exists()


def test_arrays_for_one_of_two_sources_are_refused(tmp_path):
    with pytest.raises(UserError, match="Received: tasks and data with train"):
        run_experiment(experiment("share_weights"), tmp_path / "run", data={"train": ([], [])})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ("share_weights", ["adaptation.target.source=digits", "adaptation.method=dann"]),
        ("fix_common", ["stages.0.probe.name=prototypes"]),
        ("share_weights", ["stages.0.regularizer.name=l2_sp"]),
        (JOINT, ["data.folds=3", "data.fold=1"]),
    ],
)
def test_what_takes_part_passes(strategy, words):
    check_tasks(experiment(strategy, *words))
