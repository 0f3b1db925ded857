"""The gap between the domains in the features of a model: distances, and a plot of the features."""

import numpy as np

from tlkeras.data import Domain, Rows
from tlkeras.data.roles import Role
from tlkeras.evaluation.domain_distances import a_distance, mean_distance, mmd_distance
from tlkeras.evaluation.embedding import features_of, write_embedding
from tlkeras.evaluation.predictions import shown_split
from tlkeras.run_dir import RunDir

ROWS = 1000  # rows of each domain, which are enough for a linear probe


def describe_domains(run_dir: RunDir, when: str, model, domains: dict[str, Domain]) -> dict[str, float]:
    """Writes `evaluation/embedding_WHEN.npz` and returns the distances of source and target features.

    The distances are `a_distance`, `mean_distance` and `mmd` of `tlkeras.evaluation.domain_distances`. They
    use no labels.

    Args:
        run_dir: Run directory.
        when: Time of the measurement: `before` or `after` the training.
        model: Model from raw inputs to logits with a layer `features`.
        domains: Domains by name.
    """
    pair: dict[str, Domain] = {name: domains[name] for name in (Role.SOURCE, Role.TARGET)}
    whole = {}  # features of the splits that are small enough to be computed once for both purposes
    for name, domain in pair.items():
        split = _held_out(domain)
        if len(domain.splits[split]) <= ROWS:
            whole[name] = {split: features_of(model, domain.splits[split], domain)}
    write_embedding(run_dir.evaluation / f"embedding_{when}.npz", model, pair, known=whole)
    source, target = (
        whole[name][_held_out(domain)] if name in whole else features_of(model, _some(domain), domain)
        for name, domain in pair.items()
    )
    return {
        "a_distance": a_distance(source, target),
        "mean_distance": mean_distance(source, target),
        "mmd": mmd_distance(source, target),
    }


def class_shares(evaluated) -> dict[str, dict[str, float]]:
    """Returns the share of each class in the predictions on the target and in the labels of the source.

    Args:
        evaluated: Predictions by domain and split that `predict_domains` returned. Those of the target need
            no labels.
    """
    target = evaluated["target"]
    source, target = evaluated["source"]["train"], target[shown_split(target)]
    if source.task != "multiclass":
        return {}
    return {
        "source_labels": shares_of(source.labels, source.class_names),
        "target_predictions": shares_of(target.predicted, source.class_names),
    }


def shares_of(classes: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    """Returns the share of each class, by name.

    Args:
        classes: Class numbers `(n,)`.
        names: Names of the classes, in the order of their numbers.
    """
    counts = np.bincount(classes, minlength=len(names))
    return {name: float(count / len(classes)) for name, count in zip(names, counts, strict=True)}


def _held_out(domain: Domain) -> str:
    """Returns the split whose rows the model was least fitted to."""
    return next(split for split in ("test", "val", "train") if domain.splits.get(split))


def _some(domain: Domain) -> Rows:
    """Returns up to `ROWS` rows that the model was not fitted to, evenly taken."""
    rows = domain.splits[_held_out(domain)]
    return rows.take(np.linspace(0, len(rows) - 1, min(len(rows), ROWS)).astype(int))
