"""The metrics by which the best epoch is chosen and a stage stops early."""

from tlkeras.config import EarlyStoppingConfig, FitStageConfig
from tlkeras.prepare import Parts


def monitor_of(parts: Parts) -> str:
    """Returns the name of the metric that chooses the best epoch of a run."""
    config = parts.config
    if config.checkpoint.monitor is not None:
        return config.checkpoint.monitor
    if config.adapts:
        return "val_selection"
    if config.judged_by is not None:
        return f"val_{config.judged_by}"
    return "val_loss" if parts.source.task == "regression" else "val_accuracy"


def stopping_of(parts: Parts, stage: FitStageConfig) -> EarlyStoppingConfig | None:
    """Returns the early stopping of a stage with the name of its metric, or None."""
    wanted, judged_by = stage.early_stopping, parts.config.judged_by
    if wanted is None or wanted.monitor is not None:
        return wanted
    return wanted.model_copy(update={"monitor": f"val_{judged_by}" if judged_by else "val_loss"})
