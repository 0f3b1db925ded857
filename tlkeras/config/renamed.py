"""Old names of fields. They are refused with the new name in a user's config, and accepted in old runs."""

# (class of the config, name of the field in version 0.1): current name
RENAMED = {
    ("FitStageConfig", "steps_per_call"): "steps_per_execution",
    ("VerdictConfig", "baselines"): "twins",
}
