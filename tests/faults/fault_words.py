"""The command lines that fault tests start from."""

from pathlib import Path


def settings(*pairs: str) -> list[str]:
    """Returns `--set` flags."""
    return [word for pair in pairs for word in ("--set", pair)]


SMALL = settings("data.limit=64", "data.batch_size=16", "stages.1.epochs=2", "checkpoint.every_steps=2")
ADAPTING = settings(
    "adaptation.method=wasserstein",
    'adaptation.options={"critic_steps": 1}',
    "adaptation.target.source=synthetic:shapes",
    "adaptation.target.limit=64",
    "adaptation.twin=false",
    'model.backbone_options={"filters": [4, 8]}',  # TensorFlow prepares a step for longer than it trains
    "tensorboard.images=false",
)
MIRRORED = ["--strategy=mirrored", *settings("runtime.devices=2")]


def train(folder: Path, *more: str) -> list[str]:
    """Returns a small training of everything that resume must get right, with a cache of its own.

    The cache's folder is part of the config: each run has its own, so that kills fall into its writing too.
    """
    places = [f"--workdir={folder / 'run'}", *settings(f"cache.dir={folder / 'cache'}")]
    return ["train", "--config=synthetic_full", *SMALL, *places, *more]
