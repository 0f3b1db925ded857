"""Two tasks that share a network: trains a source task and the target task, and evaluates both."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from tlkeras import messages
from tlkeras.config import AdapterConfig, ExperimentConfig, StageConfig
from tlkeras.config.checks import LAST_STEP
from tlkeras.config.data import ALIKE_IN_TASKS
from tlkeras.data.input_shapes import Shape
from tlkeras.errors import RunError, UserError
from tlkeras.evaluation.evaluate import predict_domains, write_evaluation
from tlkeras.evaluation.intervals import headline
from tlkeras.evaluation.metrics import compute_metrics
from tlkeras.evaluation.view_pairs import pair_metrics
from tlkeras.methods.share.sharing import source_model
from tlkeras.methods.training_model import TrainingModel
from tlkeras.models import build_model
from tlkeras.models.adapter import adapter_layers
from tlkeras.prepare import prepare, read_domains
from tlkeras.run_dir import RunDir
from tlkeras.runs.model_file import load_model
from tlkeras.runs.saved_run import SavedRun
from tlkeras.settled_config import checked
from tlkeras.studies.two_task_checks import check_tasks
from tlkeras.training import snapshots
from tlkeras.training.second_task import second_task, source_task


def run_tasks(
    config: ExperimentConfig,
    workdir: str | os.PathLike,
    train: Callable[[ExperimentConfig, Path], Any],
    *,
    fresh: bool = False,
) -> "SavedRun":
    """Trains both tasks, or continues an interrupted run, and evaluates both tasks before and after.

    Args:
        config: Config of the target's experiment, with `tasks`.
        workdir: Run directory.
        train: Function that trains a config in a directory and returns the finished run, such as
            `run_experiment`.
        fresh: Whether to start over. The old run is kept under another name.

    Returns:
        The run of both tasks. Its `runs` are the runs of the tasks, and its metrics are those after all
        training.

    Raises:
        UserError: The config does not fit the strategy, or the workdir holds a different run.
    """
    config_of_user, config = config, with_fitting_inputs(checked(config))
    source, target = task_configs(config, RunDir(workdir).path)
    run_dir = RunDir(workdir)
    if run_dir.start(config_of_user.model_dump(mode="json"), fresh=fresh) == "finished":
        run_dir.say_finished()
    try:
        if source is not None:
            train(source, run_dir.path / "source")
        train(target, run_dir.path / "target")
        if not run_dir.is_finished:
            _evaluate(run_dir, source, target)
            run_dir.mark_finished()
    finally:
        run_dir.lock.release()
    finished = SavedRun(run_dir)
    messages.note(_summary(finished.before_and_after))
    return finished


def planned_runs(config: ExperimentConfig, path: Path) -> dict[str, ExperimentConfig]:
    """Returns the configs of the runs of an experiment, by name. A single run has an empty name.

    Args:
        config: Config of the experiment. If its data are not available, its inputs are assumed to fit.
        path: Run directory of the experiment.

    Raises:
        UserError: `run_tasks` would raise this error.
    """
    check_tasks(config)
    if not config.is_two_runs:
        return {"": config}
    try:
        shapes = _input_shapes(config)
    except UserError:
        source, target = task_configs(config, path)
    else:
        source, target = task_configs(_fitting(config, shapes), path)
    return {"source and target": target} if source is None else {"source": source, "target": target}


def with_fitting_inputs(config: ExperimentConfig) -> ExperimentConfig:
    """Returns the config, with an adapter added if the source's vectors have another width than the target's.

    Raises:
        UserError: The inputs of the two tasks do not fit one common part.
    """
    return _fitting(config, _input_shapes(config))


def _input_shapes(config: ExperimentConfig) -> tuple[Shape, Shape]:
    """Returns the input shapes of the target and of the source."""
    target = config.model_copy(update={"adaptation": None})
    return read_domains(target, check=False)["source"].input_shape, source_task(
        config, check=False
    ).input_shape


def _fitting(config: ExperimentConfig, shapes: tuple) -> ExperimentConfig:
    adapters = config.model.adapter, config.tasks.adapter
    wanted, own = (s if a is None else a.units[-1:] for s, a in zip(shapes, adapters, strict=True))
    if own == wanted:
        return config
    if config.tasks.adapter is None and len(own) == len(wanted) == 1:
        adapter = AdapterConfig(units=wanted, activation="linear")
        return config.model_copy(update={"tasks": config.tasks.model_copy(update={"adapter": adapter})})
    raise UserError(
        f"The common part gets {wanted} from the target but {own} from the source. Give both tasks "
        "pictures of the same size (data.image_size), or adapters that end in the same width "
        f"(model.adapter.units, tasks.adapter.units). Received: inputs of {shapes[0]} and {shapes[1]}"
    )


def task_configs(config: ExperimentConfig, path: Path) -> tuple[ExperimentConfig | None, ExperimentConfig]:
    """Returns the configs of the source task and of the target task.

    The source's config is None if the source has no run of its own.

    Args:
        config: Config of the experiment, with `tasks`.
        path: Run directory of the experiment.
    """
    tasks, only_head = config.tasks, {"train": "head", "gradual": False}
    source_stages, target_stages, weights = tasks.stages, config.stages, str(path / "source")
    if tasks.strategy == "share_gradients":
        update: dict[str, Any] = {"tasks": tasks.model_copy(update={"joint_run": True})}
        update["cache"] = config.cache.model_copy(update={"enabled": False})
        # both private parts must come from the same step, the last one
        update["checkpoint"] = config.checkpoint.model_copy(update={"monitor": LAST_STEP})
        return None, config.model_copy(update=update | {"name": _named(config, "target")})
    if tasks.strategy == "fix_common":
        target_stages = tuple(_changed(stage, only_head) for stage in target_stages)
    elif all(s.train == "head" for s in target_stages):
        raise UserError(
            f"{tasks.strategy} trains the common part with the target: train blocks in a stage "
            "(train='all'), or choose fix_common. Received: train='head' in every stage"
        )
    if tasks.strategy == "private_first":
        # statistics of the common part stay fixed, but an adapter belongs to the source
        bn = {} if tasks.adapter else {"bn": "frozen"}
        source_stages = tuple(_changed(stage, only_head | bn) for stage in source_stages)
        weights = config.model.weights
    data = tasks.source.following(config.data, ALIKE_IN_TASKS)
    size = data.image_size or (None if tasks.adapter else config.data.image_size)
    private = {"head": tasks.head, "neck": tasks.neck or config.model.neck, "adapter": tasks.adapter}
    source = config.model_copy(
        update={
            "name": _named(config, "source"), "data": data.model_copy(update={"image_size": size}),
            "model": config.model.model_copy(update=private), "stages": source_stages,
            "tasks": None, "adaptation": None, "verdict": type(config.verdict)(), "judged_by": None,
        }
    )  # fmt: skip
    target = config.model_copy(
        update={
            "name": _named(config, "target"), "stages": target_stages, "tasks": None,
            "model": config.model.model_copy(update={"weights": weights, "fallback": None}),
        }
    )  # fmt: skip
    return source, target


def _evaluate(run_dir: RunDir, source: ExperimentConfig | None, target: ExperimentConfig) -> None:
    """Writes the metrics of both tasks before and after the training of the target."""
    parts = prepare(target)
    if source is None:
        before, after, domain = _joint_models(run_dir, parts)
    else:
        before, after, domain = _separate_models(run_dir, parts, source)
    own = load_model(RunDir(run_dir.path / "target").best_model)
    domains = {"source": domain, "target": parts.source}
    evaluated = {
        when: predict_domains(model, {"source": domain}, parts.batch_size)
        | predict_domains(target_model, {"target": parts.source}, parts.batch_size)
        for when, model, target_model in (
            ("before", before, parts.model.to_functional()),
            ("after", after, own),
        )
    }
    pairs = {
        when: pair_metrics(model, {"source": domain}, source or target, parts.batch_size)
        for when, model in (("before", before), ("after", after))
    }
    found: dict[str, Any] = {"strategy": target.tasks.strategy if source is None else _strategy(run_dir)}
    for name in domains:
        found[name] = {
            when: {split: compute_metrics(p) for split, p in evaluated[when][name].items()}
            | pairs[when].get(name, {})
            for when in ("before", "after")
        }
    run_dir.write_json("evaluation/tasks.json", found)
    write_evaluation(run_dir, evaluated["after"], measured=pairs["after"])


def _separate_models(run_dir: RunDir, parts, source: ExperimentConfig):
    """Returns the source's model before and after the target's training, and the source's data.

    `parts.model` is the target's model with its initial weights.
    """
    domain = read_domains(source)["source"]
    before = load_model(RunDir(run_dir.path / "source").best_model)
    model = source.model.model_copy(update={"weights": str(run_dir.path / "target"), "fallback": None})
    after = build_model(
        model, input_shape=domain.input_shape, num_outputs=domain.num_outputs, seed=source.seed
    )
    private = {layer.name: layer for layer in before.layers if layer.weights}
    for layer in (*adapter_layers(after.backbone), *after.neck.layers, *after.head.layers):
        if layer.weights:
            layer.set_weights(private[layer.name].get_weights())
    return before, after.to_functional(), domain


def _joint_models(run_dir: RunDir, parts):
    """Returns the source's model before and after the joint training, and the source's data."""
    domain, stage = source_task(parts.config), parts.config.stages[0]
    parts.model.select(stage.train, stage.bn)
    second = second_task(parts, stage)
    joint = TrainingModel(parts.model, (second,))
    plain = source_model(parts.model, second.private)
    before = keras.models.clone_model(plain)
    before.set_weights(plain.get_weights())
    trained = joint_after(RunDir(run_dir.path / "target"), parts, joint, snapshots)
    return before, trained, domain


def joint_after(run_dir: RunDir, parts, joint, snapshots):
    """Returns the source's model after the joint training. `parts.model` keeps its initial weights."""
    named = snapshots.named_variables(joint)
    kept = snapshots.capture(named)
    saved = run_dir.checkpoints(0, parts.config.stages[0].name, parts.config.checkpoint.keep).load()
    if saved is None:
        raise RunError(f"The last state of the joint training is missing or damaged in {run_dir.path}.")
    snapshots.restore(named, saved[0], "model/")
    plain = source_model(parts.model, joint.terms[0].private)
    after = keras.models.clone_model(plain)
    after.set_weights(plain.get_weights())
    snapshots.restore(named, kept)
    return after


def _strategy(run_dir: RunDir) -> str:
    return json.loads(run_dir.config.read_text("utf-8"))["tasks"]["strategy"]


def _summary(found: dict[str, Any]) -> str:
    lines = [f"\nTasks, {found['strategy']}:"]
    for task in ("source", "target"):
        for split, after in found[task]["after"].items():
            name = headline(after)
            before = found[task]["before"][split][name]
            lines.append(f"  {task} {split}: {name} {before:.3f} before, {after[name]:.3f} after")
    return "\n".join(lines)


def _named(config: ExperimentConfig, suffix: str) -> str:
    return f"{config.name[:50]}.{suffix}"


def _changed(stage: StageConfig, update: dict[str, Any]) -> StageConfig:
    """Returns a stage by gradient with other settings; a probe, which trains the head alone, as it is."""
    return stage.model_copy(update=update) if stage.kind == "fit" else stage
