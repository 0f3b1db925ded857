"""The experiment as one value."""

from typing import Annotated

from pydantic import Field, model_validator

from tlkeras.config.adaptation import AdaptationConfig
from tlkeras.config.base import Config
from tlkeras.config.checks import check_monitors, check_pretext, usual_metric
from tlkeras.config.data import DataConfig
from tlkeras.config.model import ModelConfig
from tlkeras.config.objective import MetricConfig
from tlkeras.config.runtime import (
    CacheConfig,
    CheckpointConfig,
    ExportConfig,
    RuntimeConfig,
    TensorBoardConfig,
    TrackerConfig,
)
from tlkeras.config.stage import StageConfig
from tlkeras.config.tasks import TasksConfig
from tlkeras.config.transfer import VerdictConfig
from tlkeras.maybe import MaybeNone


class ExperimentConfig(Config):
    """Everything that determines a run.

    Attributes:
        name: Name of the experiment.
        seed: Seed of everything random.
        data: Labelled data that the run trains on.
        model: Backbone, neck and head.
        stages: Stages in their order. Only the head `class_names` needs none.
        metrics: Metrics of training and evaluation in addition to the usual ones, e.g. `["auc"]`.
        judged_by: Metric that decides in place of the accuracy (of R2 for regression), or None: a name of
            `tlkeras list metrics`, or of a Keras metric that is passed from Python. Without other monitors it
            chooses the best epoch and stops early. The verdict, comparisons and sweeps go by it. Its options
            are given in `metrics`.
        adaptation: Adaptation to an unlabelled target domain, or None.
        cache: Feature cache.
        runtime: Devices, precision and determinism.
        checkpoint: Checkpoints and the choice of the best model.
        export: Answers of `predict` and of exports.
        tensorboard: Data that is written for TensorBoard in addition to scalars.
        tracking: Trackers beside TensorBoard that are told about the run, e.g. `["mlflow"]`.
        verdict: Runs without the transfer with which the run is compared.
        tasks: Source task that is trained before or beside the task of `data`, or None.

    Example:
        >>> config = ExperimentConfig(
        ...     name="demo",
        ...     data=DataConfig(source="digits"),
        ...     model=ModelConfig(backbone="mlp", weights=None),
        ...     stages=[StageConfig(name="all", train="all")],
        ... )
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-.]{1,64}$")] = "experiment"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: DataConfig
    model: ModelConfig = ModelConfig()
    stages: tuple[StageConfig, ...]
    metrics: tuple[MetricConfig, ...] = ()
    judged_by: str | None = None
    adaptation: AdaptationConfig | MaybeNone = None
    cache: CacheConfig = CacheConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    export: ExportConfig = ExportConfig()
    tensorboard: TensorBoardConfig = TensorBoardConfig()
    tracking: tuple[TrackerConfig, ...] = ()
    verdict: VerdictConfig = VerdictConfig()
    tasks: TasksConfig | MaybeNone = None

    @property
    def judge(self) -> MetricConfig | None:
        """The metric that `judged_by` names, with its options."""
        listed = {metric.name: metric for metric in self.metrics}
        name = self.judged_by
        return None if name is None else listed.get(name, MetricConfig(name=name))

    @property
    def measured(self) -> tuple[MetricConfig, ...]:
        """The metrics in addition to the usual one of the task, with that of `judged_by`."""
        wanted = (*self.metrics, self.judge) if self.judge not in (None, *self.metrics) else self.metrics
        return tuple(metric for metric in wanted if metric.name != usual_metric(self.data.task))

    @property
    def is_folded(self) -> bool:
        """Whether the experiment has one run per fold, because `data.folds` is set and `data.fold` is not."""
        return self.data.folds is not None and self.data.fold is None

    @property
    def is_two_runs(self) -> bool:
        """Whether the experiment has a run for each of two tasks."""
        return self.tasks is not None and not self.tasks.joint_run

    @property
    def is_several_runs(self) -> bool:
        """Whether the experiment has more than one run: folds, or two tasks."""
        return self.is_folded or self.is_two_runs

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of a row: the first, which `model.backbone` takes, and those of `model.beside`."""
        pictures = self.data.picture is not None or "text" in self.model.beside
        files = "image" if self.data.seconds is None else "sound"
        first = "text" if self.data.text and not pictures else files
        return (first, *self.model.beside)

    def one_fold(self, fold: int) -> "ExperimentConfig":
        """Returns the experiment of a single fold.

        Args:
            fold: Number of the fold, from 0.
        """
        data = self.data.model_copy(update={"fold": fold})
        return self.model_copy(update={"data": data, "name": f"{self.name[:56]}.fold_{fold}"})

    @property
    def maps_features(self) -> bool:
        """Whether a probe maps the features of the source to those of the target."""
        return any(stage.kind == "probe" and stage.probe.mapping is not None for stage in self.stages)

    @property
    def adapts(self) -> bool:
        """Whether the run uses its target. A source-only twin has a target but does not use it."""
        adaptation = self.adaptation
        return adaptation is not None and (adaptation.trains_on_target or adaptation.batch_norm == "adabn")

    @property
    def twins(self) -> tuple[str, ...]:
        """The names of the run's twins. The first one decides the verdict."""
        uses_target = (self.adapts or self.maps_features) and self.adaptation.twin
        return tuple(dict.fromkeys((*(("source_only",) if uses_target else ()), *self.verdict.twins)))

    @property
    def judged_seeds(self) -> int:
        """The number of seeds with which the run and its twins are trained."""
        return max(self.verdict.seeds, self.adaptation.seeds if "source_only" in self.twins else 1)

    def adapts_in(self, stage: StageConfig) -> bool:
        """Whether a stage trains on rows of the source and of the target.

        Args:
            stage: Stage of this experiment.

        Returns:
            True or False.
        """
        return self.adaptation is not None and stage.adapt and self.adaptation.trains_on_target

    @model_validator(mode="after")
    def _names_differ(self):
        for field in ("stages", "metrics", "tracking"):
            names = [entry.name for entry in getattr(self, field)]
            if len(set(names)) < len(names):
                raise ValueError(f"{field} must have different names. Received: {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _monitors_exist(self):
        check_monitors(
            self.data, self.checkpoint, self.stages, self.adaptation, self.tasks,
            [metric.name for metric in self.measured],
        )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _twins_exist(self):
        if "source_only" in self.verdict.twins and not (self.adapts or self.maps_features):
            raise ValueError(
                "verdict.twins: source_only is the twin of an adaptation, and this config has none. "
                f"Allowed: scratch, random_features, frozen_probe. Received: {list(self.verdict.twins)}"
            )
        probed = [name for name in self.verdict.twins if name in ("random_features", "frozen_probe")]
        if probed and self.model.adapter is not None:
            raise ValueError(
                "verdict.twins: a probe fits only the head, so the adapter would keep its random "
                f"weights. Allowed with model.adapter: scratch, source_only. Received: {probed}"
            )
        return self

    @model_validator(mode="after")
    def _parts_exist(self):
        alone = [name for name in self.verdict.twins if name.endswith("_alone")]
        if alone and not self.model.beside:
            raise ValueError(
                f"verdict.twins: {alone[0]} is the twin of a model with several backbones (model.beside). "
                f"Received: {list(self.verdict.twins)}"
            )
        missing = [name for name in alone if name.removesuffix("_alone") not in self.parts]
        if missing:
            raise ValueError(
                f"verdict.twins: {missing[0]} needs rows with this part. The rows have "
                f"{' and '.join(self.parts)}. Received: {list(self.verdict.twins)}"
            )
        gradual = [stage.name for stage in self.stages if stage.gradual]
        if self.model.beside and gradual:
            raise ValueError(
                "gradual opens the blocks of one backbone: list the stages for model.beside. "
                f"Received: stages.{gradual[0]}.gradual=True"
            )
        if "text" in self.model.beside and self.data.text and not self.data.picture:
            raise ValueError(
                "model.beside.text reads texts beside pictures: give data.picture, the column of paths. "
                f"Received: data.picture=None, data.text={self.data.text!r}"
            )
        return self

    @model_validator(mode="after")
    def _mapping_has_a_target(self):
        if self.maps_features and self.adaptation is None:
            raise ValueError(
                "probe.mapping maps the source's features to those of a target: give adaptation.target (and "
                "adaptation.method='none'). Received: adaptation=None"
            )
        return self

    @model_validator(mode="after")
    def _neighbors_are_a_probe(self):
        for stage in self.stages if self.model.head.name == "neighbors" else ():
            fitted = stage.probe.name if stage.kind == "probe" else None
            if fitted != "knn":
                raise ValueError(
                    "The head 'neighbors' stores training rows and has no trainable weights: each stage "
                    f"must have probe.name='knn'. Received: stages.{stage.name}.probe={fitted}"
                )
        return self

    @model_validator(mode="after")
    def _something_trains(self):
        head = self.model.head.name
        if not self.stages and (head != "class_names" or self.adaptation or self.tasks):
            raise ValueError(
                "stages must not be empty, because nothing would be trained. Without stages, a run can only "
                "classify with the head 'class_names', without adaptation and tasks. Received: stages=[], "
                f"model.head.name={head}"
            )
        return self

    @model_validator(mode="after")
    def _pretexts_fit(self):
        check_pretext("data", self.data, self.model.head, self.stages)
        if self.tasks is not None:
            together = self.tasks.strategy == "share_gradients"
            stages = self.stages if together else self.tasks.stages
            check_pretext("tasks.source", self.tasks.source, self.tasks.head, stages)
        if self.data.pretext is not None and self.judged_by is not None:
            raise ValueError(
                "judged_by needs a task with labels: set it in the run that trains on the target. "
                f"Received: data.pretext={self.data.pretext.name}, judged_by={self.judged_by}"
            )
        if self.data.pretext is not None and self.verdict.twins:
            raise ValueError(
                "verdict.twins need a task with labels: set them in the run that trains on the target. "
                f"Received: data.pretext={self.data.pretext.name}, {list(self.verdict.twins)}"
            )
        adaptation = self.adaptation
        if adaptation is not None:
            domains = (adaptation.target, *adaptation.more_targets, *adaptation.more_sources)
            if any(data.pretext for data in (self.data, *domains, adaptation.target_labelled) if data):
                raise ValueError(
                    "adaptation needs labels of the source, and a pretext task has none. Pretrain with "
                    "tasks.source.pretext, or adapt from the run of data.pretext by model.weights. "
                    "Received: pretext and adaptation"
                )
        return self
