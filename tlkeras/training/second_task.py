"""What a run on two tasks at once adds: the term of the second task, and batches of both."""

from tlkeras.config import ExperimentConfig, FitStageConfig
from tlkeras.config.data import ALIKE_IN_TASKS
from tlkeras.data import Domain, check_files, load_domain, training_batches
from tlkeras.data.combined_batches import side_by_side
from tlkeras.data.pipeline import filling_a_batch
from tlkeras.methods.share.sharing import PrivatePart, SecondTask
from tlkeras.models import BACKBONES
from tlkeras.prepare import Parts
from tlkeras.training import objectives
from tlkeras.training.stage_batches import Feed
from tlkeras.training.stages import Steps

# Added to the run's seed, so that the source's order is not the target's.
SOURCE_SEED = 15_485_863


def trains_jointly(config: ExperimentConfig) -> bool:
    """Whether a run trains two tasks at once."""
    return config.tasks is not None and config.tasks.joint_run


def source_task(config: ExperimentConfig, check: bool = True) -> Domain:
    """Returns the data of the source task, pictures at the target's size or, before an adapter, their own.

    Args:
        config: The experiment.
        check: Whether unreadable files are refused or left out, as `data.on_error` says.
    """
    data, adapter = config.tasks.source.following(config.data, ALIKE_IN_TASKS), config.tasks.adapter
    if adapter is not None:
        size = BACKBONES.get(adapter.backbone).size or None
    else:
        size = config.data.image_size or BACKBONES.get(config.model.backbone).size or None
        data = data.model_copy(update={"image_size": data.image_size or config.data.image_size})
    domain = load_domain(data, seed=config.seed, default_image_size=size, name="source_task")
    return check_files(domain)[0] if check else domain


def second_task(parts: Parts, stage: FitStageConfig) -> SecondTask:
    """Returns the term that trains the source task beside the run's own."""
    config, domain = parts.config, source_task(parts.config)
    private = private_part(parts, domain)
    loss = objectives.loss_for(stage.model_copy(update={"class_weights": None}), domain)
    alternating = config.tasks.batches == "alternating"
    return SecondTask(private, loss, config.tasks.weight, alternating, stage.bn == "inference")


def private_part(parts: Parts, domain: Domain) -> PrivatePart:
    """Returns the source's private part with its initial weights."""
    config = parts.config
    return PrivatePart(
        parts.model, config.model, config.tasks, domain.input_shape, domain.num_outputs, config.seed
    )


def joint_batches(parts: Parts, feed: Feed, stage: FitStageConfig, steps: Steps, first_step: int):
    """Returns batches of both tasks from `first_step` on; the shorter task begins anew on its own."""
    domain = filling_a_batch(source_task(parts.config), parts.batch_size)
    source = training_batches(
        domain.splits["train"], domain, batch_size=parts.batch_size, seed=parts.config.seed + SOURCE_SEED,
        augment=stage.augment.unmixed, start_step=first_step, steps=steps.total,
    )  # fmt: skip
    source = objectives.with_label_form(source, stage, domain)
    return parts.runtime.distribute(side_by_side(feed.training(stage, steps, first_step), source))
