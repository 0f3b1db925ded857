"""The extraction of features alone: the outputs of the frozen trunk that the stages of a config train on."""

from dataclasses import replace

from tlkeras import messages
from tlkeras.backend.environment import named_cluster
from tlkeras.config import ExperimentConfig
from tlkeras.errors import UserError
from tlkeras.lazy import LateModule
from tlkeras.prepare import prepare
from tlkeras.run_dir import RunDir
from tlkeras.settled_config import checked

cache = LateModule("tlkeras.features.cache")
stage_features = LateModule("tlkeras.features.stage_features")
fit_stage = LateModule("tlkeras.training.fit_stage")
trainer = LateModule("tlkeras.training.trainer")
trunk_features = LateModule("tlkeras.training.trunk_features")

_STAND_IN = 32  # replaces a batch size that only a run finds


def extract(config: ExperimentConfig) -> dict[str, int]:
    """Computes and stores the features that a run of the config would compute before its stages.

    Several processes that do this with the same `cache.dir` divide the rows, also on several machines. They
    do not communicate, and each ends when all features are there.

    Args:
        config: Config of a single run.

    Returns:
        The number of rows that this process has computed, by the name of the stage that trains on them.

    Raises:
        UserError: There is a mistake in the config or the data, the config describes several runs, or no
            stage trains on stored features.
    """
    if config.is_several_runs:
        raise UserError(
            "extract computes the features of a single run: leave out data.folds and tasks. Received: a "
            "config of several runs"
        )
    cluster = named_cluster()
    if cluster is None and config.runtime.strategy == "multi_worker":  # nothing is trained together
        runtime = config.runtime.model_copy(update={"strategy": "auto"})
        config = config.model_copy(update={"runtime": runtime})
    batch_size = _STAND_IN if config.data.batch_size == "auto" else None
    parts = prepare(checked(config), batch_size=batch_size, alone=True)
    run = trainer.Trainer(parts, RunDir(f"runs/{config.name}"))
    run.check()
    part = (0, 1) if cluster is None else (cluster.index, cluster.workers)
    store = replace(cache.FeatureCache.of(parts.config, parts.runtime), part=part)
    computed, trained = {}, set()
    for stage in run.stages:
        stage.select()
        features = _features(stage, store, trained)
        if features is not None:
            computed[stage.config.name] = features.computed_rows
        trained |= {id(variable) for variable in parts.model.trainable_variables}
    if not computed:
        raise UserError(
            "No stage of this config trains on stored features, so there is nothing to extract. Received: "
            + ", ".join(f"stages.{stage.config.name}.train={stage.config.train}" for stage in run.stages)
        )
    return computed


def _features(stage, store, trained: set[int]):
    """Returns the features of a stage, or None (with a notice) if it has none before the run."""
    parts, title = stage.parts, stage.title
    if not isinstance(stage, fit_stage.FitStage):
        messages.note(f"{title}: a probe computes its features in the run.")
        return None
    reason = "no trunk is frozen, or cache.enabled is false"
    if not stage_features.nothing_to_keep(parts.config.cache, parts.model):
        reason = trunk_features.reason_against_extraction(parts, stage.batches, stage.config, stage.steps)
        if any(id(variable) in trained for variable in parts.model.trunk().variables):
            reason = "an earlier stage trains a part of its trunk"
    if reason is not None:
        messages.note(f"{title}: nothing to extract: {reason}.")
        return None
    return trunk_features.open_with(store, parts, stage.batches, stage.config, title)
