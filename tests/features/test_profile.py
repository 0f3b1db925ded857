import time

import numpy as np
import pytest
import tensorflow as tf

from tlkeras.config import ProbeConfig, StageConfig, apply_overrides
from tlkeras.errors import UserError
from tlkeras.prepare import prepare
from tlkeras.training.input_watch import InputWatch
from tlkeras.training.profile import profile_stage
from tlkeras.training.trainer import Trainer


def test_a_stage_is_timed_in_its_parts(config, pictures, tmp_path, monkeypatch):
    parts = prepare(config, pictures)
    classify, batches = parts.model.classify, Trainer.training_data

    def slow_head(features, training=None):
        with tf.control_dependencies([tf.numpy_function(lambda: slept(0.04), [], tf.int64)]):
            return classify(tf.identity(features), training=training)

    def slow_input(*arguments):
        return batches(*arguments).map(
            lambda *batch: (tf.numpy_function(lambda: slept(0.12), [], tf.int64), batch)[1]
        )

    monkeypatch.setattr(parts.model, "classify", slow_head)
    monkeypatch.setattr(Trainer, "training_data", slow_input)
    rows = profile_stage(parts, 0, tmp_path)
    assert [row["part"] for row in rows] == ["input", "trunk", "tail", "head", "update", "step"]
    times = {row["part"]: row["ms a step"] for row in rows}
    assert times["input"] > 60 and times["head"] > 40 and times["step"] > 40
    assert 0 < times["trunk"] < times["step"] and times["tail"] < 40
    forward = sum(times[part] for part in ("trunk", "tail", "head"))
    assert times["update"] == pytest.approx(max(times["step"] - forward, 0.0), abs=0.1)
    assert rows[-1]["share"] == "100 %" and rows[3]["share"] == f"{100 * times['head'] / times['step']:.0f} %"
    assert list(tmp_path.rglob("*.xplane.pb"))
    with pytest.raises(UserError, match="stage=3"):
        profile_stage(parts, 3, tmp_path)


def slept(seconds):
    time.sleep(seconds)
    return 0


def test_a_stage_of_one_step_is_timed_as_if_it_were_longer(config, pictures, tmp_path):
    config = apply_overrides(config, ["stages.0.steps=1"])
    rows = profile_stage(prepare(config, pictures), 0, tmp_path)
    assert rows[0]["ms a step"] > 0 and rows[-1]["ms a step"] > 0


def test_a_stage_without_steps_cannot_be_timed(config, pictures, tmp_path):
    stage = StageConfig(name="fit", probe=ProbeConfig(name="logistic_regression"))
    parts = prepare(config.model_copy(update={"stages": (stage,)}), pictures)
    with pytest.raises(UserError, match="takes no steps"):
        profile_stage(parts, 0, tmp_path)


def slow_batches(read):
    def batches():
        for i in range(40):
            time.sleep(read)
            yield np.zeros(i)

    return batches


def steps_of_an_epoch(watch, epoch, count, first=0.0):
    watch.on_epoch_begin(epoch)
    for batch in range(count):
        time.sleep(0.001 if batch else max(first, 0.001))
        watch.on_train_batch_end(batch)
    watch.on_epoch_end(epoch)


@pytest.mark.parametrize("first", [0.0, 0.5], ids=["traced", "tracing"])
@pytest.mark.parametrize(("read", "bound"), [(0.002, True), (0.0, False)])
def test_a_stage_that_waits_for_its_input_says_so(capsys, read, bound, first):
    watch = InputWatch("[1/1] head", slow_batches(read))
    steps_of_an_epoch(watch, 0, 30, first)
    assert (watch.ratio > 0.9) == bound
    assert ("the input is the wall" in capsys.readouterr().out) == bound


@pytest.mark.parametrize("count", [1, 6])
def test_short_epochs_are_counted_together(capsys, count):
    watch = InputWatch("[1/1] head", slow_batches(0.002))
    for epoch in range(30):
        steps_of_an_epoch(watch, epoch, count, 0.3 if epoch == 0 else 0.0)
        assert watch.ratio is None or (epoch + 1) * count > 20
    assert watch.ratio > 0.9
    assert capsys.readouterr().out.count("the input is the wall") == 1


def test_steps_that_an_earlier_process_did_are_not_timed():
    watch = InputWatch("[1/1] head", slow_batches(0.0), passed_over=1000)
    watch.on_epoch_begin(0)
    for batch in range(1000):
        watch.on_train_batch_end(batch)
    for batch in range(1000, 1030):
        time.sleep(0.003)
        watch.on_train_batch_end(batch)
    watch.on_epoch_end(0)
    assert watch.ratio < 0.9
