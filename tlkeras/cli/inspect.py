"""Looks at the data of a config: counts, sizes, unreadable files, duplicates across splits."""

import json

from absl import flags as absl_flags

from tlkeras.cli.common import config_from, define_config_flags, no_arguments
from tlkeras.cli.tables import print_table

USAGE = "tlkeras inspect --config=FILE|NAME [--set path=value ...] [--json]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    define_config_flags(flags)
    absl_flags.DEFINE_boolean("json", False, "Print JSON instead of tables.", flag_values=flags)


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    no_arguments(arguments)
    config = config_from(flags)
    from tlkeras.prepare import inspect_data

    inspections = inspect_data(config)
    if flags.json:
        print(json.dumps({name: seen.to_dict() for name, seen in inspections.items()}, indent=2))
        return
    for name, seen in inspections.items():
        _print(name, seen)


def _print(domain: str, seen) -> None:
    facts = seen.to_dict()
    splits = list(facts["class_counts"])
    classes = dict.fromkeys(label for counts in facts["class_counts"].values() for label in counts)
    rows = [
        {"class": label} | {split: facts["class_counts"][split].get(label, 0) for split in splits}
        for label in classes
    ]
    total = {"class": "all"} | {split: facts["rows"][split] for split in splits}
    print_table([*rows, total], title=f"{domain}: rows per class")
    for line in seen.lines():
        print(line)
