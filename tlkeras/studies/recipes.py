"""The recipes of `fine_tune`: which config trains which kind of data."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tlkeras import messages
from tlkeras.config import ExperimentConfig, load_config
from tlkeras.errors import UserError
from tlkeras.lazy import LateModule
from tlkeras.models.backbones import BACKBONES

plain_keras = LateModule("tlkeras.models.plain_keras")

_DENSE = {"backbone": "mlp", "weights": None}
_UNITS = {"units": [64]}


def parts_of_data(data: Mapping[str, Any]) -> list[str]:
    """Returns the parts of rows whose inputs have names, in the order of their networks.

    Args:
        data: Settings of `data` that are known, such as `picture`, `text` and `columns`.
    """
    files = "sound" if data.get("seconds") else "image"
    names = {"picture": files, "text": "text", "columns": "columns"}
    return [part for name, part in names.items() if data.get(name)]


def recipe_of(arrays: Mapping[str, tuple] | None, data: Mapping[str, Any]) -> str | dict[str, Any]:
    """Returns the name or the tree of the config that trains data of one kind.

    Args:
        arrays: Arrays by split, or None for a data source.
        data: Settings of `data` that are known, such as `text` and `columns`.
    """
    parts = parts_of_data(data)
    if len(parts) > 1:
        return _of_parts(parts)
    if data.get("seconds"):
        return "sound_folder"
    if data.get("text"):
        return "text_folder"
    if data.get("columns"):
        return _dense_layers()
    x = None if arrays is None else np.asarray(next(iter(arrays.values()))[0])
    return _dense_layers() if x is not None and x.ndim == 2 else "image_folder"


def all_of_small_networks(config: ExperimentConfig, network: Any, given: Collection[str]) -> list[str]:
    """Returns the changes of a recipe for a network that has fewer blocks than a stage opens: all train.

    Args:
        config: The recipe.
        network: Registered name of the backbone, a functional Keras model, or None for that of the recipe.
        given: Paths of the config that the caller sets, which stay as they are.
    """
    depth, changes = _number_of_blocks(network), []
    for index, stage in enumerate(config.stages):
        path, train = f"stages.{index}.train", stage.train if stage.kind == "fit" else ""
        opened = re.fullmatch(r"last:(\d+)", train)
        if opened is None or not 0 < depth < int(opened[1]) or path in given or "stages" in given:
            continue
        messages.note(
            f"Stage {stage.name} trains all blocks of the network, which has {depth}. The recipe opens "
            f"{train} of larger ones. To open others, set {path.replace('.', '__')}, such as 'last:1'."
        )
        changes.append(f"{path}=all")
    return changes


def _number_of_blocks(network: Any) -> int:
    """Returns the number of blocks of a registered backbone or of a Keras model; 0 if it is not known."""
    if network is None:
        return 0
    if isinstance(network, str):
        return BACKBONES.get(network).depth if network in BACKBONES else 0
    try:
        return len(plain_keras.find_blocks(network))
    except UserError:  # the run says why it cannot be a backbone
        return 0


def _dense_layers() -> dict[str, Any]:
    return {
        "data": {"source": "arrays", "batch_size": 32},
        "model": _DENSE,
        "stages": [{"name": "all", "train": "all", "epochs": 30}],
    }


def _of_parts(parts: Sequence[str]) -> dict[str, Any]:
    """Returns the config of `csv_with_pictures_and_text` for rows of these parts."""
    tree = load_config("csv_with_pictures_and_text").model_dump(mode="json")
    model, (head, finetune), text = tree["model"], tree["stages"], tree["model"]["beside"]["text"]
    opened = {"image": "last:2", "sound": "last:2", "text": "last:2"}
    beside = {"text": text, "columns": _DENSE | {"backbone_options": _UNITS}}
    if parts[0] == "text":
        model |= {"backbone": text["backbone"], "weights": text["weights"], "fallback": None}
    model["beside"] = {part: beside[part] for part in parts[1:]}
    train = ",".join(f"{part}={opened[part]}" for part in parts if part in opened)
    return {
        "data": {"source": "arrays", "image_size": tree["data"]["image_size"] if "image" in parts else None},
        "model": model,
        "stages": [head, finetune | {"train": train}],
    }
