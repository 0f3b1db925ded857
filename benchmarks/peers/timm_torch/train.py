"""A plain torch loop on timm's network: first the head, then more, AdamW and cosine, channels last.

The head trains for 15 epochs at 1e-3 with the rest frozen and in evaluation mode. Then all layers, with their
BatchNormalization in training mode, train for 15 epochs at 3e-4. The last epoch is tested. The validation
rows choose nothing. `--choice` names another way:

- `compiled`: the same with `torch.compile`.
- `frozen`: only the head trains, for 30 epochs.
- `last:8`: the second stage trains the last eight blocks of tlkeras' default (the last convolution and seven
  blocks before it) and leaves the others in evaluation mode.
- `zero head`: `last:8` at 1e-3 with a head that begins at zero, and BatchNormalization in evaluation mode.
  timm draws the weights of a head from -1/sqrt(classes) to 1/sqrt(classes), which is large for 1280 features.
- `long`: the second stage has 60 epochs.
"""

import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from job import cores, read_job, report
from lite0_in_timm import MEAN, STD, lite0
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

BATCH = 32
HEAD, ALL = ("head", 15, 1e-3), ("all", 15, 3e-4)  # as many epochs as in tlkeras' default


class Way(NamedTuple):
    """A way to train: what each stage opens, its epochs and rate; see `--choice`."""

    stages: tuple[tuple[str, int, float], ...] = (HEAD, ALL)
    compiled: bool = False
    zero_head: bool = False
    statistics: bool = True  # those of the batch, in the BatchNormalization of the opened part


CHOICES = {
    "eager": Way(),
    "compiled": Way(compiled=True),
    "frozen": Way((("head", 30, 1e-3),)),
    "last:8": Way((HEAD, ("last", 15, 3e-4))),
    "zero head": Way((HEAD, ("last", 15, 1e-3)), zero_head=True, statistics=False),
    "long": Way((HEAD, ("all", 60, 3e-4))),
}


def main() -> None:
    """Trains on a task and prints the test accuracy."""
    job = read_job(tuple(CHOICES))
    way = CHOICES[job.choice]
    torch.manual_seed(job.seed)
    normalize = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    cropped = [transforms.RandomResizedCrop(job.size, scale=(0.6, 1.0)), transforms.RandomHorizontalFlip()]
    train = ImageFolder(job.folder / "train", transforms.Compose(cropped + normalize))
    resized = transforms.Compose([transforms.Resize((job.size, job.size)), *normalize])
    test = ImageFolder(job.folder / "test", resized)
    model = lite0(job.weights, len(train.classes)).to(memory_format=torch.channels_last)
    if way.zero_head:
        torch.nn.init.zeros_(model.classifier.weight)
        torch.nn.init.zeros_(model.classifier.bias)
    called = torch.compile(model) if way.compiled else model
    loader = DataLoader(
        train, BATCH, shuffle=True, drop_last=True, num_workers=cores(), persistent_workers=True
    )
    began = time.time()
    for opened, epochs, rate in way.stages:
        train_stage(model, called, loader, opened, epochs, rate, statistics=way.statistics)
    ended = time.time()
    peer = "torch and timm" if job.choice == "eager" else f"torch and timm, {job.choice}"
    right = test_accuracy(model, DataLoader(test, 64, num_workers=cores()))
    report(job, peer, right, (ended - began, ended), ("timm", "torch"))


def train_stage(model, called, loader, opened: str, epochs: int, rate: float, *, statistics: bool) -> None:
    """Trains a part of the network.

    Args:
        model: The network.
        called: The network as it is called, compiled or not.
        loader: Batches of training rows.
        opened: What trains: `head`, the `last` eight blocks, or `all`. The rest is frozen.
        epochs: Number of epochs.
        rate: Learning rate at the start. It falls to zero.
        statistics: Whether BatchNormalization of the opened part uses the statistics of the batch.
    """
    blocks = [block for stage in model.blocks for block in stage]
    last = [*blocks[-7:], model.conv_head, model.bn2, model.classifier]
    parts = {"head": [model.classifier], "last": last, "all": [model]}[opened]
    model.eval().requires_grad_(False)
    for part in parts:
        part.train(statistics).requires_grad_(True)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    for _ in range(epochs):
        for x, y in loader:
            logits = called(x.to(memory_format=torch.channels_last))
            loss = torch.nn.functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.inference_mode()
def test_accuracy(model, loader) -> float:
    """Returns the share of rows that the network classifies correctly."""
    model.eval()
    right = [(model(x.to(memory_format=torch.channels_last)).argmax(-1) == y).float() for x, y in loader]
    return torch.cat(right).mean().item()


if __name__ == "__main__":
    main()
