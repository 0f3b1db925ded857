"""What the line above the progress bar says of the time left, and what fits into the lines of an epoch."""

import os

import pytest

from tlkeras.training.callbacks import EpochPace, Progress

OF_DANN = (
    "accuracy", "alignment", "class_loss", "domain_accuracy", "loss", "reversal_gradient_norm", "strength",
    "target_class_shift", "val_accuracy", "val_loss", "val_selection", "oracle_target_accuracy",
)  # fmt: skip


def lines_of_an_epoch(capsys, names):
    progress, logs = Progress("[1/2] head", 5), dict.fromkeys(names, 0.123456)
    progress.set_params({"steps": 1000, "epochs": 5})
    progress.on_train_begin()
    progress.on_epoch_begin(0)
    progress.on_train_batch_end(0, {name: v for name, v in logs.items() if "val_" not in name})
    progress.on_epoch_end(0, logs)
    return capsys.readouterr().out.replace("\b", "\n").replace("\r", "\n").splitlines()


def test_a_line_in_a_log_holds_what_matters_and_no_more(capsys):
    lines = lines_of_an_epoch(capsys, OF_DANN)
    assert max(map(len, lines)) < 130
    for name in ("accuracy", "loss", "val_accuracy", "val_selection"):
        assert f" - {name}: 0.1235" in lines[-1]
    assert "strength" not in lines[-1]
    assert "val_loss" in lines_of_an_epoch(capsys, ("loss", "mae", "val_loss", "val_mae"))[-1]


def test_a_bar_is_no_wider_than_the_terminal_while_it_redraws_itself(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((80, 24)))
    bars = [line for line in lines_of_an_epoch(capsys, OF_DANN) if "━" in line]
    colours = "\x1b[0m", "\x1b[1m", "\x1b[32m", "\x1b[37m"
    for code in colours:
        bars = [bar.replace(code, "") for bar in bars]
    assert len(bars) == 2 and len(bars[0]) <= 80 and "accuracy" in bars[0] and "val_selection" in bars[1]


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
