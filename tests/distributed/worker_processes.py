"""Processes on one device, on two mirrored CPUs and as two workers on 127.0.0.1: `tlkeras train`, or scripts.

`workers` are named by TF_CONFIG, `workers_by_flags` by --workers and --worker_index. TensorFlow is imported
once, by a server that forks a process for each command before anything of TensorFlow has started. One
topology needs another environment at the import: it is a process of scripts/train.py.
"""

import contextlib
import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from free_ports import free_ports

ROOT = Path(__file__).parents[2]
FLAGS = {
    "one": ["--strategy=none"],
    "one_with_onednn": ["--strategy=none"],
    "mirrored": ["--strategy=mirrored", "--set", "runtime.devices=2"],
    "workers": ["--strategy=multi_worker"],
    "workers_by_flags": ["--strategy=auto"],
}
# read by TensorFlow when it is imported
ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tlkeras.cli.main", "tlkeras.run", "tlkeras.evaluation.evidence"])


@dataclass
class Training:
    """A process of `tlkeras train` and its log."""

    process: subprocess.Popen | multiprocessing.process.BaseProcess
    log: Path
    together: object  # the barrier of its cluster, which lives as long as it is held here

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        """Asks for an end as a cluster does."""
        os.kill(self.process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once and waits until it is gone."""
        self.process.kill()
        self.wait()

    def wait(self, seconds: float = 600) -> int:
        """Waits for the end and returns the exit code; a negative one is the signal that ended it."""
        if isinstance(self.process, subprocess.Popen):
            return self.process.wait(timeout=seconds)
        self.process.join(seconds)
        assert self.process.exitcode is not None, self.output[-3000:]
        return self.process.exitcode

    def _runs(self) -> bool:
        if isinstance(self.process, subprocess.Popen):
            return self.process.poll() is None
        return self.process.is_alive()

    def wait_for(self, text: str, seconds: float = 600) -> None:
        """Waits until the process has printed a text."""
        end = time.monotonic() + seconds
        while text not in self.output:
            assert self._runs() and time.monotonic() < end, self.output[-3000:]
            time.sleep(0.02)


def start(topology: str, config: Path, workdir: Path, folder: Path, *more: str) -> list[Training]:
    """Starts the processes of a topology, all with the same config and workdir."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = free_ports(2) if topology.startswith("workers") else []
    addresses = [f"127.0.0.1:{port}" for port in ports]
    trainings = []
    together = SERVER.Barrier(max(len(ports), 1))
    for index in range(together.parties):
        cluster, named = None, []
        if topology == "workers":
            task = {"type": "worker", "index": index}
            cluster = json.dumps({"cluster": {"worker": addresses}, "task": task})
        elif topology == "workers_by_flags":
            named = [f"--workers={','.join(addresses)}", f"--worker_index={index}"]
        log = folder / f"{topology}_{index}.log"
        log.touch()
        flags = [f"--config={config}", f"--workdir={workdir}", *FLAGS[topology], *named, *more]
        if topology == "one_with_onednn":
            process = _by_script(flags, log)
        else:
            process = _forked(_train, flags, cluster, log, together)
        trainings.append(Training(process, log, together))
    return trainings


def start_script(script: Path, *words: str, cluster: str | None, log: Path, together) -> Training:
    """Starts a script in a process that has imported TensorFlow already.

    `together` is a barrier, `SERVER.Barrier(WORKERS)`, for all processes of its cluster.
    """
    return Training(_forked(_run_script, [str(script), *words], cluster, log, together), log, together)


def _by_script(flags: list[str], log: Path) -> subprocess.Popen:
    """Starts scripts/train.py, with oneDNN."""
    environ = {k: v for k, v in os.environ.items() if k != "TF_CONFIG"} | ENVIRONMENT
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *flags]
    with open(log, "w") as out:
        return subprocess.Popen(
            command, env=environ | {"TF_ENABLE_ONEDNN_OPTS": "1"}, stdout=out, stderr=out, cwd=log.parent
        )


def _forked(
    target, words: list[str], cluster: str | None, log: Path, together
) -> multiprocessing.process.BaseProcess:
    """Starts `target(words)` in a process that has imported TensorFlow already; output goes to the log."""
    log.touch()
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT)  # the server takes it over when its first process starts
    try:
        process = SERVER.Process(target=_become, args=(target, words, cluster, str(log), together))
        process.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return process


def _become(target, words: list[str], cluster: str | None, log: str, together) -> None:
    out = os.open(log, os.O_WRONLY | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(out, descriptor)
    sys.stdout.reconfigure(line_buffering=True)
    os.chdir(Path(log).parent)
    os.environ.pop("TF_CONFIG", None)
    if cluster is not None:
        os.environ["TF_CONFIG"] = cluster
    code = 1
    try:
        code = target(words)
    finally:
        # A forked process ends without the shutdown that TensorFlow does at the end of a Python process.
        # Its sockets would close while another worker still receives the last collective operation.
        if code:
            together.abort()
        else:
            with contextlib.suppress(threading.BrokenBarrierError):  # another worker failed
                together.wait(timeout=300)
    sys.exit(code)


def _run_script(words: list[str]) -> int:
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
    return 0


def _train(flags: list[str]) -> int:
    """Becomes `tlkeras train FLAGS`, with the exit code of the command."""
    sys.argv = ["tlkeras", "train", *flags]
    from tlkeras.cli.main import main

    return main(["train", *flags])


def finish(trainings: list[Training]) -> None:
    """Waits for processes, all of which must end well."""
    try:
        codes = [training.wait() for training in trainings]
    finally:
        for training in trainings:
            training.kill()
    for code, training in zip(codes, trainings, strict=True):
        assert code == 0, training.output[-4000:]
