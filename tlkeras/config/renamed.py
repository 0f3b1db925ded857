"""Fields that had another name: refused, by naming the new one, in what a user writes; read in old runs."""

# (class of the config, name of the field in version 0.1): its name of today
RENAMED = {
    ("FitStageConfig", "steps_per_call"): "steps_per_execution",
    ("VerdictConfig", "baselines"): "twins",
}
