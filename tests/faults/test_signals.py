"""SIGTERM and SIGINT save and stop, wherever they come; what is resumed ends like what was left alone."""

import signal

from bad_pictures import encoded, picture
from fault_words import ADAPTING, settings, train
from run_outcome import check_books, differences, outcome

from tlkeras.run_dir import CheckpointStore

TERM, INT = int(signal.SIGTERM), int(signal.SIGINT)


# the signal comes just before this file is written for the n-th time
MOMENTS = {
    "while features are computed": (TERM, "cache/features", 1),
    "between stages": (TERM, "01_all/start", 1),
    "in a step": (TERM, "01_all/checkpoint", 1),
    "at the end of an epoch": (INT, "01_all/metrics.csv", 1),
    "while it evaluates": (INT, "predictions_val.", 1),
}


def test_signals_anywhere_and_the_run_goes_on(server, tmp_path, alone):
    for what, (number, path, event) in MOMENTS.items():
        ended = server.run(*train(tmp_path), within=str(tmp_path), path=path, at_event=event, number=number)
        assert ended.code == 128 + number, (what, ended)
        assert len(ended.error.splitlines()) == 1 and "Traceback" not in ended.output, (what, ended)
        assert "same command continues" in ended.error, (what, ended)
    ended = server.run(*train(tmp_path))
    assert ended.code == 0, ended.output
    assert differences(alone, outcome(tmp_path / "run")) == []
    check_books(tmp_path / "run", {"00_head": 2, "01_all": 2})


def test_saved_within_a_step_and_the_second_signal_stops_at_once(server, tmp_path):
    words = train(tmp_path, *settings("stages.1.epochs=2000", "checkpoint.every_steps=100000"))
    metrics = tmp_path / "run/stages/01_all/metrics.csv"
    ended = server.run(*words, within=str(tmp_path), path="01_all/metrics.csv", at_event=4, number=TERM)
    assert ended.code == 143 and "state saved" in ended.error, ended
    steps = int(metrics.read_text().splitlines()[-1].split(",")[1])
    saved = CheckpointStore(metrics.parent / "checkpoint").load()[1]
    assert saved["step"] <= steps + 1, (saved, steps)
    # twice the same moment: the second does not wait for the step
    ended = server.run(
        *words, within=str(tmp_path), path="01_all/metrics.csv", at_event=1, number=INT, repeat=2
    )
    assert ended.code == 130 and "continues" in ended.error, ended


def test_signal_while_the_twin_trains(server, tmp_path):
    method = settings("adaptation.method=deep_coral", "adaptation.options={}", "adaptation.twin=true")
    words = train(tmp_path, *ADAPTING, *method)
    stopped = server.run(
        *words, within=str(tmp_path), path="twin/stages/01_all/metrics", at_event=1, number=TERM
    )
    assert stopped.code == 143 and "continues" in stopped.error, stopped
    ended = server.run(*words)
    assert ended.code == 0, ended.output
    assert (tmp_path / "run/evaluation/verdict.json").is_file()


def test_signal_during_data_preparation_leaves_nothing(server, tmp_path):
    root = tmp_path / "pictures"
    for label in "ab":
        (root / label).mkdir(parents=True)
        for i in range(10):
            (root / label / f"{i}.png").write_bytes(encoded(picture(i), "PNG"))
    words = train(tmp_path, *settings(f"data.source=folder:{root}"))
    ended = server.run(*words, within=str(root), at_event=1, number=TERM, reading=True)
    assert ended.code == 143 and len(ended.error.splitlines()) == 1, ended
    assert not (tmp_path / "run").exists()
