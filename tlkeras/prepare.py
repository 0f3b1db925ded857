"""The preparation of a run: names are checked, data are read, the model is built. No workdir is touched.

Only `start` imports TensorFlow, because some settings are read during the import.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras import messages, methods, models
from tlkeras.backend import Runtime, start, watch_workers
from tlkeras.config import DataConfig, ExperimentConfig, FrontEndConfig, ModelConfig, OwnParts
from tlkeras.data import Domain, Inspection, check_files, inspect_domain, load_domain
from tlkeras.data.fact_store import kept_in
from tlkeras.data.modalities import MODALITIES, Columns, Modality
from tlkeras.data.roles import Role
from tlkeras.data.rows import note_on_weights
from tlkeras.data.sources import SOURCES
from tlkeras.data.sources.arrays import with_arrays
from tlkeras.data.tokenizer import Tokenizer, tokenizer_in
from tlkeras.errors import UserError
from tlkeras.models import BACKBONES
from tlkeras.models.facts_of_data import with_facts_of_data
from tlkeras.models.weights.hub import local_path
from tlkeras.run_dir import RunDir
from tlkeras.settled_config import checked
from tlkeras.tracking import Tracking, check_trackers


@dataclass
class Parts:
    """The parts of a run that a trainer needs.

    Attributes:
        config: Config of the run.
        runtime: Runtime of the run.
        domains: Domains by name: `source`, with adaptation also `target`, and `source_2`, `target_2`, ... if
            there are several.
        model: Transfer model, which was made in the scope of the runtime.
        batch_size: Number of rows per step over all replicas.
        repeats: Finished run of the same config whose extractors are used again, or None.
        own: What the caller passed from Python.
        tracking: Trackers that are told about the run.
    """

    config: ExperimentConfig
    runtime: Runtime
    domains: dict[str, Domain]
    model: Any
    batch_size: int
    repeats: RunDir | None = None
    own: OwnParts = field(default_factory=OwnParts)
    tracking: Tracking = field(default_factory=Tracking)

    @property
    def source(self) -> Domain:
        """First labelled domain."""
        return self.domains["source"]

    @property
    def sources(self) -> list[Domain]:
        """Domains that train with labels."""
        return [domain for domain in self.domains.values() if not domain.role.is_unlabelled_target]

    @property
    def targets(self) -> list[Domain]:
        """Unlabelled target domains."""
        return [domain for domain in self.domains.values() if domain.role.is_unlabelled_target]


def prepare(
    config: ExperimentConfig,
    arrays: Mapping[str, tuple] | None = None,
    batch_size: int | None = None,
    *,
    alone: bool = False,
) -> Parts:
    """Starts the runtime, reads the data and builds the model of a checked config.

    Args:
        config: Config of the run.
        arrays: Arrays that replace the data source; see `run_experiment`.
        batch_size: Batch size that an earlier process of the run found for `data.batch_size="auto"`, or None.
        alone: Whether the other workers are not waited for, because nothing is trained.

    Raises:
        UserError: The data, the weights or the devices do not fit the config.
    """
    runtime = start(config.runtime, config.seed, alone=alone)
    with watch_workers(runtime):
        return _prepared(config, runtime, arrays, batch_size)


def _prepared(config: ExperimentConfig, runtime: Runtime, arrays, batch_size: int | None) -> Parts:
    from tlkeras.backend.distributed_fit import synchronize_batch_norm
    from tlkeras.data import effective_batch_size

    check_names(config)
    domains = read_domains(config, arrays)
    check_data(config, domains)
    source = domains["source"]
    train = source.splits["train"]
    for note in (source.modality.note_on_rows(train, source.config), note_on_weights(train)):
        if note:
            messages.note(note)
    if config.data.batch_size != "auto":
        batch_size = effective_batch_size(train, config.data.batch_size, runtime.replicas)
    with runtime.scope():
        model = models.build_model(
            with_facts_of_data(config.model, source),
            input_shape=source.input_shape,
            num_outputs=source.num_outputs,
            seed=config.seed,
        )
    source.modality.check_model(model.backbone)
    synchronize_batch_norm(model, config.runtime.sync_batch_norm)
    if batch_size is None:
        batch_size = _found_batch_size(config, runtime, model, len(train))
    return Parts(config, runtime, domains, model, effective_batch_size(train, batch_size, runtime.replicas))


def _found_batch_size(config: ExperimentConfig, runtime: Runtime, model, rows: int) -> int:
    if runtime.workers > 1:
        raise UserError(
            "Each worker would measure its own batch size: set data.batch_size to a number. Received: "
            "data.batch_size=auto, strategy=multi_worker"
        )
    return models.batch_size.find_batch_size(
        model,
        list(config.stages),
        rows=rows,
        scope=runtime.scope,
        replicas=runtime.replicas,
        passed=_rows_passed(config),
    )


def _rows_passed(config: ExperimentConfig) -> int:
    """Returns how many rows a step passes through the network for each row of its batch, at most."""
    if config.tasks is not None and config.tasks.joint_run:
        return 2  # those of the other task
    if not any(map(config.adapts_in, config.stages)):
        return 1
    method = methods.adapt.make_method(config.adaptation.method, config.adaptation.options)
    return 1 + method.target_views


def check_names(config: ExperimentConfig) -> None:
    """Makes the remaining checks that need no data, after the runtime is started.

    Raises:
        UserError: A name is unknown, a tracker is not installed, or a setting would have no effect.
    """
    check_trackers(config.tracking)
    methods.adapt.checks.check_adaptation(config)


def check_data(config: ExperimentConfig, domains: Mapping[str, Domain]) -> None:
    """Checks that the domains fit each other, the backbone and the monitors.

    Raises:
        UserError: They do not fit.
    """
    methods.adapt.checks.check_domains(config, domains)
    row, modality = BACKBONES.get(config.model.first_network), domains["source"].modality
    taken = _modalities_of(config.model, modality)
    if config.model.adapter is None and modality.name not in taken:
        words = " or ".join(MODALITIES.get(name).plural for name in taken)
        raise UserError(
            f"{row.name} takes {words}, and the data are {modality.plural}{modality.backbones_advice}. "
            f"Received: data.source={config.data.source}, model.backbone={config.model.backbone}"
        )
    rate = BACKBONES.get(config.model.backbone).family.sample_rate
    if rate and rate != config.data.sample_rate:
        raise UserError(
            f"{config.model.backbone} takes {rate} samples per second: leave data.sample_rate out or set it "
            f"to {rate}; files are resampled. Received: data.sample_rate={config.data.sample_rate}"
        )
    for stage in config.stages:
        if stage.kind == "fit":
            domains["source"].modality.check_augment(stage.augment, f"stages.{stage.name}.augment")
    monitor = config.checkpoint.monitor or ""
    if "val" in domains["source"].splits:
        return
    if monitor.startswith("val_") and monitor != "val_selection":
        raise UserError(
            f"checkpoint.monitor={monitor} needs validation rows: set data.val_fraction=0.1, or leave the "
            f"monitor out. Received: data.val_fraction={config.data.val_fraction}"
        )
    for stage in config.stages:
        stopping = stage.early_stopping if stage.kind == "fit" else None
        watched = stopping and (stopping.monitor or f"val_{config.judged_by or 'loss'}")
        if watched and watched.startswith("val_") and watched != "val_selection":
            messages.warn(f"Stage {stage.name} never stops early, because there are no rows for {watched}.")


def _modalities_of(model: ModelConfig, given: Modality) -> tuple[str, ...]:
    """Returns the names of the modalities that the networks of a model take.

    Args:
        given: Modality of the data.

    Raises:
        UserError: The data have a part without a network, or a network has no part of the data.
    """
    if model.beside:
        without = [part for part in given.made_of if part not in model.beside]
        others = [part for part in model.beside if part not in given.made_of]
        if len(without) == 1 and not others:
            return (given.name,)
        wanted = ", ".join(f"model.beside.{part}" for part in given.made_of[1:]) or "no model.beside"
        raise UserError(
            f"Each part of a row after the first needs a backbone of its own: {given.plural} need {wanted}. "
            f"Received: {', '.join(f'model.beside.{part}' for part in model.beside)}"
        )
    if model.front_end is not None:
        return (FrontEndConfig.takes,)
    taken = BACKBONES.get(model.first_network).modalities
    return (*taken, Columns.name) if "vector" in taken else taken


def read_domains(
    config: ExperimentConfig,
    arrays: Mapping[str, tuple] | None = None,
    check: bool = True,
    *,
    lenient: bool = False,
) -> dict[str, Domain]:
    """Returns the source domain and, where there is adaptation, the target domain.

    Args:
        config: The experiment.
        arrays: Arrays in place of the source; see `run_experiment`.
        check: Whether unreadable files are refused or left out, as `data.on_error` says.
        lenient: Whether to return what can be looked at, though not trained on; see `load_domain`.
    """
    size = BACKBONES.get(config.model.first_network).size or None
    how = {"seed": config.seed, "lenient": lenient, "kept_in": kept_in(config.cache)}
    data = with_tokenizer(config.data, config.model)
    source = load_domain(data, default_image_size=size, arrays=arrays, **how)
    domains = {"source": source}
    data = data.model_copy(update={"columns": source.config.columns})  # those of the training rows
    for name, further in _further_domains(config).items():
        domains[name] = load_domain(
            further.following(data),
            default_image_size=source.image_size,
            name=name,
            by_hash=Role.of(name).is_unlabelled_target,
            class_names=source.class_names,
            **how,
        )
    if check:
        domains = {name: check_files(domain)[0] for name, domain in domains.items()}
    return _without_labelled_targets(domains)


def with_tokenizer(data: DataConfig, model: ModelConfig) -> DataConfig:
    """Returns the config of the data with the tokenizer next to the weights, if texts have no other one.

    Args:
        data: Config of the data.
        model: Config of the model that reads the texts.

    Raises:
        UserError: There is no tokenizer, or it is another one than that next to the weights.
    """
    kind = data.source.partition(":")[0]
    texts = data.text is not None or (kind in SOURCES and SOURCES.get(kind).holds_texts)
    if not texts and data.tokenizer is None:
        return data
    tower = model.beside.get("text")
    given = (tower or model).weights
    weights = None if given is None else local_path(given)
    place = weights if weights is None or weights.is_dir() else weights.parent
    found = None if place is None else tokenizer_in(place)
    if data.tokenizer is not None:
        if found is not None:
            _check_tokenizer(data.tokenizer, found)
        return data
    if found is None:
        raise UserError(
            "Texts need a tokenizer: set data.tokenizer to a tokenizer.json or vocab.txt, which is "
            f"usually next to the weights. Received: data.source={data.source}, data.text={data.text!r}, "
            f"model.{'beside.text.' if tower else ''}weights={given!r}"
        )
    return data.model_copy(update={"tokenizer": str(place)})


def _check_tokenizer(given: str, found: Path) -> None:
    """Raises `UserError` if a tokenizer is not the one beside the weights, whose ids the weights know."""
    if difference := Tokenizer.read(given).difference(Tokenizer.read(found)):
        raise UserError(
            f"data.tokenizer differs from {found.name} next to the weights: {difference}. Leave it out, "
            f"or name that file. Received: data.tokenizer={given}"
        )


def _further_domains(config: ExperimentConfig) -> dict[str, DataConfig]:
    """Returns the domains of an adaptation by name."""
    adaptation = config.adaptation
    if adaptation is None:
        return {}
    domains = _numbered(Role.FURTHER_SOURCE, adaptation.more_sources)
    domains[Role.TARGET] = adaptation.target
    domains |= _numbered(Role.FURTHER_TARGET, adaptation.more_targets)
    if adaptation.target_labelled is not None:
        domains[Role.TARGET_LABELLED] = adaptation.target_labelled
    return domains


def _numbered(role: Role, several: Sequence[DataConfig]) -> dict[str, DataConfig]:
    return {role.numbered(number): data for number, data in enumerate(several, start=2)}


def _without_labelled_targets(domains: dict[str, Domain]) -> dict[str, Domain]:
    """Removes the rows that train with labels from the targets, so that they are not evaluated."""
    if Role.TARGET_LABELLED not in domains:
        return domains
    # its other splits train nothing
    labelled = set(map(bytes, domains[Role.TARGET_LABELLED].splits["train"].digests))
    for name, domain in domains.items():
        if domain.role.is_unlabelled_target:
            kept = {
                split: rows.take(np.array([bytes(digest) not in labelled for digest in rows.digests], bool))
                for split, rows in domain.splits.items()
            }
            domains[name] = domain.with_splits(kept)
    return domains


def inspect_data(
    config: ExperimentConfig, arrays: Mapping[str, tuple] | None = None
) -> dict[str, Inspection]:
    """Returns what is found in each domain of an experiment, unreadable files included.

    Args:
        config: The experiment.
        arrays: Arrays in place of the source; see `run_experiment`.
    """
    domains = read_domains(checked(with_arrays(config, arrays)), arrays, check=False, lenient=True)
    return {name: inspect_domain(domain) for name, domain in domains.items()}
