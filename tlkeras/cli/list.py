"""Lists the names that a config can use: backbones, heads, experiments, sources, optimizers, methods, ..."""

import fnmatch

from absl import flags as absl_flags

from tlkeras import data, evaluation, methods, models, tracking, training
from tlkeras.backend import import_tensorflow
from tlkeras.cli.tables import print_table
from tlkeras.config import shipped_experiments
from tlkeras.errors import UserError, unknown

USAGE = "tlkeras list KIND [--filter='*b0*']"


_OF_KERAS = ("heads", "optimizers", "losses", "metrics", "methods", "validators", "regularizers")


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_string("filter", "*", "Shell-style wildcard for the names.", flag_values=flags)


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    if len(arguments) != 1:
        raise UserError(f"Say what to list: {', '.join(KINDS)}. Received: {' '.join(arguments) or 'nothing'}")
    (kind,) = arguments
    if kind not in KINDS:
        raise unknown("kind of list", kind, KINDS)
    if kind in _OF_KERAS:
        import_tensorflow()
    print_table(KINDS[kind](flags.filter))


def _backbones(pattern: str) -> list[dict]:
    return models.summary_rows(pattern)


def _heads(pattern: str) -> list[dict]:
    return [{"head": name, "what it is": head.summary} for name, head in models.HEADS.items(pattern)]


def _experiments(pattern: str) -> list[dict]:
    return [
        {"experiment": name, "what it is": _first_line(path)}
        for name, path in shipped_experiments().items()
        if fnmatch.fnmatch(name, pattern)
    ]


def _sources(pattern: str) -> list[dict]:
    return [{"source": s.form, "what it is": s.about} for _, s in data.SOURCES.items(pattern)]


def _optimizers(pattern: str) -> list[dict]:
    optimizers = training.optimizers
    return [
        {"optimizer": name, "options": optimizers.option_names(name)}
        for name in optimizers.OPTIMIZERS.names(pattern)
    ]


def _losses(pattern: str) -> list[dict]:
    return [
        {"loss": name, "tasks": ", ".join(row.classes), "what it is": row.summary}
        for name, row in training.losses.LOSSES.items(pattern)
    ]


def _metrics(pattern: str) -> list[dict]:
    return [
        {"metric": name, "tasks": ", ".join(row.tasks), "what it is": row.summary}
        for name, row in evaluation.named_metrics.METRICS.items(pattern)
    ]


def _methods(pattern: str) -> list[dict]:
    return [
        {"method": name, "what it is": _summary(method)}
        for name, method in methods.adapt.METHODS.items(pattern)
    ]


def _validators(pattern: str) -> list[dict]:
    return [
        {"validator": name, "what it is": _summary(v)}
        for name, v in methods.adapt.validators.VALIDATORS.items(pattern)
    ]


def _regularizers(pattern: str) -> list[dict]:
    return [
        {"regularizer": name, "what it is": _summary(r)}
        for name, r in methods.regularize.REGULARIZERS.items(pattern)
    ]


def _probes(pattern: str) -> list[dict]:
    return [
        {"probe": name, "what it is": _summary(p.build)}
        for name, p in methods.probe.probes.PROBES.items(pattern)
    ]


def _mappings(pattern: str) -> list[dict]:
    return [
        {"mapping": name, "what it is": _summary(m)}
        for name, m in methods.probe.feature_mapping.MAPPINGS.items(pattern)
    ]


def _trackers(pattern: str) -> list[dict]:
    return [
        {"tracker": name, "options": tracking.options_of(kind), "what it is": kind.summary}
        for name, kind in tracking.TRACKERS.items(pattern)
    ]


def _summary(thing) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]


def _first_line(path) -> str:
    return path.read_text(encoding="utf-8").partition('"""')[2].partition("\n")[0].removesuffix('"""')


KINDS = {
    "backbones": _backbones,
    "heads": _heads,
    "experiments": _experiments,
    "sources": _sources,
    "optimizers": _optimizers,
    "losses": _losses,
    "metrics": _metrics,
    "methods": _methods,
    "validators": _validators,
    "regularizers": _regularizers,
    "probes": _probes,
    "mappings": _mappings,
    "trackers": _trackers,
}
