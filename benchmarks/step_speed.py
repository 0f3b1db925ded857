"""Forward passes and training steps of backbones: tlkeras beside torch, and LoRA beside full fine-tuning.

    python benchmarks/step_speed.py [--network=vit_small] [--what=step] [--rounds=5] [--batch=8]
                                    [--sides=tlkeras,torch,torch.compile] [--torch=ENV/bin/python]

Sides are `tlkeras`, `lora` (rank 8), `bfloat16` (mixed precision), `torch` and `torch.compile`; `--torch` is
the Python of an environment with torch and timm. Each side is a process of its own. All of them are warm
before the first round, and they take turns in each round, so that a machine that becomes slower affects all
in the same way. Weights are random, images have 224 pixels a side, and the optimizer is AdamW (in torch the
fused one). Convolutions have torch's layout channels_last. The script prints the seconds of each side
(median), the first side's time as a multiple of it (median and range over the rounds), its peak memory, and
what it trains.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SIDES = {
    "tlkeras": ("step_of_tlkeras.py", {}),
    "lora": ("step_of_tlkeras.py", {"lora": 8}),
    "bfloat16": ("step_of_tlkeras.py", {"precision": "mixed_bfloat16"}),
    "torch": ("step_of_torch.py", {"compile": False}),
    "torch.compile": ("step_of_torch.py", {"compile": True}),
}


class Side:
    """A process that runs passes when it is asked to."""

    def __init__(self, name: str, asked: dict, torch: str):
        script, words = SIDES[name]
        python = torch if script == "step_of_torch.py" else sys.executable
        environ = os.environ | {"PYTHONPATH": str(HERE.parent)}
        self.name, self.seconds, self.memory = name, [], 0.0
        self._process = subprocess.Popen(
            [python, str(HERE / script), json.dumps(asked | words)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ, cwd=HERE,
        )  # fmt: skip
        self.facts = self._answer()

    def run(self, passes: int) -> None:
        """Runs passes and keeps the seconds of one."""
        self._process.stdin.write(f"{passes}\n")
        self._process.stdin.flush()
        answer = self._answer()
        self.seconds.append(answer["seconds"])
        self.memory = answer["memory_mb"]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict:
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{self.name} ended with code {self._process.wait()}")


def main() -> None:
    """Measures the sides and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="vit_small")
    parser.add_argument("--what", default="step", choices=["forward", "step"])
    parser.add_argument("--sides", default="tlkeras,torch,torch.compile")
    parser.add_argument("--torch", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--passes", type=int, default=3, help="passes of a side in a round")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    words = {k: getattr(asked, k) for k in ("network", "what", "batch", "threads")}
    sides = [Side(name, words, asked.torch) for name in asked.sides.split(",")]
    for _ in range(asked.rounds):
        for side in sides:
            side.run(asked.passes)
    for side in sides:
        ratios = [a / b for a, b in zip(sides[0].seconds, side.seconds, strict=True)]
        print(
            f"| `{asked.network}` | {asked.what} | {side.name} | {statistics.median(side.seconds):.3f} s "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {side.memory:.0f} MiB | {side.facts} |",
            flush=True,
        )
        side.close()


if __name__ == "__main__":
    main()
