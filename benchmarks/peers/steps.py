"""Compares the training step and the forward pass of tlkeras with those of torch, for three networks.

Command:  python benchmarks/peers/steps.py --environment=PYTHON [--network=NAME ...] [--rounds=5]
Time:     about four minutes for each network on two CPU cores.

Batches of 32 pictures of 160 px that are already in memory, random weights, Adam, all layers trained, with
BatchNormalization fixed. tlkeras, torch and torch with `torch.compile` (both with channels last) run in
processes of their own, which stay open. In every round each measures the same, one after the other, and the
others wait. PYTHON is the interpreter of the environment of timm_torch/requirements.txt. Results are appended
to steps.jsonl, from which `run.py --page` writes its table.

`predict` is the saved model, which `tlkeras predict` runs. `extract` is the frozen backbone as tlkeras
computes features. For torch both are the network in evaluation mode; it has the classifier, too.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "steps.jsonl"
NETWORKS = {
    "mobilenet_v2": "mobilenetv2_100",
    "resnet50": "resnet50",
    "efficientnet_lite0": "tf_efficientnet_lite0",
}
KINDS = ("step", "predict", "extract")


def main() -> None:
    """Measures the networks and appends the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environment", required=True)
    parser.add_argument("--network", action="append", choices=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    for network in given.network or NETWORKS:
        for found in compare(network, given.environment, given.rounds):
            print(json.dumps(found), flush=True)
            with open(RESULTS, "a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")


def compare(network: str, python: str, rounds: int) -> list[dict]:
    """Returns a dict for each kind of measurement: the milliseconds for a picture of each side and round."""
    torch = [python, str(HERE / "timm_torch" / "steps.py"), NETWORKS[network]]
    sides = {
        "tlkeras": Side([sys.executable, str(HERE / "tlkeras_default" / "steps.py"), network]),
        "torch": Side([*torch, "eager"]),
        "torch, compiled": Side([*torch, "compiled"]),
    }
    found = {kind: {name: [] for name in sides} for kind in KINDS}
    for number in range(rounds):
        for kind in KINDS:
            names = list(sides) if number % 2 == 0 else list(sides)[::-1]
            for name in names:
                found[kind][name].append(round(sides[name].ask(kind), 3))
    for side in sides.values():
        side.close()
    return [{"network": network, "kind": kind, "ms": milliseconds} for kind, milliseconds in found.items()]


class Side:
    """A process that measures when it is asked.

    Args:
        command: Command of the process. It prints `ready` when it can measure, then for every line that it
            reads the milliseconds for a picture.
    """

    def __init__(self, command: list[str]):
        environ = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environ)
        self._answer("ready")

    def ask(self, kind: str) -> float:
        """Returns the milliseconds for a picture."""
        self._process.stdin.write(f"{kind}\n")
        self._process.stdin.flush()
        return float(self._answer(kind).split()[1])

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()

    def _answer(self, word: str) -> str:
        for line in self._process.stdout:
            if line.startswith(word):
                return line
        raise SystemExit(f"{' '.join(self._process.args)} ended early")


if __name__ == "__main__":
    main()
