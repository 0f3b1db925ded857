"""The config: an experiment as one typed value, and functions to read, change and write it."""

from tlkeras.config.adaptation import AdaptationConfig, StrengthConfig
from tlkeras.config.data import AugmentConfig, DataConfig
from tlkeras.config.experiment import ExperimentConfig
from tlkeras.config.loading import (
    apply_overrides,
    assignments,
    dump_config,
    load_config,
    shipped_experiments,
)
from tlkeras.config.model import (
    AdapterConfig,
    BesideConfig,
    BranchConfig,
    ConcatJoinConfig,
    CosineHeadConfig,
    FrontEndConfig,
    GatedJoinConfig,
    HeadConfig,
    JoinConfig,
    LinearHeadConfig,
    LowRankJoinConfig,
    MlpHeadConfig,
    ModelConfig,
    NeckConfig,
    NeighborsHeadConfig,
    NestedConfig,
    OtherHeadConfig,
)
from tlkeras.config.objective import LossConfig, MetricConfig
from tlkeras.config.own_parts import OwnParts, with_own_parts
from tlkeras.config.pretext import PretextConfig
from tlkeras.config.runtime import (
    CacheConfig,
    CheckpointConfig,
    RuntimeConfig,
    TensorBoardConfig,
    TrackerConfig,
)
from tlkeras.config.stage import (
    EarlyStoppingConfig,
    FallingScheduleConfig,
    FitStageConfig,
    OptimizerConfig,
    PlainScheduleConfig,
    ProbeStageConfig,
    ScheduleConfig,
    StageConfig,
    StepScheduleConfig,
)
from tlkeras.config.tasks import TasksConfig
from tlkeras.config.transfer import MappingConfig, ProbeConfig, RegularizerConfig, VerdictConfig

__all__ = [
    "AdaptationConfig",
    "AdapterConfig",
    "AugmentConfig",
    "BesideConfig",
    "BranchConfig",
    "CacheConfig",
    "CheckpointConfig",
    "ConcatJoinConfig",
    "CosineHeadConfig",
    "DataConfig",
    "EarlyStoppingConfig",
    "ExperimentConfig",
    "FallingScheduleConfig",
    "FitStageConfig",
    "FrontEndConfig",
    "GatedJoinConfig",
    "HeadConfig",
    "JoinConfig",
    "LinearHeadConfig",
    "LossConfig",
    "LowRankJoinConfig",
    "MappingConfig",
    "MetricConfig",
    "MlpHeadConfig",
    "ModelConfig",
    "NeckConfig",
    "NeighborsHeadConfig",
    "NestedConfig",
    "OptimizerConfig",
    "OtherHeadConfig",
    "OwnParts",
    "PlainScheduleConfig",
    "PretextConfig",
    "ProbeConfig",
    "ProbeStageConfig",
    "RegularizerConfig",
    "RuntimeConfig",
    "ScheduleConfig",
    "StageConfig",
    "StepScheduleConfig",
    "StrengthConfig",
    "TasksConfig",
    "TensorBoardConfig",
    "TrackerConfig",
    "VerdictConfig",
    "apply_overrides",
    "assignments",
    "dump_config",
    "load_config",
    "shipped_experiments",
    "with_own_parts",
]
