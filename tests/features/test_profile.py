import time

import numpy as np
import pytest

from tlkeras.errors import UserError
from tlkeras.prepare import prepare
from tlkeras.training.input_watch import InputWatch
from tlkeras.training.profile import profile_stage


def test_a_stage_is_timed_in_its_parts(config, pictures, tmp_path):
    parts = prepare(config, pictures)
    rows = profile_stage(parts, 0, tmp_path)
    assert [row["part"] for row in rows] == ["input", "trunk", "tail", "head", "update", "step"]
    assert all(row["ms a step"] >= 0 for row in rows) and rows[-1]["ms a step"] > 0
    assert list(tmp_path.rglob("*.xplane.pb"))
    with pytest.raises(UserError, match="stage=3"):
        profile_stage(parts, 3, tmp_path)


@pytest.mark.parametrize(("read", "bound"), [(0.002, True), (0.0, False)])
def test_a_stage_that_waits_for_its_input_says_so(capsys, read, bound):
    def slow():
        for i in range(40):
            time.sleep(read)
            yield np.zeros(i)

    watch = InputWatch("[1/1] head", slow)
    watch.on_epoch_begin(0)
    for batch in range(30):
        time.sleep(0.001)
        watch.on_train_batch_end(batch)
    watch.on_epoch_end(0)
    assert (watch.ratio > 0.9) == bound
    assert ("the input is the wall" in capsys.readouterr().out) == bound
