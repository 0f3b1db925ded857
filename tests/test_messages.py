"""What is said to the user: how much of it appears, where, and by whom."""

import ast
import logging
from pathlib import Path

import pytest

from tlkeras import messages
from tlkeras.cli.main import main

PACKAGE = Path(__file__).parent.parent / "tlkeras"


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    messages.set_verbosity(0)
    messages.speak(True)


def everything(capsys) -> tuple[str, str]:
    messages.result("asked for")
    messages.note("happened")
    messages.progress("half", end="\r")
    messages.warn("may be\n  wrong")
    return tuple(capsys.readouterr())


def test_notes_go_to_standard_output_and_warnings_to_standard_error(capsys):
    assert everything(capsys) == ("asked for\nhappened\nhalf\r", "tlkeras: may be wrong\n")


@pytest.mark.parametrize("quieten", [
    lambda: messages.set_verbosity(-1),
    lambda: logging.getLogger("tlkeras").setLevel(logging.WARNING),
])  # fmt: skip
def test_a_higher_level_leaves_results_and_warnings(capsys, quieten):
    quieten()
    assert everything(capsys) == ("asked for\n", "tlkeras: may be wrong\n")
    assert not messages.notes_appear()


def test_a_worker_that_is_not_the_chief_is_silent(capsys):
    messages.speak(False)
    assert everything(capsys) == ("", "")


def test_every_command_takes_verbosity(capsys):
    assert main(["list", "heads", "--verbosity=-1"]) == 0
    assert "linear" in capsys.readouterr().out
    assert main(["list", "heads", "--verbosity=loud"]) == 2
    assert "verbosity" in capsys.readouterr().err


def test_a_quiet_command_leaves_the_process_as_it_was(trained, capsys):
    assert main(["embed", str(trained), "no_such_folder", "--verbosity=-1"]) == 2
    assert "no_such_folder" in capsys.readouterr().err
    assert messages.notes_appear()


def test_a_run_can_be_quiet(tmp_path, capfd):
    words = ["train", "--config=synthetic_smoke", f"--workdir={tmp_path / 'run'}", "--verbosity=-1"]
    small = ["stages.0.steps=2", "stages.1.steps=2", "data.limit=60", "cache.dir=" + str(tmp_path / "cache")]
    assert main([*words, *(f"--set={word}" for word in small)]) == 0
    assert capfd.readouterr().out == ""


def test_nothing_else_prints():
    for path in PACKAGE.rglob("*.py"):
        calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
        printing = [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
        assert path.name == "messages.py" or not printing, f"{path}: {printing}"
