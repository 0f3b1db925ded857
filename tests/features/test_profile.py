import time
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tlkeras.config import ProbeConfig, StageConfig, apply_overrides
from tlkeras.errors import UserError
from tlkeras.prepare import prepare
from tlkeras.training import input_watch
from tlkeras.training.fit_stage import FitStage
from tlkeras.training.input_watch import InputWatch, reading_note
from tlkeras.training.profile import _percents, _within_step, note_on_reading, profile_stage


def test_a_stage_is_timed_in_its_parts(config, pictures, tmp_path, monkeypatch):
    parts = prepare(config, pictures)
    classify, batches = parts.model.classify, FitStage.training_data

    def slow_head(features, training=None):
        with tf.control_dependencies([tf.numpy_function(lambda: slept(0.04), [], tf.int64)]):
            return classify(tf.identity(features), training=training)

    def slow_input(*arguments):
        return batches(*arguments).map(
            lambda *batch: (tf.numpy_function(lambda: slept(0.12), [], tf.int64), batch)[1]
        )

    monkeypatch.setattr(parts.model, "classify", slow_head)
    monkeypatch.setattr(FitStage, "training_data", slow_input)
    rows = profile_stage(parts, 0, tmp_path)
    assert [row["part"] for row in rows] == ["input", "trunk", "tail", "head", "update", "step"]
    times = {row["part"]: row["ms a step"] for row in rows}
    assert times["input"] > 60 and times["head"] > 20 and times["step"] > 40
    assert 0 < times["trunk"] < times["step"] and times["tail"] < 40
    forward = sum(times[part] for part in ("trunk", "tail", "head"))
    assert all(times[part] <= times["step"] for part in ("trunk", "tail", "head", "update"))
    assert times["update"] == pytest.approx(max(times["step"] - forward, 0.0), abs=0.1)
    shares = {row["part"]: row["share"] for row in rows}
    assert shares["input"] is None and shares["step"] == "100 %"
    percents = {part: int(shares[part].removesuffix(" %")) for part in ("trunk", "tail", "head", "update")}
    assert sum(percents.values()) == 100
    whole = max(times["step"], forward)
    assert percents["head"] == pytest.approx(100 * times["head"] / whole, abs=1.1)
    assert list(tmp_path.rglob("*.xplane.pb"))
    times = [{"part": "input", "ms a step": 120.0}, {"part": "step", "ms a step": 50.0}]
    assert note_on_reading(parts, 0, times) is None  # 27 steps: three seconds in all
    longer = replace(parts, config=apply_overrides(config, ["stages.0.epochs=100"]))
    assert "in the 900 steps of this stage" in note_on_reading(longer, 0, times)
    with pytest.raises(UserError, match="stage=3"):
        profile_stage(parts, 3, tmp_path)


def test_shares_add_up_where_passes_timed_alone_outlast_the_step():
    percents = _percents({"trunk": 3.0, "tail": 1.5, "head": 0.3, "update": 0.0})
    assert percents == {"trunk": "62 %", "tail": "32 %", "head": "6 %", "update": "0 %"}
    assert _within_step({"trunk": 30.0, "tail": 10.0}, 20.0) == {"trunk": 15.0, "tail": 5.0, "update": 0.0}
    assert _within_step({"trunk": 4.0, "head": 1.0}, 8.0) == {"trunk": 4.0, "head": 1.0, "update": 3.0}


def slept(seconds):
    time.sleep(seconds)
    return 0


@pytest.mark.parametrize("change", ["stages.0.steps=1", "stages.0.optimizer.learning_rate=auto"])
def test_a_short_stage_and_one_without_a_rate_are_timed_too(config, pictures, tmp_path, change):
    config = apply_overrides(config, [change])
    rows = profile_stage(prepare(config, pictures), 0, tmp_path)
    assert rows[0]["ms a step"] > 0 and rows[-1]["ms a step"] > 0


def test_a_stage_without_steps_cannot_be_timed(config, pictures, tmp_path):
    stage = StageConfig(name="fit", probe=ProbeConfig(name="logistic_regression"))
    parts = prepare(config.model_copy(update={"stages": (stage,)}), pictures)
    with pytest.raises(UserError, match="no training steps"):
        profile_stage(parts, 0, tmp_path)


class Clock:
    """Stands for the time module, so that what else the machine does takes no time."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(input_watch, "time", clock := Clock())
    return clock


def slow_batches(clock, read):
    def batches():
        for i in range(40):
            clock.sleep(read)
            yield np.zeros(i)

    return batches


def steps_of_an_epoch(clock, watch, epoch, count, first=0.0):
    watch.on_epoch_begin(epoch)
    for batch in range(count):
        clock.sleep(0.001 if batch else max(first, 0.001))
        watch.on_train_batch_end(batch)
    watch.on_epoch_end(epoch)


@pytest.mark.parametrize("first", [0.0, 0.5], ids=["traced", "tracing"])
@pytest.mark.parametrize(("read", "bound"), [(0.002, True), (0.0, False)])
def test_a_stage_that_waits_for_its_input_says_so(clock, capsys, read, bound, first):
    watch = InputWatch("[1/1] head", slow_batches(clock, read), 10_000)
    steps_of_an_epoch(clock, watch, 0, 30, first)
    assert (watch.ratio > 0.9) == bound
    said = capsys.readouterr().out
    assert ("Reading the input takes most of the time" in said) == bound
    assert not bound or "in the 10,000 steps of this stage" in said


def test_reading_that_costs_milliseconds_in_all_is_not_worth_a_line(clock, capsys):
    watch = InputWatch("[1/1] head", slow_batches(clock, 0.002), 30)
    steps_of_an_epoch(clock, watch, 0, 30)
    assert watch.ratio > 0.9 and capsys.readouterr().out == ""
    assert reading_note(0.4, 0.1, 12) is None and reading_note(0.4, 0.1, 13) is not None


@pytest.mark.parametrize("count", [1, 6])
def test_short_epochs_are_counted_together(clock, capsys, count):
    watch = InputWatch("[1/1] head", slow_batches(clock, 0.002), 10_000)
    for epoch in range(30):
        steps_of_an_epoch(clock, watch, epoch, count, 0.3 if epoch == 0 else 0.0)
        assert watch.ratio is None or (epoch + 1) * count > 20
    assert watch.ratio > 0.9
    assert capsys.readouterr().out.count("Reading the input takes most") == 1


def test_steps_that_an_earlier_process_did_are_not_timed(clock):
    watch = InputWatch("[1/1] head", slow_batches(clock, 0.0), 2000, passed_over=1000)
    watch.on_epoch_begin(0)
    for batch in range(1000):
        watch.on_train_batch_end(batch)
    for batch in range(1000, 1030):
        clock.sleep(0.003)
        watch.on_train_batch_end(batch)
    watch.on_epoch_end(0)
    assert watch.ratio < 0.9
