"""Looks for wrong labels and near-duplicates in the data of a config, on features of its frozen backbone."""

import os
from collections.abc import Mapping
from pathlib import Path

from tlkeras.config import ExperimentConfig
from tlkeras.data.roles import Role
from tlkeras.errors import UserError
from tlkeras.evaluation.suspects import TABLE, Suspects, find_suspects, require_unedited, write_suspects
from tlkeras.prepare import prepare
from tlkeras.report.suspects_page import write_suspects_page
from tlkeras.run_dir import check_place
from tlkeras.settled_config import checked
from tlkeras.training.probe_stage import probe_features

_BATCH = 32  # nothing is trained, so a batch size that would be measured is not needed


def inspect_features(
    config: ExperimentConfig, folder: str | os.PathLike, arrays: Mapping[str, tuple] | None = None
) -> dict[str, Suspects]:
    """Writes `suspects.html` and `suspects.csv` about the rows of each domain of a config.

    The features are those of the config's backbone with its weights before training. They come from the
    cache that runs share. Wrong labels are searched among training rows of tasks with one class per row;
    near-duplicates and rows unlike all others are searched in all splits, with and without labels.

    Args:
        config: Config with the data, the backbone and its weights.
        folder: Folder of the files. Those of another domain than the source are in a folder of its name.
        arrays: Arrays in place of the source; see `run_experiment`.

    Returns:
        What was found in each domain.

    Raises:
        UserError: There is a mistake in the config, the data or the folder.
    """
    if config.data.pretext is not None:
        raise UserError(
            "inspect --features looks at rows as they are, and data.pretext changes them: leave it out. "
            f"Received: data.pretext.name={config.data.pretext.name}"
        )
    folder = Path(folder).expanduser()
    check_place(folder, TABLE, "table of suspicious rows")
    require_unedited(folder)
    parts = prepare(checked(config), arrays, _BATCH, alone=True)
    found = {}
    for name, domain in parts.domains.items():
        place = folder if Role.of(name) is Role.SOURCE else folder / name
        splits = [split for split, rows in domain.splits.items() if len(rows)]
        features, _ = probe_features(parts, [(domain, split) for split in splits], None)
        found[name] = find_suspects(domain, dict(zip(splits, features, strict=True)), config.seed)
        write_suspects(place, domain, found[name])
        write_suspects_page(place, config.name)
    return found
