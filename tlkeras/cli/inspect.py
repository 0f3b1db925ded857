"""Inspects the data of a config: counts, sizes, unreadable files, duplicates, and labels that look wrong."""

import json
from pathlib import Path

from absl import flags as absl_flags

from tlkeras import messages, studies
from tlkeras.backend import start
from tlkeras.cli.common import config_from, define_config_flags, no_arguments
from tlkeras.cli.tables import print_table
from tlkeras.errors import UserError

USAGE = "tlkeras inspect --config=FILE|NAME [--features [--workdir=DIR]] [--set path=value ...] [--json]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    define_config_flags(flags)
    absl_flags.DEFINE_boolean("json", False, "Print JSON instead of tables.", flag_values=flags)
    absl_flags.DEFINE_boolean(
        "features",
        False,
        "Also look for wrong labels, near-duplicates and unusual rows, on features of the frozen backbone.",
        flag_values=flags,
    )
    absl_flags.DEFINE_string("workdir", None, "Folder for --features. The default is runs/NAME.suspects.",
                             flag_values=flags)  # fmt: skip


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    no_arguments(flags, arguments)
    if flags.workdir is not None and not flags.features:
        raise UserError(f"--workdir is the output folder of --features. Received: --workdir={flags.workdir}")
    config = config_from(flags)
    if flags.features:
        start(config.runtime, config.seed)
    from tlkeras.prepare import inspect_data

    inspections = inspect_data(config)
    found = {name: seen.to_dict() for name, seen in inspections.items()}
    if not flags.json:
        for name, seen in inspections.items():
            _print(name, seen)
    if flags.features:
        workdir = Path(flags.workdir or f"runs/{config.name}.suspects")
        suspects = studies.suspects.inspect_features(config, workdir)
        found = {name: facts | {"suspects": suspects[name].summary()} for name, facts in found.items()}
        if not flags.json:
            _print_suspects(suspects, workdir)
    if flags.json:
        messages.result(json.dumps(found, indent=2))


def _print_suspects(found: dict, workdir: Path) -> None:
    for name, suspects in found.items():
        counts = suspects.summary()
        messages.result(
            f"{name}: {counts['labels']:,} labels are likely wrong, {counts['groups']:,} groups of "
            f"near-duplicates ({counts['groups_across_splits']:,} in several splits), "
            f"{counts['unusual']:,} rows unlike all others"
        )
        if suspects.without_labels:
            messages.result(f"{name}: no wrong labels were searched, because {suspects.without_labels}.")
    table = workdir / "suspects.csv"
    messages.result(
        f"Look at {workdir / 'suspects.html'}, edit the column leave_out of {table}, and train with "
        f"--set data.exclude={table}"
    )


def _print(domain: str, seen) -> None:
    splits = list(seen.rows)
    classes = dict.fromkeys(label for counts in seen.class_counts.values() for label in counts)
    rows = [
        {"class": label} | {split: seen.class_counts.get(split, {}).get(label, 0) for split in splits}
        for label in classes
    ]
    print_table([*rows, {"class": "all rows"} | seen.rows], title=f"{domain}: {seen.source}")
    for split, sizes in seen.image_sizes.items():
        shown = ", ".join(f"{name} {height} x {width}" for name, (height, width) in sizes.items())
        messages.result(f"{split}: image sizes (height x width) {shown}")
    for split, facts in seen.facts.items():
        messages.result(
            f"{split}: " + "; ".join(f"{name} {_in_words(value)}" for name, value in facts.items())
        )
    for split, name, reason in seen.unreadable:
        messages.result(f"unreadable in {split}: {name} ({reason})")
    for group in seen.duplicates:
        messages.result("same content in different splits: " + ", ".join(f"{s} {name}" for s, name in group))
    for group in seen.conflicts:
        messages.result(
            "same content with different labels: " + ", ".join(f"{name} as {c}" for _, name, c in group)
        )
    if not (seen.unreadable or seen.duplicates or seen.conflicts):
        messages.result("No unreadable rows, no duplicates across splits and no contradicting labels.")
    if seen.problem:
        messages.result(f"Training would refuse this: {seen.problem}")
    messages.result(f"fingerprint {seen.fingerprint}")


def _in_words(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(part)}" for name, part in value.items())
    return f"{value:.1%}" if isinstance(value, float) else str(value)
