"""A stage with a frozen trunk computes the trunk's outputs once, and trains on those."""

from pathlib import Path

from tlkeras.adaptation.methods import make_method
from tlkeras.config import StageConfig
from tlkeras.features.cache import FeatureCache
from tlkeras.features.stage import StageFeatures, open_stage, reason_against
from tlkeras.prepare import Parts
from tlkeras.run_dir import RunDir
from tlkeras.runtime import from_chief
from tlkeras.training.adapting import adapts
from tlkeras.training.feed import Feed
from tlkeras.training.regularizing import looks_at_inputs
from tlkeras.training.stages import Steps


def open_features(
    parts: Parts, feed: Feed, stage: StageConfig, steps: Steps, run_dir: RunDir, folder: Path, title: str
) -> StageFeatures | None:
    """Returns what a stage trains on in place of pixels, and feeds the model with it; None without.

    Which extractor was used is noted in the stage's `features.json`, so that a run that goes on, on a
    machine where another one would be chosen by now, sees the same features.

    Args:
        parts: The run's parts; its model has the stage selected and the state in which it begins.
        feed: Knows the domains of the stage and the seeds of their augmentation.
        stage: The stage.
        steps: Its length.
        run_dir: The run directory.
        folder: The stage's folder.
        title: Stands before progress lines.
    """
    note = folder / "features.json"
    noted = run_dir.read_json(note) if (run_dir.path / note).is_file() else {}
    splits = feed.splits_of(stage)
    rows = max(len(domain.splits[split]) for domain, split, _ in splits)
    seen = steps.total * parts.batch_size // max(1, len(feed.sources))
    reason = reason_against(stage, parts.config.cache, parts.config.data, parts.model, seen, rows)
    if parts.source.config.pretext is not None:
        return None  # turns and views are drawn anew in every epoch
    if looks_at_inputs(stage) or (adapts(parts, stage) and _draws_strong_views(parts)):
        return None
    if reason is not None or noted.get("extractor", "") is None:
        return None
    runtime = parts.runtime
    if not runtime.is_chief:  # what pays is measured, and must not be measured twice
        noted = from_chief(runtime)
        if noted["extractor"] is None:
            return None
    features = open_stage(
        FeatureCache(parts.config.cache, runtime.strategy, runtime.config.threads),
        parts.model,
        stage,
        splits,
        title=title,
        facts={"backbone": parts.config.model.backbone, "train": stage.train},
        extractor=noted.get("extractor"),
    )
    if features is not None:
        features.seconds += noted.get("seconds", 0.0)
        parts.model.feed("features")
    if runtime.is_chief:
        name, seconds = (features.extractor, features.seconds) if features else (None, 0.0)
        noted = from_chief(runtime, {"extractor": name, "seconds": seconds})
    run_dir.write_json(note, noted)
    return features


def _draws_strong_views(parts: Parts) -> bool:
    """Whether the method shows each target row a second time, augmented anew."""
    adaptation = parts.config.adaptation
    return make_method(adaptation.method, adaptation.options).target_views > 1
