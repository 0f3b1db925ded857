import json
from contextlib import nullcontext

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkeras.config import ExperimentConfig, apply_overrides
from tlkeras.errors import UserError
from tlkeras.models import batch_size
from tlkeras.models.batch_size import find_batch_size
from tlkeras.prepare import prepare
from tlkeras.studies.experiment import run_experiment

pytestmark = pytest.mark.usefixtures("without_reports")


@pytest.mark.parametrize(
    ("rates", "rows", "expected"),
    [
        ([100, 150, 155], 10_000, 16),  # no longer grows
        ([100, 200, 400, 800, 1600], 10_000, 64),  # the cap on CPU
        ([100, 200, 400, 800], 350, 32),  # fewer than ten steps an epoch
        ([100, None], 10_000, 8),  # out of memory
    ],
)
def test_doubles_until_it_does_not_pay(config, model, monkeypatch, rates, rows, expected):
    found = iter(rates)
    monkeypatch.setattr(batch_size, "_rows_per_second", lambda model, size, scope: next(found))
    assert find_batch_size(model, config.stages, rows=rows, scope=nullcontext) == expected


def test_nothing_fits(config, model, monkeypatch):
    monkeypatch.setattr(batch_size, "_rows_per_second", lambda *unused: None)
    with pytest.raises(UserError, match="batch_size=auto"):
        find_batch_size(model, config.stages, rows=100, scope=nullcontext)


def test_leaves_the_model_as_it_was(config, model):
    before = [keras.ops.convert_to_numpy(v) for v in model.variables]
    stages = [config.stages[0], config.stages[0].model_copy(update={"train": "all", "bn": "train"})]
    assert find_batch_size(model, stages, rows=160, scope=nullcontext) in (8, 16)
    for values, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(values, keras.ops.convert_to_numpy(variable))


def test_memory_that_ends_is_no_error(model, monkeypatch):
    def full(*unused, **settings):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr(model, "fit", full)
    assert batch_size._rows_per_second(model, 8, nullcontext) is None


def test_a_run_that_goes_on_takes_the_same_size(config, pictures, tmp_path, monkeypatch):
    config = apply_overrides(config, ["data.batch_size=auto", "stages.0.epochs=1"])
    monkeypatch.setattr(batch_size, "_rows_per_second", lambda *unused: 1.0)
    run_experiment(config, tmp_path / "run", pictures)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["batch_size"] == 8
    (tmp_path / "run" / "ledger.jsonl").unlink()  # as if it had not finished
    monkeypatch.setattr(batch_size, "find_batch_size", lambda *unused, **settings: pytest.fail("asked again"))
    run_experiment(config, tmp_path / "run", pictures)


ADAPTATION = {"target": {"source": "synthetic:shapes?n=960&size=16&shift=1"}, "twin": False}
PLAIN = {"source": "synthetic:shapes?n=960&size=16", "image_size": 16, "batch_size": "auto"}


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({}, 48),
        ({"adaptation": ADAPTATION | {"method": "dann"}}, 24),  # source and target rows
        ({"adaptation": ADAPTATION | {"method": "adamatch"}}, 12),  # and a second view of the target
        ({"adaptation": ADAPTATION | {"method": "none", "batch_norm": "adabn"}}, 48),  # only afterwards
    ],
    ids=["plain", "dann", "adamatch", "adabn"],
)
def test_a_step_is_tried_with_all_the_rows_that_it_holds(config, monkeypatch, update, expected):
    held = lambda model, size, scope: float(size) if size <= 48 else None  # noqa: E731
    monkeypatch.setattr(batch_size, "_rows_per_second", held)
    monkeypatch.setattr(batch_size, "SMALLEST", 6)
    values = config.model_dump() | {"data": PLAIN} | update
    config = ExperimentConfig.model_validate(values)
    assert prepare(config).batch_size == expected
