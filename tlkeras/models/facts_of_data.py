"""What the config of a model takes from the data: columns, numbers of rows and names of classes."""

from typing import Any

from tlkeras.config import ModelConfig
from tlkeras.data import Domain
from tlkeras.errors import UserError


def with_facts_of_data(model: ModelConfig, source: Domain) -> ModelConfig:
    """Returns the model config with what its network and its head must know about the data.

    Args:
        model: Config of the model.
        source: Labelled domain on which it trains.

    Raises:
        UserError: The head needs the names of classes, and there are none.
    """
    facts: dict[str, Any] = {}
    if source.config.columns:
        model = model.model_copy(update={"columns": source.config.columns})
    if model.head.name == "neighbors":
        facts = {"rows": len(source.splits["train"])}
    elif model.head.name == "class_names":
        names = model.head.class_names or source.class_names
        if names is None or source.task == "regression":
            raise UserError(
                "The head 'class_names' needs names of classes: give model.head.class_names. "
                f"Received: data.task={source.task}, and data without names"
            )
        if source.class_names is not None and len(names) != len(source.class_names):
            raise UserError(
                f"model.head.class_names must name the {len(source.class_names)} classes of the data, in the "
                f"order {', '.join(source.class_names)}. Received: {', '.join(names)}"
            )
        weights = model.head.weights or model.weights
        if weights in (None, "imagenet"):
            raise UserError(
                "The head 'class_names' needs a checkpoint of CLIP or SigLIP with both towers: set "
                f"model.weights or model.head.weights. Received: model.weights={weights!r}"
            )
        facts = {"class_names": tuple(names), "weights": weights}
    return model.model_copy(update={"head": model.head.model_copy(update=facts)}) if facts else model
