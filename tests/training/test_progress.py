"""What the line above the progress bar says of the time left."""

import pytest

from tlkeras.training.callbacks import EpochPace


def epoch(pace, begin, batches, end):
    pace.begin(begin)
    for number, now in batches:
        pace.batch(number, now)
    pace.end(end)


def test_compiling_is_not_taken_for_the_pace():
    pace = EpochPace()
    assert pace.seconds_per_epoch == 0
    # the first batch compiles for 30 s, the others take 0.1 s each, validation compiles for 9 s
    epoch(pace, 0.0, [(k, 30.0 + 0.1 * k) for k in range(11)], 40.0)
    assert pace.seconds_per_epoch == pytest.approx(1.1)
    epoch(pace, 40.0, [(k, 40.1 + 0.1 * k) for k in range(11)], 41.6)
    assert pace.seconds_per_epoch == pytest.approx(1.6)


def test_several_steps_in_one_call_and_an_epoch_begun_before():
    pace = EpochPace()
    epoch(pace, 0.0, [(49, 20.0), (99, 25.0)], 26.0)
    assert pace.seconds_per_epoch == pytest.approx(10.0)
    single = EpochPace()
    epoch(single, 0.0, [(0, 7.0)], 8.0)  # nothing to subtract by
    assert single.seconds_per_epoch == pytest.approx(8.0)
