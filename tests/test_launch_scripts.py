"""The scripts that start runs on several processes, clusters and TPU VMs."""

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags as absl_flags

from tlkeras.config import shipped_experiments

SCRIPTS = Path(__file__).parents[1] / "scripts"
SHELL = sorted([*SCRIPTS.glob("*.sh"), *SCRIPTS.glob("*.sbatch")])


def bash(*words, **environ):
    """Runs a script without anything of the surroundings but PATH."""
    path = "/usr/local/bin:/usr/bin:/bin"
    command = ["bash", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": path} | environ, timeout=60)


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


@pytest.mark.parametrize("flag", ["--worker=3", "--config=synthetic_smoke", "--dryrun"])
def test_launch_multi_worker_refuses_unknown_flags_and_starts_nothing(flag):
    result = bash(SCRIPTS / "launch_multi_worker.sh", flag, "--dry_run", "--", "--config=synthetic_smoke")
    assert result.returncode == 2 and f"Received: {flag}" in result.stderr
    assert result.stderr.count("\n") == 1 and not result.stdout


@pytest.mark.parametrize(("flags", "environ"), [(["--dry_run"], {}), ([], {"DRY_RUN": "1"})])
def test_slurm_starts_one_worker_per_task(flags, environ):
    words = [*flags, "--config=a", "--workdir=/x y"]
    result = bash(SCRIPTS / "slurm.sbatch", *words, TLKERAS_ENV="/env", **environ)
    words = shlex.split(result.stdout)
    expected = ["/env/bin/tlkeras", "train", "--strategy=multi_worker", "--config=a", "--workdir=/x y"]
    assert words[0] == "srun" and words[2:] == expected
    assert re.search(r"^#SBATCH --ntasks-per-node=1$", (SCRIPTS / "slurm.sbatch").read_text(), re.M)


def test_slurm_without_an_environment_says_so(tmp_path):
    result = bash(SCRIPTS / "slurm.sbatch", "--config=a", TLKERAS_ENV=str(tmp_path))
    assert result.returncode == 2 and "TLKERAS_ENV" in result.stderr


def test_slurm_array_starts_the_same_command_in_each_task(tmp_path):
    words = ["auto", "--config=a b", "--budget=2h", "--workdir=/shared/x"]
    program = tmp_path / "bin/tlkeras"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "srun").write_text('#!/bin/sh\nexec "$@"\n')
    for file in (program, tmp_path / "srun"):
        file.chmod(0o755)
    there = {"TLKERAS_ENV": str(tmp_path)}
    result = bash(SCRIPTS / "slurm_search.sbatch", "--dry_run", *words, **there)
    assert shlex.split(result.stdout) == ["srun", str(program), *words]
    ran = bash(SCRIPTS / "slurm_search.sbatch", *words, PATH=f"{tmp_path}:/usr/bin:/bin", **there)
    assert ran.stdout.splitlines() == words
    options = re.findall(r"^#SBATCH (--[\w-]+)", (SCRIPTS / "slurm_search.sbatch").read_text(), re.M)
    assert {"--array", "--requeue", "--signal"} <= set(options)


@pytest.mark.parametrize(("words", "said"), [
    (["--config=a"], "Received: --config=a"),
    (["train", "--config=a", "--workdir=x"], "Received: train"),
    ([], "Received: nothing"),
    (["sweep", "--config=a"], "--workdir is missing"),
    (["sweep", "--workdir=x"], "TLKERAS_ENV"),
])  # fmt: skip
def test_slurm_array_refuses(tmp_path, words, said):
    result = bash(SCRIPTS / "slurm_search.sbatch", *words, TLKERAS_ENV=str(tmp_path))
    assert result.returncode == 2 and said in result.stderr and result.stderr.count("\n") == 1


def test_kubernetes_search_is_a_command_and_a_job_that_starts_killed_pods_again():
    yaml = pytest.importorskip("yaml")
    (job,) = yaml.safe_load_all((SCRIPTS / "kubernetes_search.yaml").read_text())
    spec, template = job["spec"], job["spec"]["template"]["spec"]
    (container,) = template["containers"]
    assert (job["kind"], spec["completionMode"]) == ("Job", "Indexed")
    assert template["restartPolicy"] == "Never"  # a podFailurePolicy needs it
    ignored, failed = spec["podFailurePolicy"]["rules"]
    assert failed["onExitCodes"]["containerName"] == container["name"] and ignored["action"] == "Ignore"
    assert failed["onExitCodes"]["values"] == [1, 2] and spec["backoffLimitPerIndex"] > 0
    mounted = container["volumeMounts"][0]
    assert mounted["name"] == template["volumes"][0]["name"]
    assert f"--workdir={mounted['mountPath']}/heads" in container["args"]
    (program,), (command, *flags) = container["command"], container["args"]
    assert program == "tlkeras" and command in ("sweep", "rank", "auto")
    values = absl_flags.FlagValues()
    importlib.import_module(f"tlkeras.cli.{command}").define_flags(values)
    assert values([program, *flags]) == [program]  # all are flags of the command
    assert values.config in shipped_experiments()


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


@pytest.fixture
def tpu_vm(tmp_path):
    """Runs launch_tpu_vm.sh with a gcloud that fails where its words contain one of those given."""

    def run(fails, *flags):
        gcloud = tmp_path / "gcloud"
        cases = "".join(f'*"{words}"*) exit {code} ;;\n' for words, code in fails.items())
        gcloud.write_text(f'#!/bin/bash\necho "$@" >>{tmp_path}/calls\ncase "$*" in\n{cases}esac\n')
        gcloud.chmod(0o755)
        checkout = tmp_path / "checkout"
        shutil.copytree(SCRIPTS, checkout / "scripts", dirs_exist_ok=True)
        git = tmp_path / "git"
        git.write_text("#!/bin/sh\n")
        git.chmod(0o755)
        path = f"{tmp_path}:/usr/local/bin:/usr/bin:/bin"
        words = ["--name=cats", "--zone=z", "--", "--config=a", *flags]
        result = bash(checkout / "scripts/launch_tpu_vm.sh", *words, PATH=path)
        return result, (tmp_path / "calls").read_text().splitlines(), checkout

    return run


def test_launch_tpu_vm_brings_a_python_that_tlkeras_runs_on(tpu_vm):
    result, calls, _ = tpu_vm({})
    assert result.returncode == 0, result.stderr
    made = next(call for call in calls if "uv venv" in call)
    assert tuple(map(int, re.search(r"--python=(\d+)\.(\d+)", made).groups())) >= (3, 11)
    order = [
        "astral.sh/uv/install.sh",
        "uv venv",
        "uv pip install",
        "tlkeras train",
        "scp --recurse",
        "delete",
    ]
    assert [next(i for i, call in enumerate(calls) if step in call) for step in order] == sorted(
        next(i for i, call in enumerate(calls) if step in call) for step in order
    )


@pytest.mark.parametrize(("flags", "copied"), [
    ([], "cats:run runs/cats"),
    (["--workdir=/data/a"], "cats:/data/a runs/cats"),
    (["--workdir", "b/c"], "cats:b/c runs/cats"),
    (["--workdir=gs://bucket/run"], None),
    (["--workdir", "gs://bucket/run"], None),
])  # fmt: skip
def test_launch_tpu_vm_copies_back_what_lies_on_the_machine(tpu_vm, flags, copied):
    result, calls, checkout = tpu_vm({"scp --recurse cats:run": 0 if copied else 1}, *flags)
    assert result.returncode == 0, result.stderr
    copies = [call for call in calls if "scp --recurse" in call]
    assert len(copies) == bool(copied) and all(copied in call for call in copies)
    assert (checkout / "runs").is_dir() == bool(copied)
    assert "delete cats" in calls[-1]


def test_launch_tpu_vm_ends_with_the_code_of_the_training(tpu_vm):
    result, calls, _ = tpu_vm({"tlkeras train": 2, "scp --recurse": 1})
    assert result.returncode == 2 and "delete cats" in calls[-1]
    result, calls, _ = tpu_vm({"scp --recurse": 7})
    assert result.returncode == 1 and "delete cats" in calls[-1]


@pytest.mark.parametrize("kind", ["v4-32", "v5litepod-16", "v6e-256", "v3-32", "v5p-128", "v7-8"])
def test_launch_tpu_vm_refuses_several_hosts(kind):
    result = bash(SCRIPTS / "launch_tpu_vm.sh", "--name=x", "--zone=z", f"--type={kind}", "--dry_run")
    assert result.returncode == 2 and f"Received: --type={kind}" in result.stderr
    assert result.stderr.count("\n") == 1 and not result.stdout


@pytest.mark.parametrize(("kind", "image"), [
    ("v5litepod-8", "v2-alpha-tpuv5-lite"), ("v5p-8", "v2-alpha-tpuv5"), ("v6e-1", "v2-alpha-tpuv6e"),
    ("v2-8", "tpu-ubuntu2204-base"),
])  # fmt: skip
def test_launch_tpu_vm_takes_the_image_of_the_type(kind, image):
    flags = ["--name=x", "--zone=z", f"--type={kind}", "--dry_run"]
    assert f"'--version={image}'" in bash(SCRIPTS / "launch_tpu_vm.sh", *flags).stdout
    assert "'--version=mine'" in bash(SCRIPTS / "launch_tpu_vm.sh", *flags, "--version=mine").stdout


@pytest.mark.parametrize(("kind", "pjrt"), [("v3-8", False), ("v4-8", False), ("v5litepod-1", True),
                                             ("v5p-8", True), ("v6e-8", True)])  # fmt: skip
def test_launch_tpu_vm_takes_the_interface_of_the_generation(kind, pjrt):
    flags = ["--name=x", "--zone=z", f"--type={kind}", "--dry_run", "--", "--config=a"]
    result = bash(SCRIPTS / "launch_tpu_vm.sh", *flags)
    (trains,) = [line for line in result.stdout.splitlines() if "tlkeras train" in line]
    assert ("PJRT_DEVICE=TPU" in trains) == pjrt and ("PJRT only" in result.stderr) == pjrt


@pytest.mark.parametrize("kind", ["v7x-8", "tpu7x-4", "v7-8"])
def test_launch_tpu_vm_refuses_what_tensorflow_does_not_run_on(kind):
    result = bash(SCRIPTS / "launch_tpu_vm.sh", "--name=x", "--zone=z", f"--type={kind}", "--dry_run")
    assert result.returncode == 2 and "TPU7x" in result.stderr and not result.stdout


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


@pytest.fixture
def pod(tmp_path):
    """Runs the script of a Kubernetes pod with another program for tlkeras."""
    yaml = pytest.importorskip("yaml")
    _, job = yaml.safe_load_all((SCRIPTS / "kubernetes.yaml").read_text())
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["completions"] == spec["parallelism"] == int(container["env"][0]["value"])

    def run(program, **environ):
        tlkeras = tmp_path / "tlkeras"
        tlkeras.write_text(f"#!/bin/sh\n{program}\n")
        tlkeras.chmod(0o755)
        environ |= {"PATH": f"{tmp_path}:/usr/bin:/bin", "WORKERS": "2", "JOB_COMPLETION_INDEX": "1"}
        command = ["bash", *container["command"][1:], *container["args"]]
        return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=300)

    return run


def test_kubernetes_pods_make_the_same_cluster(pod):
    config, *words = pod('printf "%s\\n" "$TF_CONFIG" "$@"').stdout.splitlines()
    assert json.loads(config) == {
        "cluster": {"worker": ["tlkeras-0.tlkeras:22220", "tlkeras-1.tlkeras:22220"]},
        "task": {"type": "worker", "index": 1},
    }
    assert words[:2] == ["train", "--strategy=multi_worker"] and "--workdir=/runs/cats" in words


def test_kubernetes_flags_are_those_of_train(pod, tmp_path):
    """All that a pod passes to tlkeras, with the pod's TF_CONFIG: a dry run waits for no other worker.

    It reads data, loads weights and looks at the place, which are others here.
    """
    here = f"--set data.source=synthetic:shapes --set data.image_size=32 --workdir={tmp_path}/runs/cats"
    here += " --set data.split_names={} --set model.weights=none --dry_run"
    home = {"HOME": str(tmp_path), "PYTHONPATH": str(SCRIPTS.parent), "CUDA_VISIBLE_DEVICES": ""}
    result = pod(f'exec {sys.executable} -m tlkeras "$@" {here}', **home)
    assert result.returncode == 0, result.stderr
    assert "vgg16 " in result.stdout and "/runs/cats was not changed" in result.stdout
    broken = pod(f'exec {sys.executable} -m tlkeras "$@" --worker_index=1 --dry_run', **home)
    assert broken.returncode == 2 and "worker_index" in broken.stderr


def test_a_script_of_the_checkout_is_the_command(tmp_path):
    """Its folder has an inspect.py, which must not hide Python's own."""
    command = [sys.executable, SCRIPTS / "train.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0 and "--workdir" in done.stdout, done.stderr
