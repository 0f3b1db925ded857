"""Mistakes in an adaptation are one line, by a dry run as by a run, before a workdir exists."""

import numpy as np
import pytest
from PIL import Image

from tlkeras import run_experiment
from tlkeras.cli.main import main
from tlkeras.config import AugmentConfig, DataConfig, ExperimentConfig, ModelConfig, StageConfig, load_config
from tlkeras.errors import UserError
from tlkeras.plan import plan
from tlkeras.studies.twins import twin_config

MISTAKES = {
    "adaptation.method=dan_n": "Did you mean 'dan",
    'adaptation.options={"unit": [8]}': "Did you mean 'units'?",
    "adaptation.selection=infomax": "Allowed: bnm, dev, entropy, importance_weighted, information",
    "adaptation.target.per_class=3": "adaptation.target.per_class needs labels",
    "adaptation.target_labelled.image_size=24 data.image_size=16": "adaptation.target_labelled.image_size",
    "stages.0.adapt=false": "works in no stage",
    "adaptation.method=adamatch adaptation.options={}": "adaptation.strong_augment.noise",
    "adaptation.strong_augment.mixup=0.2": "adaptation.strong_augment.mixup",
    "adaptation.method=adda adaptation.strength.schedule=ganin": "with adapt=false. Received: strength.sch",
    "adaptation.method=adda adaptation.strength.schedule=warm_start adaptation.strength.start=0": "start=0",
    "checkpoint.monitor=oracle_target_accuracy": "uses target labels",
    "stages.0.early_stopping.monitor=oracle_target_accuracy": "uses target labels",
    "checkpoint.monitor=val_acuracy": "Did you mean 'val_accuracy'?",
    "stages.0.early_stopping.monitor=val_los": "Did you mean 'val_loss'?",
    "checkpoint.monitor=val_mae": "Allowed: val_loss, val_accuracy, loss, accuracy, val_selection, last_step",
}


@pytest.mark.parametrize("dry", [True, False], ids=["dry_run", "run"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_no_workdir(capsys, tmp_path, mistake, dry):
    words = [word for assignment in mistake.split() for word in ("--set", assignment)]
    if "unit" in mistake:
        words = ["--set", mistake]
    if "target_labelled" in mistake:
        words = ["--set", 'adaptation.target_labelled={"source": "digits"}', *words]
    if "early_stopping" in mistake:
        words = ["--set", "stages.0.early_stopping={}", *words]
    flags = ["train", "--config=moons_dann", f"--workdir={tmp_path / 'run'}", "--set", "stages.0.steps=2"]
    code = main([*flags, "--set", "adaptation.twin=false", *words, *(["--dry_run"] if dry else [])])
    error = capsys.readouterr().err
    assert code == 2 and len(error.strip().splitlines()) == 1, error
    assert MISTAKES[mistake] in error
    assert not (tmp_path / "run").exists()


@pytest.fixture
def pictures(tmp_path):
    """Returns a function that writes pictures of one size and returns an experiment from 16x16 to them."""

    def experiment(target_size=None, **adaptation):
        rng = np.random.default_rng(0)
        for domain, side in (("here", 16), ("there", 24)):
            for number in range(24):
                folder = tmp_path / domain / ("dark", "light")[number % 2]
                folder.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 99, (side, side, 3)) + 99 * (number % 2)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        target = DataConfig(source=f"folder:{tmp_path / 'there'}", image_size=target_size)
        if target_size is None:
            target = DataConfig(source=target.source)
        given = {"method": "mcc", "target": target, "twin": False, **adaptation}
        return ExperimentConfig(
            data=DataConfig(source=f"folder:{tmp_path / 'here'}", batch_size=4),
            model=ModelConfig(backbone="small_cnn", weights=None, backbone_options={"filters": [2, 2]}),
            stages=[StageConfig(name="adapt", train="all", steps=2)],
            adaptation=given,
        )

    return experiment


def test_a_target_of_another_size_is_refused(pictures, tmp_path):
    config = pictures(target_size=24)
    for check in (plan, lambda c: run_experiment(c, tmp_path / "run")):
        with pytest.raises(UserError, match=r"adaptation.target.image_size must equal data.image_size"):
            check(config)
    assert not (tmp_path / "run").exists()


def test_rows_of_another_width_and_a_monitor_without_rows_are_refused(tmp_path):
    for width in (2, 3):
        x, y = np.random.default_rng(0).normal(size=(20, width)), np.arange(20) % 2
        np.savez(tmp_path / f"{width}.npz", x_train=x.astype("float32"), y_train=y, x_test=x, y_test=y)
    given = [f"data.source=npz:{tmp_path / '2.npz'}", f"adaptation.target.source=npz:{tmp_path / '3.npz'}"]
    with pytest.raises(UserError, match=r"data.source gives 2, adaptation.target 3"):
        plan(load_config("moons_dann", given))
    given = [*given[:1], f"adaptation.target.source=npz:{tmp_path / '2.npz'}", "data.val_fraction=0"]
    with pytest.raises(UserError, match=r"checkpoint.monitor=val_loss needs validation rows"):
        plan(load_config("moons_dann", [*given, "checkpoint.monitor=val_loss"]))
    plan(load_config("moons_dann", [*given, "checkpoint.monitor=last_step"]))


def test_two_views_of_pictures_must_differ(pictures):
    with pytest.raises(UserError, match="strong_augment"):
        plan(pictures(method="adamatch", strong_augment=AugmentConfig()))
    plan(pictures(method="adamatch"))


def test_a_twin_whose_stages_do_not_adapt_is_no_mistake():
    config = load_config("moons_dann")
    probe = twin_config(config, "frozen_probe", 10)
    assert probe.adaptation.method == "none"
    plan(probe)
    assert twin_config(config, "scratch", 10).adaptation.method == "dann"


def test_a_monitor_of_a_regression_is_its_own():
    words = ["data.task=regression", "adaptation=none"]
    load_config("moons_dann", [*words, "checkpoint.monitor=val_mae"])
    with pytest.raises(UserError, match="Allowed: val_loss, val_mae, loss, mae, last_step"):
        load_config("moons_dann", [*words, "checkpoint.monitor=val_accuracy"])
