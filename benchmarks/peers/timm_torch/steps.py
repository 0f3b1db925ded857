"""Measures a network of timm for benchmarks/peers/steps.py: `python steps.py NETWORK eager|compiled`."""

import sys
from pathlib import Path

import timm
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from measured_steps import BATCH, CLASSES, SIZE, answer


def main(network: str, way: str) -> None:
    """Measures until the standard input ends."""
    torch.manual_seed(0)
    model = timm.create_model(network, num_classes=CLASSES).to(memory_format=torch.channels_last)
    model.eval()  # the statistics of BatchNormalization are fixed; the networks have no dropout
    called = torch.compile(model) if way == "compiled" else model
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    x = torch.rand(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    y = torch.randint(0, CLASSES, (BATCH,))

    def step():
        loss = torch.nn.functional.cross_entropy(called(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    @torch.inference_mode()
    def forward():
        return called(x).sum().item()

    answer({"step": step, "predict": forward, "extract": forward})


if __name__ == "__main__":
    main(*sys.argv[1:])
