"""The command line: exit codes, one line per mistake, and nothing touched by a refused start."""

import json
import subprocess
import sys

import pytest

from tlkeras.cli.main import COMMANDS, main


def run(capsys, *words) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_exits_zero_and_names_its_flags(capsys, command):
    code, out, err = run(capsys, command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: tlkeras {command}")
    flags = out[out.index("\n  --") :].strip().splitlines()
    assert all(line.lstrip().startswith("--") for line in flags)  # each flag is one line


def test_no_command_shows_all(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    assert all(command in out for command in COMMANDS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["train", "--confg=digits"], "confg"),
        (["train"], "--config is missing"),
        (["train", "--config=digitz"], "Did you mean 'digits'?"),
        (["train", "--config=digits", "stray"], "stray"),
        (["train", "--config=digits", "--set", "stages.0.epochs=many"], "stages.0.epochs"),
        (["train", "--config=digits", "--set", "model.backbone=resnet5"], "Did you mean 'resnet50'?"),
        (["train", "--config=digits", "--set", "model.head.name=liner"], "Did you mean 'linear'?"),
        (["train", "--config=digits", "--set", "data.source=digit"], "Did you mean 'digits'?"),
        (["train", "--config=digits", "--set", "data.source=folder:/nowhere"], "/nowhere"),
        (["train", "--config=digits", "--set", "stages.0.train=last:99"], "99"),
        (["train", "--config=digits", "--set", "stages.0.train=from:conv_9"], "conv_9"),
        (["train", "--config=digits", "--set", "stages.0.optimizer.name=adm"], "Did you mean 'adam'?"),
        (["train", "--config=digits", "--strategy=parameter_server"], "parameter_server"),
        (["list"], "backbones"),
        (["list", "backbone"], "Did you mean 'backbones'?"),
        (["evaluate"], "run directory"),
        (["predict", "/nowhere", "x.png"], "/nowhere"),
    ],
)
def test_a_mistake_exits_two_with_one_line(capsys, tmp_path, words, expected):
    workdir = tmp_path / "run"
    if words[0] == "train":
        words = [*words, f"--workdir={workdir}"]
    code, _, err = run(capsys, *words)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert expected in err
    assert "Traceback" not in err
    assert not workdir.exists()


def test_debug_shows_the_traceback(capsys):
    code, _, err = run(capsys, "train", "--config=digitz", "--debug")
    assert code == 2
    assert "Traceback" in err


def test_plan_needs_no_data(capsys):
    code, out, err = run(capsys, "plan", "--config=vgg16_cats_vs_dogs", "--set", "data.data_dir=/nowhere")
    assert (code, err) == (0, "")
    assert "vgg16" in out and "adam" in out and "cannot be read" in out


def test_plan_of_every_stage(capsys):
    code, out, _ = run(capsys, "plan", "--config=synthetic_full", "--set", "stages.1.gradual=true")
    assert code == 0
    assert all(name in out for name in ("all_1", "all_2", "all_3"))


def test_a_dry_run_touches_nothing(capsys, tmp_path):
    workdir = tmp_path / "run"
    code, out, _ = run(capsys, "train", "--config=digits", "--dry_run", f"--workdir={workdir}")
    assert code == 0
    assert "nothing was trained" in out
    assert not workdir.exists()


@pytest.mark.parametrize("command", ["train", "sweep"])
@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        ("data.source=folder:/nowhere", "no such folder"),
        ("model.weights=no_such.weights.h5", "no such file"),
        ("stages.0.optimizer.name=adan", "Did you mean 'adam'"),
    ],
)
def test_a_dry_run_refuses_what_a_run_would(capsys, tmp_path, command, mistake, says):
    more = ["--seeds=2"] * (command == "sweep")
    words = ["--config=synthetic_full", "--dry_run", f"--workdir={tmp_path / 'run'}", "--set", mistake]
    code, _, err = run(capsys, command, *words, *more)
    assert code == 2 and says in err and err.count("\n") == 1


def test_a_dry_run_of_folds_and_of_two_tasks(capsys, tmp_path):
    words = ["train", "--config=synthetic_full", "--dry_run", f"--workdir={tmp_path / 'run'}"]
    words += ["--set", "stages.1.optimizer.learning_rate=recommended"]
    assert run(capsys, *words, "--set", "data.folds=3")[0] == 0
    tasks = ["tasks.strategy=private_first", "tasks.source.source=synthetic:shapes"]
    assert run(capsys, *words, *(word for pair in tasks for word in ("--set", pair)))[0] == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "pattern", "expected"),
    [
        ("backbones", "*b0*", "efficientnet_b0"),
        ("heads", "*", "linear"),
        ("experiments", "*", "quickstart"),
        ("sources", "*", "folder:DIR"),
        ("optimizers", "adam*", "adamw"),
        ("methods", "*", "dann"),
        ("validators", "*", "information_maximization"),
    ],
)
def test_list(capsys, kind, pattern, expected):
    code, out, _ = run(capsys, "list", kind, f"--filter={pattern}")
    assert code == 0
    assert expected in out


def test_inspect_as_json(capsys):
    code, out, _ = run(capsys, "inspect", "--config=digits", "--json")
    assert code == 0
    found = json.loads(out)["source"]
    assert sum(found["rows"].values()) == 1797
    assert set(found["class_counts"]["train"]) == set("0123456789")


def test_a_command_ends_its_process_without_a_search_for_garbage():
    program = """
import sys
from tlkeras.cli.main import entry

class Cycle:
    def __init__(self):
        self.self = self
    def __del__(self):
        print("found")

kept = [Cycle()]
sys.argv[1:] = ["sources"]
entry("list")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert "folder" in done.stdout  # the command has run
    assert "found" not in done.stdout
