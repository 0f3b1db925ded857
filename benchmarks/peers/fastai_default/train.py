"""fastai's own recipe: `vision_learner(...).fine_tune(10)` with its usual augmentation.

Its defaults are kept: batches of 64, one epoch of the head, ten of all layers, a one-cycle schedule,
discriminative rates, its head with concatenated pooling, and `aug_transforms()`. The backbone is timm's
network with the weights of the package, and fastai normalises the pictures as these weights want. The
validation rows choose nothing. `--choice=long` is `fine_tune(40)`.
"""

import sys
import tempfile
import time
from pathlib import Path

from fastai.vision.all import (
    ImageDataLoaders,
    Resize,
    accuracy,
    aug_transforms,
    get_image_files,
    set_seed,
    vision_learner,
)

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from job import read_job, report
from lite0_in_timm import MEAN, NAME, STD, tensors


def main() -> None:
    """Trains on a task and prints the test accuracy."""
    job = read_job(("default", "long"))
    set_seed(job.seed, reproducible=True)
    loaders = ImageDataLoaders.from_folder(
        job.folder,
        train="train",
        valid="val",
        seed=job.seed,
        item_tfms=Resize(job.size),
        batch_tfms=aug_transforms(),
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lite0.pth"
        torch.save(tensors(job.weights), file)
        weights = {"file": str(file), "mean": MEAN, "std": STD}
        learner = vision_learner(loaders, NAME, metrics=accuracy, pretrained_cfg_overlay=weights)
    began = time.time()
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(10 if job.choice == "default" else 40)
    ended = time.time()
    files = get_image_files(job.folder / "test")
    with learner.no_bar():
        scores, labels = learner.get_preds(dl=loaders.test_dl(files, with_labels=True))
    right = (scores.argmax(-1) == labels).float().mean().item()
    peer = "fastai" if job.choice == "default" else "fastai, long"
    report(job, peer, right, (ended - began, ended), ("fastai", "timm", "torch"))


if __name__ == "__main__":
    main()
