"""Training on two tasks at once: the term of the second task, and batches of both tasks."""

from tlkeras.config import ExperimentConfig, FitStageConfig
from tlkeras.config.data import ALIKE_IN_TASKS
from tlkeras.data import Domain, check_files, load_domain, random_streams, training_batches
from tlkeras.data.combined_batches import side_by_side
from tlkeras.data.fact_store import kept_in
from tlkeras.data.pipeline import filling_a_batch
from tlkeras.errors import UserError
from tlkeras.methods.share.sharing import PrivatePart, SecondTask
from tlkeras.models import BACKBONES
from tlkeras.prepare import Parts
from tlkeras.training import objectives
from tlkeras.training.stage_batches import StageBatches
from tlkeras.training.stages import Steps


def trains_jointly(config: ExperimentConfig) -> bool:
    """Whether a run trains two tasks at once."""
    return config.tasks is not None and config.tasks.joint_run


def source_task(config: ExperimentConfig, check: bool = True) -> Domain:
    """Returns the data of the source task. Its pictures have the target's size, unless it has an adapter.

    Args:
        config: Config of the experiment.
        check: Whether files are checked, so that unreadable ones are refused or left out (`data.on_error`).
    """
    data, adapter = config.tasks.source.following(config.data, ALIKE_IN_TASKS), config.tasks.adapter
    if adapter is not None:
        size = BACKBONES.get(adapter.backbone).size or None
    else:
        size = config.data.image_size or BACKBONES.get(config.model.backbone).size or None
        data = data.model_copy(update={"image_size": data.image_size or config.data.image_size})
    domain = load_domain(
        data, seed=config.seed, default_image_size=size, name="source_task", kept_in=kept_in(config.cache)
    )
    if domain.splits["train"].weights is not None and trains_jointly(config):
        raise UserError(
            "share_gradients does not weight the rows of the source task one by one: leave the weights out. "
            f"Received: tasks.source.weights={data.weights}"
        )
    return check_files(domain)[0] if check else domain


def second_task(parts: Parts, stage: FitStageConfig) -> SecondTask:
    """Returns the term that trains the source task in addition to the task of the run."""
    config, domain = parts.config, source_task(parts.config)
    private = private_part(parts, domain)
    unfit = {"class_weights": None} | ({"label_smoothing": 0.0} if domain.task == "regression" else {})
    loss = objectives.loss_for(stage.model_copy(update=unfit), domain)
    alternating = config.tasks.batches == "alternating"
    return SecondTask(private, loss, config.tasks.weight, alternating, stage.bn == "inference")


def private_part(parts: Parts, domain: Domain) -> PrivatePart:
    """Returns the private part of the source task with its initial weights."""
    config = parts.config
    return PrivatePart(
        parts.model, config.model, config.tasks, domain.input_shape, domain.num_outputs, config.seed
    )


def joint_batches(parts: Parts, batches: StageBatches, stage: FitStageConfig, steps: Steps, first_step: int):
    """Returns batches of both tasks. The shorter data set is repeated.

    Args:
        parts: Parts of the run.
        batches: Batches of the target task.
        stage: Config of the stage.
        steps: Length of the stage.
        first_step: Number of the first step, from 0.
    """
    domain = filling_a_batch(source_task(parts.config), parts.batch_size)
    source = training_batches(
        domain.splits["train"], domain, batch_size=parts.batch_size,
        seed=parts.config.seed + random_streams.SECOND_TASK, augment=stage.augment.unmixed,
        start_step=first_step, steps=steps.total,
        part=(parts.runtime.worker_index, parts.runtime.workers),
    )  # fmt: skip
    source = objectives.with_label_form(source, stage, domain)
    return parts.runtime.distribute(side_by_side(batches.training(stage, steps, first_step), source))
