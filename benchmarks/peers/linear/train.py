"""Scikit-learn on features of the frozen network: `--choice=logistic` or `--choice=knn`.

The features are the pooled outputs of timm's network, standardised on the training rows. The strength of the
logistic regression and the number of neighbours (by cosine) are chosen by the accuracy on the validation
rows.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from job import read_job, report
from lite0_in_timm import MEAN, STD, lite0
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

CANDIDATES = {
    "logistic": [LogisticRegression(C=c, max_iter=1000) for c in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)],
    "knn": [KNeighborsClassifier(k, metric="cosine") for k in (1, 3, 5, 9, 15)],
}
PEERS = {"logistic": "logistic regression", "knn": "nearest neighbours"}


def main() -> None:
    """Fits on a task and prints the test accuracy."""
    job = read_job(tuple(CANDIDATES))
    began = time.time()
    network = lite0(job.weights, 0).eval().to(memory_format=torch.channels_last)
    splits = {split: features(network, job.folder / split, job.size) for split in ("train", "val", "test")}
    fitted = [make_pipeline(StandardScaler(), one).fit(*splits["train"]) for one in CANDIDATES[job.choice]]
    best = max(fitted, key=lambda one: one.score(*splits["val"]))  # the first of equals
    ended = time.time()
    right = best.score(*splits["test"])
    report(job, PEERS[job.choice], right, (ended - began, ended), ("scikit-learn", "timm", "torch"))


@torch.inference_mode()
def features(network, folder: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns features `(n, 1280)` and labels `(n,)` of the pictures of a split."""
    steps = [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    rows = ImageFolder(folder, transforms.Compose(steps))
    found = [network(x.to(memory_format=torch.channels_last)) for x, _ in DataLoader(rows, 64)]
    return torch.cat(found).numpy(), np.asarray(rows.targets)


if __name__ == "__main__":
    main()
