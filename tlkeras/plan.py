"""The plan of an experiment: what each stage would train, found without training."""

from collections.abc import Mapping
from dataclasses import dataclass

from tlkeras.backend import start
from tlkeras.config import ExperimentConfig, FitStageConfig
from tlkeras.data.input_shapes import shape_in_words
from tlkeras.data.modalities import MODALITIES, several_name
from tlkeras.data.pretext import TURNS
from tlkeras.data.sources.arrays import with_arrays
from tlkeras.errors import UserError
from tlkeras.evaluation.power import what_can_be_seen
from tlkeras.evaluation.predictions import shown_split
from tlkeras.evaluation.verdict import FEW_LABELS
from tlkeras.features.stage_features import IN_EVERY_STEP, TOO_SHORT, nothing_to_keep, too_short
from tlkeras.methods.share.sharing import PrivatePart
from tlkeras.models import BACKBONES, build_model
from tlkeras.prepare import check_data, check_names, read_domains
from tlkeras.settled_config import checked
from tlkeras.training.optimizers import build_optimizer
from tlkeras.training.second_task import trains_jointly
from tlkeras.training.stages import count_steps, expand_stages, learning_rate_multipliers
from tlkeras.training.trunk_features import reason_against_features

ASSUMED_CLASSES = 10
UNKNOWN_STEPS = 1_000_000


@dataclass(frozen=True)
class Plan:
    """The stages as rows of a table, with the assumptions if the data cannot be read.

    Attributes:
        model: Description of the network in one line.
        rows: Rows of the table, one dict per stage.
        notes: Sentences about assumptions and further facts.
    """

    model: str
    rows: list[dict]
    notes: list[str]


def plan(config: ExperimentConfig, arrays: Mapping[str, tuple] | None = None) -> Plan:
    """Returns the plan of a config. Existing files are listed, and no picture is read.

    Args:
        config: Config of the experiment.
        arrays: Arrays that replace the data source; see `run_experiment`.

    Raises:
        UserError: The config contains an unknown name.
    """
    config = checked(with_arrays(config, arrays))
    start(config.runtime, config.seed, alone=True)
    check_names(config)

    source, notes = _source(config, arrays)
    shape, outputs, rows, test_rows, columns = source
    model = build_model(
        config.model.model_copy(update={"weights": None, "columns": columns}),
        input_shape=shape,
        num_outputs=outputs,
        seed=config.seed,
    )
    line = (
        f"{config.model.backbone} (weights: {config.model.weights or 'none'}), "
        f"input {shape_in_words(shape)}, {len(model.blocks)} blocks, {model.count_params():,} parameters, "
        f"{outputs} outputs"
    )
    notes += (
        _trunk_notes(config, model, rows) + _beside(config, model) + _verdict_notes(config, rows, test_rows)
    )
    return Plan(line, _stage_rows(config, model, rows), notes)


def _beside(config: ExperimentConfig, model) -> list[str]:
    """Returns notes on variables of a second task that train in addition to those of the stages."""
    if not trains_jointly(config):
        return []
    comes_in = {"data": config.tasks.source, "tasks": None}
    comes_in["model"] = config.model.model_copy(update={"adapter": config.tasks.adapter})
    (shape, outputs, *_), notes = _source(config.model_copy(update=comes_in))
    private = PrivatePart(model, config.model, config.tasks, shape, outputs, config.seed)
    weights = [v for part in private.parts for v in part.trainable_variables]
    count = sum(v.value.shape.num_elements() for v in weights)
    return [*notes, f"Also trained: {count:,} parameters of the source's private part, {outputs} outputs."]


def _source(config: ExperimentConfig, arrays: Mapping[str, tuple] | None = None) -> tuple[tuple, list[str]]:
    """Returns input shape, outputs, training rows, judged rows and columns, and the assumptions about them.

    The numbers of rows are None if the data cannot be read, and that of judged rows without labels, too.
    """
    try:
        domains = read_domains(config, arrays, check=False)
    except UserError as error:
        row = BACKBONES.get(config.model.first_network)
        sounds = config.data.seconds is not None
        shape = _assumed_shape(config, row, sounds)
        outputs = _assumed_outputs(config)
        note = f"The data cannot be read ({error}) {outputs} outputs are assumed"
        note += (
            f", and vectors of {shape[0]} features."
            if not isinstance(shape, dict) and len(shape) == 1 and not sounds
            else "."
        )
        return (shape, outputs, None, None, config.data.columns), [note]
    check_data(config, domains)
    domain, judged = domains["source"], domains.get("target", domains["source"])
    rows = judged.splits.get(shown_split(judged.splits))
    judged_rows = None if rows is None or rows.labels is None else len(rows)
    train_rows = len(domain.splits["train"])
    return (domain.input_shape, domain.num_outputs, train_rows, judged_rows, domain.config.columns), []


def _verdict_notes(config: ExperimentConfig, rows: int | None, test_rows: int | None) -> list[str]:
    """Returns a note on the gains that the verdict can see, if there will be one on the accuracy."""
    if not test_rows or not config.twins or config.data.task == "regression" or config.judged_by is not None:
        return []
    unstable = config.adaptation is not None or (rows is not None and rows < FEW_LABELS)
    return [what_can_be_seen(test_rows, config.judged_seeds, unstable=unstable)]


def _assumed_shape(config: ExperimentConfig, row, sounds: bool):
    if config.model.beside:
        return MODALITIES.get(several_name(config.parts)).assumed_shape(config.data, row.size or None)
    if sounds or config.data.columns:
        return MODALITIES.get("sound" if sounds else "columns").assumed_shape(config.data)
    return row.input_shape(config.data)


def _assumed_outputs(config: ExperimentConfig) -> int:
    pretext = config.data.pretext
    if pretext is None:
        return ASSUMED_CLASSES
    return pretext.dimensions if pretext.name == "simclr" else len(TURNS)


def _stage_rows(config: ExperimentConfig, model, rows: int | None) -> list[dict]:
    table = []
    for stage in expand_stages(config.stages, [block.name for block in model.blocks]):
        selection = model.select(stage.train, stage.bn)
        trainable = sum(v.value.shape.num_elements() for v in model.trainable_variables)
        row = {
            "stage": stage.name,
            "train": stage.train,
            "blocks": len(selection.blocks),
            "layers": len({v.path.rsplit("/", 1)[0] for v in model.trainable_variables}),
            "trainable": trainable,
            "frozen": model.count_params() - trainable,
            "bn": stage.bn,
        }
        if not isinstance(stage, FitStageConfig):
            how = {"steps": 0, "optimizer": f"{stage.probe.name} probe", "learning rate": "", "schedule": ""}
        else:
            how = _steps_of(config, stage, model, selection, rows)
        table.append(row | how)
    return table


def _steps_of(config: ExperimentConfig, stage: FitStageConfig, model, selection, rows: int | None) -> dict:
    """Returns the number of steps and the optimizer of a stage that trains by gradient."""
    factors = learning_rate_multipliers(stage, model, selection).values()
    rate, steps = stage.optimizer.learning_rate, stage.steps
    if rows is not None and config.data.batch_size != "auto":
        steps = count_steps(stage, rows, min(config.data.batch_size, rows)).total
    if rate != "auto":  # raises for unknown names and options
        build_optimizer(stage.optimizer, steps=steps or UNKNOWN_STEPS)
    return {
        "steps": steps if steps is not None else f"{stage.epochs} epochs",
        "optimizer": stage.optimizer.name,
        "learning rate": _rates(rate, factors),
        "schedule": stage.optimizer.schedule.name,
    }


def _trunk_notes(config: ExperimentConfig, model, rows: int | None) -> list[str]:
    """Returns notes on stages that compute a frozen trunk in every step, with the reasons."""
    notes = []
    for stage in expand_stages(config.stages, [block.name for block in model.blocks]):
        model.select(stage.train, stage.bn)
        if not isinstance(stage, FitStageConfig) or nothing_to_keep(config.cache, model):
            continue
        reason = reason_against_features(config, stage)
        if reason is None and rows is not None and config.data.batch_size != "auto" and not config.adapts:
            batch_size = min(config.data.batch_size, rows)
            steps = count_steps(stage, rows, batch_size).total
            if too_short(stage, config.data, steps, [rows], batch_size):
                reason = TOO_SHORT
        if reason is not None:
            notes.append(f"{stage.name}: {IN_EVERY_STEP}: {reason}.")
    return notes


def _rates(rate, factors) -> str:
    if rate == "auto" or not factors or min(factors) == max(factors):
        return rate if rate == "auto" else f"{rate * max(factors, default=1):.3g}"
    return f"{rate * min(factors):.2g} to {rate * max(factors):.2g}"
