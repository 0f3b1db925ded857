"""The flags that several commands share, and the config that they describe."""

from absl import flags as absl_flags

from tlkeras.cli.hints import word_hint
from tlkeras.config import ExperimentConfig, load_config
from tlkeras.errors import UserError


def define_config_flags(flags: absl_flags.FlagValues) -> None:
    """Defines `--config`, `--set` and `--strategy`."""
    absl_flags.DEFINE_string(
        "config", None, "Path of a .py or .json file, or the name of a shipped experiment.", flag_values=flags
    )
    absl_flags.DEFINE_multi_string(
        "set",
        [],
        "Change of the config as path=value, e.g. stages.1.epochs=7. May be repeated.",
        flag_values=flags,
    )
    absl_flags.DEFINE_string(
        "strategy", None, "Strategy: auto, none, mirrored, multi_worker or tpu. Sets runtime.strategy.",
        flag_values=flags,
    )  # fmt: skip


def define_worker_flags(flags: absl_flags.FlagValues) -> None:
    """Defines `--workers` and `--worker_index`."""
    absl_flags.DEFINE_list(
        "workers",
        None,
        "Addresses host:port of all workers, the chief first. The same list on all machines.",
        flag_values=flags,
    )
    absl_flags.DEFINE_integer(
        "worker_index", None, "Index of this process in --workers, from 0.", flag_values=flags
    )


def config_from(flags: absl_flags.FlagValues) -> ExperimentConfig:
    """Returns the config of the flags, with their overrides applied."""
    if not flags.config:
        raise UserError(
            "--config is missing: give a .py or .json file, or a name from 'tlkeras list experiments'."
        )
    overrides = list(flags.set)
    if flags.strategy is not None:
        overrides.append(f"runtime.strategy={flags.strategy}")
    return load_config(flags.config, overrides)


def no_arguments(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Raises `UserError` if there are arguments that belong to no flag."""
    if arguments:
        hint = word_hint(arguments[0], flags)
        raise UserError(f"This command takes flags only.{hint} Received: {' '.join(arguments)}")


def one_run(arguments: list[str]) -> str:
    """Returns the only argument, which is a run directory. Raises `UserError` if there is not exactly one."""
    if len(arguments) != 1:
        raise UserError(f"Name one run directory. Received: {' '.join(arguments) or 'nothing'}")
    return arguments[0]
