"""The use of the feature cache in a stage: a frozen trunk is computed once."""

from pathlib import Path

from tlkeras import messages
from tlkeras.backend import from_chief
from tlkeras.config import ExperimentConfig, FitStageConfig
from tlkeras.features.cache import FeatureCache
from tlkeras.features.stage_features import (
    IN_EVERY_STEP,
    TOO_SHORT,
    StageFeatures,
    nothing_to_keep,
    open_stage,
    reason_against,
    too_short,
)
from tlkeras.methods.adapt import make_method
from tlkeras.prepare import Parts
from tlkeras.run_dir import RunDir
from tlkeras.training.stage_batches import StageBatches
from tlkeras.training.stages import Steps
from tlkeras.training.terms import looks_at_inputs

NOTE = "features.json"


def open_features(
    parts: Parts,
    batches: StageBatches,
    stage: FitStageConfig,
    steps: Steps,
    run_dir: RunDir,
    folder: Path,
    title: str,
) -> StageFeatures | None:
    """Returns the features on which a stage trains, or None if it trains on its inputs.

    The model then takes features. If the trunk is frozen and the stage trains on its inputs nevertheless, the
    reason is printed. A stage that is too short to repay an extraction does not use stored features either.

    The extractor is recorded in `features.json` of the stage. A run that is resumed or repeated on another
    machine thus uses the same features.

    Args:
        parts: Parts of the run. Its model has the stage selected and the state at the beginning of the stage.
        batches: Object with the domains of the stage and the seeds of their augmentation.
        stage: Config of the stage.
        steps: Length of the stage.
        run_dir: Run directory.
        folder: Folder of the stage.
        title: Text before progress lines.
    """
    if nothing_to_keep(parts.config.cache, parts.model):
        return None
    note, runtime = folder / NOTE, parts.runtime
    reason = reason_against_features(parts.config, stage)
    if reason is not None:
        messages.note(f"{title}: {IN_EVERY_STEP}: {reason}.")
        return None
    noted = run_dir.read_json(note) if note.is_file() else {}
    if noted.get("extractor", "") is None:
        return None
    # the decision depends on the disk and must not change when the run resumes
    decided = (
        _decided(parts, batches, stage, steps, run_dir, folder) if runtime.is_chief else from_chief(runtime)
    )
    features = None
    if decided.get("extractor", "") is not None:
        cache = FeatureCache.of(parts.config, runtime)
        features = open_with(cache, parts, batches, stage, title, decided.get("extractor"))
    elif runtime.is_chief:  # only the chief has the reason
        messages.note(f"{title}: {IN_EVERY_STEP}: {decided['reason']}.")
    if features is not None:
        features.seconds += noted.get("seconds", 0.0)
        features.computed_rows += noted.get("computed_rows", 0)
        parts.model.set_input("features")
    if runtime.is_chief:
        decided = {"extractor": None, "seconds": 0.0, "computed_rows": 0}
        if features is not None:
            decided = {name: getattr(features, name) for name in decided}
        from_chief(runtime, decided)
    run_dir.write_json(note, decided)
    return features


def open_with(
    cache: FeatureCache,
    parts: Parts,
    batches: StageBatches,
    stage: FitStageConfig,
    title: str,
    extractor: str | None = None,
) -> StageFeatures | None:
    """Returns the features of a stage, or None (with a notice) if they do not save time.

    Args:
        cache: Feature cache.
        parts: Parts of the run. Its model has the stage selected.
        batches: Object with the domains of the stage and the seeds of their augmentation.
        stage: Config of the stage.
        title: Text before progress lines.
        extractor: Name of the extractor that an earlier process of the run used, or None for the config's.
    """
    facts = {"backbone": parts.config.model.backbone, "train": stage.train}
    splits = batches.splits_of(stage)
    return open_stage(cache, parts.model, stage, splits, title=title, facts=facts, extractor=extractor)


def reason_against_extraction(
    parts: Parts, batches: StageBatches, stage: FitStageConfig, steps: Steps
) -> str | None:
    """Returns why a stage with a frozen trunk trains without stored features, or None if it uses them.

    Args:
        parts: Parts of the run.
        batches: Object with the domains of the stage.
        stage: Config of the stage.
        steps: Length of the stage.
    """
    too_short = TOO_SHORT if _too_short(parts, batches, stage, steps) else None
    return reason_against_features(parts.config, stage) or too_short


def _decided(
    parts: Parts, batches: StageBatches, stage: FitStageConfig, steps: Steps, run_dir: RunDir, folder: Path
) -> dict:
    """Returns the decision before features are opened: `{}` if open, else the extractor (None for none)."""
    if known := recorded(parts, run_dir, folder):
        return known
    return {"extractor": None, "reason": TOO_SHORT} if _too_short(parts, batches, stage, steps) else {}


def recorded(parts: Parts, run_dir: RunDir, folder: Path) -> dict:
    """Returns the recorded extractor of a stage in this run or in the run that it repeats, else `{}`.

    Args:
        parts: Parts of the run.
        run_dir: Run directory.
        folder: Folder of the stage in it.
    """
    note = folder.relative_to(run_dir.path) / NOTE
    for run in (run_dir, parts.repeats):
        if run is not None and (run.path / note).is_file():
            return {"extractor": run.read_json(note)["extractor"], "reason": "as in the run that is repeated"}
    return {}


def reason_against_features(config: ExperimentConfig, stage: FitStageConfig) -> str | None:
    """Returns why a stage with a frozen trunk must train on its inputs, or None if it need not."""
    adaptation = config.adaptation if config.adapts_in(stage) else None
    reason = reason_against(stage, config.data)
    if reason is None and stage.regularizer is not None and looks_at_inputs(stage):
        reason = f"the regularizer {stage.regularizer.name} looks at the pixels"
    if reason is None and adaptation and make_method(adaptation.method, adaptation.options).target_views > 1:
        reason = f"{adaptation.method} shows each target row a second time, augmented anew"
    return reason


def _too_short(parts: Parts, batches: StageBatches, stage: FitStageConfig, steps: Steps) -> bool:
    adapts = parts.config.adapts_in(stage)
    domains = [*batches.sources, *(batches.targets if adapts else ())]
    rows = [len(domain.splits["train"]) for domain in domains]
    read = steps.total * (2 if adapts else 1)
    return too_short(stage, parts.config.data, read, rows, parts.batch_size)
