"""A plain torch loop on timm's network: first the head, then all layers, AdamW and cosine, channels last.

The head trains for 15 epochs at 1e-3 with the rest frozen and in evaluation mode. Then all layers, with their
BatchNormalization in training mode, train for 15 epochs at 3e-4. The last epoch is tested.
`--choice=compiled` uses `torch.compile`. The validation rows choose nothing.
"""

import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from job import cores, read_job, report
from lite0_in_timm import MEAN, STD, lite0
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

BATCH = 32
STAGES = (("head", 15, 1e-3), ("all", 15, 3e-4))  # as many epochs as in tlkeras' default


def main() -> None:
    """Trains on a task and prints the test accuracy."""
    job = read_job(("eager", "compiled"))
    torch.manual_seed(job.seed)
    normalize = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    cropped = [transforms.RandomResizedCrop(job.size, scale=(0.6, 1.0)), transforms.RandomHorizontalFlip()]
    train = ImageFolder(job.folder / "train", transforms.Compose(cropped + normalize))
    resized = transforms.Compose([transforms.Resize((job.size, job.size)), *normalize])
    test = ImageFolder(job.folder / "test", resized)
    model = lite0(job.weights, len(train.classes)).to(memory_format=torch.channels_last)
    called = torch.compile(model) if job.choice == "compiled" else model
    loader = DataLoader(
        train, BATCH, shuffle=True, drop_last=True, num_workers=cores(), persistent_workers=True
    )
    began = time.perf_counter()
    for name, epochs, rate in STAGES:
        train_stage(model, called, loader, name == "head", epochs, rate)
    seconds = time.perf_counter() - began
    peer = "torch and timm" if job.choice == "eager" else "torch and timm, compiled"
    right = test_accuracy(model, DataLoader(test, 64, num_workers=cores()))
    report(job, peer, right, seconds, ("timm", "torch"))


def train_stage(model, called, loader, head_alone: bool, epochs: int, rate: float) -> None:
    """Trains the head or all layers.

    Args:
        model: The network.
        called: The network as it is called, compiled or not.
        loader: Batches of training rows.
        head_alone: Whether only the classifier trains. The rest is then frozen.
        epochs: Number of epochs.
        rate: Learning rate at the start. It falls to zero.
    """
    model.train(not head_alone)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("classifier.") or not head_alone)
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
