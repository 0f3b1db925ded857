"""The scripts that start runs on several processes, clusters and TPU VMs."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
SHELL = sorted([*SCRIPTS.glob("*.sh"), SCRIPTS / "slurm.sbatch"])


def bash(*words, **environ):
    """Runs a script without anything of the surroundings but PATH."""
    path = "/usr/local/bin:/usr/bin:/bin"
    command = ["bash", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": path, **environ}, timeout=60)


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_the_shell_can_read_it(script):
    result = bash("-n", script)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_shellcheck(script):
    program = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("shellcheck is not installed (extra test)")
    result = subprocess.run(
        [program, "-x", "--severity=warning", "--shell=bash", script], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


def test_launch_multi_worker_names_the_cluster_to_each_worker():
    flags = ["--config=synthetic_smoke", "--set", "stages=[1, 2]"]
    result = bash(SCRIPTS / "launch_multi_worker.sh", "--workers=3", "--port=5000", "--dry_run", "--", *flags)
    lines = [shlex.split(line) for line in result.stdout.splitlines()]
    assert len(lines) == 3
    for index, (variable, program, command, *passed) in enumerate(lines):
        config = json.loads(variable.removeprefix("TF_CONFIG="))
        assert config["cluster"]["worker"] == [f"127.0.0.1:{port}" for port in (5000, 5001, 5002)]
        assert config["task"] == {"type": "worker", "index": index}
        assert Path(program).name == "tlkeras" and command == "train"
        assert passed == ["--strategy=multi_worker", *flags]


def test_launch_multi_worker_refuses_a_wrong_number():
    result = bash(SCRIPTS / "launch_multi_worker.sh", "--workers=two", "--dry_run")
    assert result.returncode == 2 and "Received: --workers=two" in result.stderr


def test_slurm_starts_one_worker_per_task():
    result = bash(SCRIPTS / "slurm.sbatch", "--config=a", "--workdir=/x y", DRY_RUN="1", TLKERAS_ENV="/env")
    words = shlex.split(result.stdout)
    expected = ["/env/bin/tlkeras", "train", "--strategy=multi_worker", "--config=a", "--workdir=/x y"]
    assert words[0] == "srun" and words[2:] == expected
    assert re.search(r"^#SBATCH --ntasks-per-node=1$", (SCRIPTS / "slurm.sbatch").read_text(), re.M)


def test_slurm_without_an_environment_says_so(tmp_path):
    result = bash(SCRIPTS / "slurm.sbatch", "--config=a", TLKERAS_ENV=str(tmp_path))
    assert result.returncode == 2 and "TLKERAS_ENV" in result.stderr


def test_launch_tpu_vm_prints_each_command_and_deletes_the_machine():
    flags = ["--name=cats", "--zone=z", "--type=v4-8", "--spot", "--dry_run", "--", "--config=a b"]
    result = bash(SCRIPTS / "launch_tpu_vm.sh", *flags)
    assert result.returncode == 0, result.stderr
    lines = [shlex.split(line.removeprefix("+ ")) for line in result.stdout.splitlines()]
    assert lines[0][4:] == ["create", "cats", "--zone=z", "--accelerator-type=v4-8",
                            "--version=tpu-ubuntu2204-base", "--spot"]  # fmt: skip
    trains = next(word for line in lines for word in line if "tlkeras train" in word)
    assert shlex.split(trains.removeprefix("--command="))[1:] == [
        "train", "--strategy=tpu", "--workdir=run", "--config=a b",
    ]  # fmt: skip
    assert lines[-1][4:6] == ["delete", "cats"]
    kept = bash(SCRIPTS / "launch_tpu_vm.sh", "--keep", *flags)
    assert "delete" not in kept.stdout


@pytest.mark.parametrize(("flags", "said"), [
    (["--zone=z"], "--name"),
    (["--nmae=x"], "Received: --nmae=x"),
    (["--name=x", "--zone=z"], "gcloud is not installed"),
])  # fmt: skip
def test_launch_tpu_vm_refuses(flags, said):
    if "gcloud" in said and shutil.which("gcloud"):
        pytest.skip("gcloud is installed")
    result = bash(SCRIPTS / "launch_tpu_vm.sh", *flags)
    assert result.returncode == 2 and said in result.stderr


def test_kubernetes_pods_make_the_same_cluster(tmp_path):
    """The pod's own script, with a stand-in for tlkeras."""
    yaml = pytest.importorskip("yaml")
    _, job = yaml.safe_load_all((SCRIPTS / "kubernetes.yaml").read_text())
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["completions"] == spec["parallelism"] == int(container["env"][0]["value"])
    stand_in = tmp_path / "tlkeras"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$TF_CONFIG" "$@"\n')
    stand_in.chmod(0o755)
    command = [*container["command"][1:], *container["args"]]
    result = subprocess.run(
        ["bash", *command], capture_output=True, text=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "WORKERS": "2", "JOB_COMPLETION_INDEX": "1"},
    )  # fmt: skip
    config, *words = result.stdout.splitlines()
    assert json.loads(config) == {
        "cluster": {"worker": ["tlkeras-0.tlkeras:22220", "tlkeras-1.tlkeras:22220"]},
        "task": {"type": "worker", "index": 1},
    }
    assert words[:2] == ["train", "--strategy=multi_worker"] and "--workdir=/runs/cats" in words
