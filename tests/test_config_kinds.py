"""Parts of a config of which there are several kinds: stages and heads have the fields of their own kind."""

import json
from pathlib import Path

import keras
import pytest
from keras import layers

from tlkeras.config import (
    CosineHeadConfig,
    ExperimentConfig,
    FallingScheduleConfig,
    FitStageConfig,
    HeadConfig,
    LinearHeadConfig,
    MlpHeadConfig,
    OtherHeadConfig,
    PlainScheduleConfig,
    ProbeConfig,
    ProbeStageConfig,
    ScheduleConfig,
    StageConfig,
    StepScheduleConfig,
    VerdictConfig,
    apply_overrides,
    dump_config,
    load_config,
)
from tlkeras.errors import UserError
from tlkeras.models.heads import HEADS, Head, build_head
from tlkeras.run_dir import RunDir

WRITTEN_BY_0_1 = Path(__file__).parent / "config_of_0_1.json"


@pytest.fixture
def config() -> ExperimentConfig:
    return load_config("synthetic_full")  # two stages by gradient, head mlp with units and dropout


@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        (lambda: StageConfig(name="a"), FitStageConfig),
        (lambda: StageConfig(name="a", probe=ProbeConfig()), ProbeStageConfig),
        (lambda: StageConfig(name="a", probe={"name": "knn"}), ProbeStageConfig),
        (lambda: StageConfig(name="a", kind="probe", probe={}), ProbeStageConfig),
        (lambda: StageConfig(name="a", probe=None, epochs=3), FitStageConfig),
        (lambda: StageConfig.model_validate({"name": "a", "probe": {}, "train": "head"}), ProbeStageConfig),
        (lambda: ScheduleConfig(warmup_steps=2), PlainScheduleConfig),
        (lambda: ScheduleConfig(name="linear", final=0.1, boundaries=(0.5, 0.75)), FallingScheduleConfig),
        (lambda: ScheduleConfig(name="step", boundaries=(0.2,)), StepScheduleConfig),
        (lambda: HeadConfig(), LinearHeadConfig),
        (lambda: HeadConfig(name="flatten_dense", units=(3,)), MlpHeadConfig),
        (lambda: HeadConfig(name="cosine", units=(256,)), CosineHeadConfig),  # the default says nothing
        (lambda: HeadConfig(name="of_mine", options={"a": 1}), OtherHeadConfig),
    ],
)
def test_fields_choose_the_kind(stage, kind):
    made = stage()
    assert type(made) is kind
    assert type(made).model_validate_json(made.model_dump_json()) == made


def test_what_means_nothing_is_no_field():
    assert not hasattr(ProbeStageConfig(name="a", probe=ProbeConfig()), "epochs")
    assert set(CosineHeadConfig.model_fields) == {"name", "scale"}


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            lambda: StageConfig(name="a", probe={}, epochs=9),
            ("'epochs'", "kind=fit", "kind=probe", "epochs=9"),
        ),
        (lambda: StageConfig(name="a", kind="fit", probe={}), ("'probe'", "kind=probe")),
        (lambda: StageConfig(name="a", kind="prob"), ("fit, probe", "Did you mean 'probe'", "'prob'")),
        (lambda: HeadConfig(name="cosine", units=(3,)), ("'units'", "name=mlp", "units=(3,)", "scale")),
        (lambda: HeadConfig(name="mpl", units=(3,)), ("'units'", "name=mpl", "Did you mean 'mlp'")),
        (lambda: HeadConfig(name="mlp", unit=(3,)), ("'unit'", "Did you mean 'units'")),
        (lambda: HeadConfig(name="mlp", options={}, scale=2.0), ("'scale'", "name=cosine")),
        (lambda: ScheduleConfig(final=0.1), ("'final'", "name=cosine and name=linear", "name=constant")),
        (
            lambda: ScheduleConfig(name="cosin"),
            ("constant, ganin, cosine", "Did you mean 'cosine'", "'cosin'"),
        ),
    ],
)
def test_a_field_of_another_kind_is_refused_by_name(made, words):
    with pytest.raises(UserError) as error:
        made()
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_overrides_make_another_kind_and_leave_the_old_fields_behind(config):
    probed = apply_overrides(config, ["stages.0.probe.name=prototypes", "model.head.name=linear"])
    assert probed.stages[0] == ProbeStageConfig(name="head", probe=ProbeConfig(name="prototypes"))
    assert probed.model.head == LinearHeadConfig()
    assert probed.stages[1] == config.stages[1]
    for override in ("stages.head.probe=none", "stages.0.kind=fit"):
        assert apply_overrides(probed, override).stages[0] == FitStageConfig(name="head")
    kept = apply_overrides(config, "model.head.name=flatten_dense").model.head
    assert (kept.units, kept.dropout) == (config.model.head.units, config.model.head.dropout)
    fell = apply_overrides(config, 'stages.1.optimizer.schedule={"name": "linear", "final": 0.1}')
    stepped = apply_overrides(fell, "stages.1.optimizer.schedule.name=step").stages[1].optimizer.schedule
    assert stepped == StepScheduleConfig()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["stages.0.probe.name=knn", "stages.0.epochs=9"], ("'stages.0.epochs'", "kind=fit", "'9'")),
        (["stages.0.epochs=9", "stages.0.probe.name=knn"], ("'stages.0.epochs'", "kind=fit", "'9'")),
        (["model.head.name=cosine", "model.head.units=[3]"], ("'model.head.units'", "name=mlp")),
        (["model.head.options.width=3"], ("'model.head.options'", "name=mlp")),
        (
            ["stages.1.optimizer.schedule.name=step", "stages.1.optimizer.schedule.final=0.1"],
            ("'stages.1.optimizer.schedule.final'", "name=cosine", "name=step"),
        ),
    ],
)
def test_an_override_of_another_kind_is_refused_by_name(config, overrides, words):
    with pytest.raises(UserError) as error:
        apply_overrides(config, overrides)
    for word in words:
        assert word in str(error.value)


def test_a_config_that_0_1_wrote_is_read():
    config = load_config(WRITTEN_BY_0_1)
    assert config.stages[0] == ProbeStageConfig(name="probe", probe=ProbeConfig(name="prototypes"))
    assert (config.stages[1].epochs, config.stages[1].steps_per_execution) == (2, 4)
    assert config.verdict.twins == ("frozen_probe",)
    assert config.model.head == LinearHeadConfig()
    assert load_config(json.loads(dump_config(config))) == config


def test_a_run_that_0_1_began_goes_on(tmp_path):
    (tmp_path / "config.json").write_text(WRITTEN_BY_0_1.read_text())
    config = load_config(tmp_path / "config.json")
    assert RunDir(tmp_path).check(config.model_dump(mode="json")) == "resume"
    with pytest.raises(UserError, match=r"stages\.1\.epochs: received 3, there 2"):
        changed = apply_overrides(config, "stages.1.epochs=3")
        RunDir(tmp_path).check(changed.model_dump(mode="json"))


def test_a_run_that_names_the_former_default_of_early_stopping_goes_on(tmp_path):
    tree = json.loads(WRITTEN_BY_0_1.read_text())
    tree["stages"][1]["early_stopping"] = {"monitor": "val_loss", "patience": 3, "min_delta": 0.0}
    (tmp_path / "config.json").write_text(json.dumps(tree))
    today = apply_overrides(load_config(WRITTEN_BY_0_1), 'stages.1.early_stopping={"patience": 3}')
    assert RunDir(tmp_path).check(today.model_dump(mode="json")) == "resume"
    judged = apply_overrides(today, "judged_by=macro_f1").model_dump(mode="json")
    with pytest.raises(UserError, match="judged_by: received"):
        RunDir(tmp_path).check(judged)


def test_a_person_is_refused_what_a_run_of_0_1_may_hold():
    tree = json.loads(WRITTEN_BY_0_1.read_text())
    del tree["tasks"], tree["model"]["head"]  # a run writes out every part
    with pytest.raises(UserError, match=r"'stages\.0\.epochs'.*epochs=7"):
        load_config(tree)


@pytest.mark.parametrize(
    ("override", "old", "new"),
    [
        ("stages.0.steps_per_call=5", "stages.0.steps_per_call", "steps_per_execution"),
        ('verdict.baselines=["scratch"]', "verdict.baselines", "twins"),
    ],
)
def test_a_renamed_field_is_refused_by_its_new_name(config, override, old, new):
    with pytest.raises(UserError, match=f"'{old}'.*It is called '{new}' now"):
        apply_overrides(config, override)
    with pytest.raises(UserError, match=f"It is called '{new}' now"):
        StageConfig(name="a", steps_per_call=5) if "stages" in old else VerdictConfig(baselines=["scratch"])


def test_a_head_of_ones_own_has_options(monkeypatch):
    def scaled(config, num_outputs, x):
        return layers.Dense(num_outputs * config.options["times"], dtype="float32", name="logits")(x)

    monkeypatch.setattr(HEADS, "_entries", dict(HEADS._entries))
    HEADS.add("scaled", Head(scaled, "several logits a class", options={"times": 1}))
    widths = [
        build_head(HeadConfig(name="scaled", options=options), 3, keras.Input((4,))).output_shape[1]
        for options in ({}, {"times": 2})
    ]
    assert widths == [3, 6]
    with pytest.raises(UserError, match=r"option of the head 'scaled' 'tims'.*Did you mean 'times'"):
        build_head(HeadConfig(name="scaled", options={"tims": 2}), 3, keras.Input((4,)))
