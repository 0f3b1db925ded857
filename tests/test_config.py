"""Configs: read from files and by name, changed by overrides, refused in one line."""

import json

import pytest

from tlkeras.config import (
    DataConfig,
    ExperimentConfig,
    apply_overrides,
    dump_config,
    load_config,
    shipped_experiments,
)
from tlkeras.errors import UserError


@pytest.fixture
def config() -> ExperimentConfig:
    return load_config("synthetic_full")


@pytest.mark.parametrize("name", sorted(shipped_experiments()))
def test_every_shipped_experiment_survives_json(name, tmp_path):
    original = load_config(name)
    file = tmp_path / "config.json"
    file.write_text(dump_config(original))
    assert load_config(str(file)) == original


def test_a_python_file_is_read(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from tlkeras.config import load_config\n"
        "def get_config():\n    return load_config('digits', ['seed=5'])\n"
    )
    assert load_config(str(file)).seed == 5


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("stages.1.epochs=7", 7),
        ("stages.0.optimizer.learning_rate=1e-5", 1e-5),
        ("stages.0.optimizer.learning_rate=auto", "auto"),
        ("stages.0.optimizer.options.beta_1=0.5", 0.5),
        ("data.batch_size=auto", "auto"),
        ("data.image_size=48", 48),
        ("data.image_size=[48, 64]", (48, 64)),
        ("data.limit=none", None),
        ('data.limit={"train": 9}', {"train": 9}),
        ("data.limit.test=5", {"test": 5}),
        ("model.weights=none", None),
        ("model.backbone=none", "none"),
        ("model.neck.bottleneck=16", 16),
        ("runtime.strategy=none", "none"),
        ("runtime.deterministic=false", False),
        ("name=a=b".replace("a=b", "x.y"), "x.y"),
    ],
)
def test_overrides_are_typed_by_the_schema(config, override, value):
    changed = apply_overrides(config, [override]).model_dump(mode="python")
    path, _, _ = override.partition("=")
    for key in path.split(".")[: 2 if path.startswith("data.limit") else None]:
        changed = changed[int(key)] if key.isdigit() else changed[key]
    assert changed == value
    assert type(changed) is type(value)


def test_a_later_override_wins_and_others_stay(config):
    changed = apply_overrides(config, ["seed=3", "stages.0.epochs=9", "seed=4"])
    assert (changed.seed, changed.stages[0].epochs) == (4, 9)
    assert changed.stages[1] == config.stages[1]


def test_an_override_opens_what_was_none(config):
    changed = apply_overrides(config, ["adaptation.target.source=digits", "adaptation.weight=0.5"])
    assert (changed.adaptation.target.source, changed.adaptation.weight) == ("digits", 0.5)


def test_a_stage_may_be_called_by_its_name():
    config = load_config(
        "quickstart", ["stages.finetune.epochs=7", "stages.head.optimizer.learning_rate=0.5"]
    )
    assert [stage.epochs for stage in config.stages] == [10, 7]
    assert config.stages[0].optimizer.learning_rate == 0.5


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stages.1.epoch=7", ("'epoch'", "Did you mean 'epochs'?")),
        ("stages.7.epochs=3", ("2 entries", "0 to 1", "7")),
        ("stages.tune.epochs=3", ("2 entries", "called head, all", "tune")),
        ("data.batch_size=foo", ("data.batch_size", "integer", "'auto'", "'foo'")),
        ("data.batch_size=-3", ("data.batch_size", "greater than or equal to 1")),
        ("stages.0.train=last:0", ("last:N", "'last:0'")),
        ("stages.0.train=heads", ("'head'", "'heads'")),
        ("runtime.strategy=mirror", ("'mirrored'", "Did you mean 'mirrored'?")),
        ("datta.source=x", ("'datta'", "Did you mean 'data'?")),
        ("nothing", ("path=value", "'nothing'")),
        ("=3", ("path=value",)),
        ("seed.x=4", ("seed.x", "plain value")),
        ("stages=[]", ("stages must not be empty", "class_names")),
        ("adaptation.method=dann", ("adaptation.target", "required")),
        ('stages=[{"name": "a", "tran": "head"}]', ("stages.0.tran", "'train'")),
        ('stages=[{"name": "a"}, {"name": "a"}]', ("different names",)),
        ("name=../evil", ("name", "pattern")),
        ("data.folds=1", ("data.folds", "2")),
    ],
)
def test_a_mistake_is_one_line_that_helps(config, override, words):
    with pytest.raises(UserError) as error:
        apply_overrides(config, [override])
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("def get_config(): return 3", "ExperimentConfig"),
        ("x = 1", "get_config"),
        ("raise RuntimeError('boom')", "boom"),
        ("def get_config(:", "SyntaxError"),
        (
            "from tlkeras.config import *\ndef get_config(): return ExperimentConfig(data=1, stages=[])",
            "data",
        ),
        (
            "from tlkeras.config import *\ndef get_config(): return StageConfig(name='a', epoch=1)",
            "'epoch'.*Did you mean 'epochs'.*steps_per_execution",
        ),
    ],
)
def test_a_broken_python_config_is_one_line(tmp_path, content, word):
    file = tmp_path / "broken.py"
    file.write_text(content)
    with pytest.raises(UserError, match=word) as error:
        load_config(str(file))
    assert "\n" not in str(error.value)


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(UserError, match="Did you mean 'quickstart'"):
        load_config("quikstart")


def test_json_that_is_none_is_refused(tmp_path):
    file = tmp_path / "x.json"
    file.write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        load_config(str(file))
    file.write_text(json.dumps({"data": {"source": "digits"}, "stages": [{"name": "a"}], "extra": 1}))
    with pytest.raises(UserError, match="'extra'"):
        load_config(str(file))


def test_a_target_is_read_as_the_source_is_also_by_a_config_that_was_kept(tmp_path):
    target = DataConfig(source="folder:there")
    config = load_config("moons_dann", ["data.resize=pad", "data.on_error=skip", "data.image_size=16"])
    config = config.model_copy(update={"adaptation": config.adaptation.model_copy(update={"target": target})})
    (tmp_path / "kept.json").write_text(dump_config(config))
    kept = load_config(str(tmp_path / "kept.json"))
    for data in (target, kept.adaptation.target):
        read = data.following(config.data)
        assert (read.resize, read.on_error, read.image_size) == ("pad", "skip", 16)
    assert target.model_copy(update={"image_size": 8}).following(config.data).image_size == 8
