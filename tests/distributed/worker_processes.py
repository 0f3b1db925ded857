"""`tlkeras train` as processes: on one device, on two mirrored CPUs, as two workers on 127.0.0.1.

`workers` are named by TF_CONFIG, `workers_by_flags` by --workers and --worker_index.
"""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLAGS = {
    "one": ["--strategy=none"],
    "one_with_onednn": ["--strategy=none"],
    "mirrored": ["--strategy=mirrored", "--set", "runtime.devices=2"],
    "workers": ["--strategy=multi_worker"],
    "workers_by_flags": ["--strategy=auto"],
}


def free_ports(count: int) -> list[int]:
    """Returns ports on 127.0.0.1 that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass
class Training:
    """A process of `tlkeras train` and its log."""

    process: subprocess.Popen
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float = 600) -> int:
        return self.process.wait(timeout=seconds)

    def wait_for(self, text: str, seconds: float = 600) -> None:
        """Waits until the process has printed a text."""
        end = time.monotonic() + seconds
        while text not in self.output:
            assert self.process.poll() is None and time.monotonic() < end, self.output[-3000:]
            time.sleep(0.02)


def start(topology: str, config: Path, workdir: Path, folder: Path, *more: str) -> list[Training]:
    """Starts the processes of a topology, all with the same config and workdir."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = free_ports(2) if topology.startswith("workers") else []
    addresses = [f"127.0.0.1:{port}" for port in ports]
    kept = {k: v for k, v in os.environ.items() if k != "TF_CONFIG"}
    kept |= {"TF_ENABLE_ONEDNN_OPTS": "1" if topology == "one_with_onednn" else "0"}
    kept |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    trainings = []
    for index in range(max(len(ports), 1)):
        environ, named = dict(kept), []
        if topology == "workers":
            task = {"type": "worker", "index": index}
            environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        elif topology == "workers_by_flags":
            named = [f"--workers={','.join(addresses)}", f"--worker_index={index}"]
        log = folder / f"{topology}_{index}.log"
        flags = [f"--config={config}", f"--workdir={workdir}", *FLAGS[topology], *named, *more]
        command = [sys.executable, str(ROOT / "scripts" / "train.py"), *flags]
        with open(log, "w") as out:
            process = subprocess.Popen(command, env=environ, stdout=out, stderr=out, cwd=folder)
        trainings.append(Training(process, log))
    return trainings


def finish(trainings: list[Training]) -> None:
    """Waits for processes, all of which must end well."""
    try:
        codes = [training.wait() for training in trainings]
    finally:
        for training in trainings:
            training.process.kill()
            training.process.wait()
    for code, training in zip(codes, trainings, strict=True):
        assert code == 0, training.output[-4000:]
