"""Files that a run writes for its report, so that the report needs neither the data nor the model.

They are `data_health.json`, `embedding_after.npz` and `gallery/` in `evaluation/`. The gallery of another
domain than the source is `DOMAIN/gallery/`.
"""

import dataclasses
from typing import Any

from tlkeras.data import Domain, inspect_domain
from tlkeras.evaluation import unlike_training
from tlkeras.evaluation.calibration import temperature_of
from tlkeras.evaluation.embedding import write_embedding
from tlkeras.evaluation.evaluate import Evaluated
from tlkeras.evaluation.gallery import write_gallery
from tlkeras.evaluation.nearest_training_rows import trained_on
from tlkeras.evaluation.predictions import shown_split
from tlkeras.evaluation.unlike_training import write_unlike_training
from tlkeras.run_dir import RunDir

_LISTED = 50  # files of each kind that data_health.json lists; it counts all


def write_evidence(run_dir: RunDir, model, domains: dict[str, Domain], evaluated: Evaluated, config) -> None:
    """Writes findings about the data, a gallery of rows with heat maps, and an embedding of the features.

    Args:
        run_dir: Run directory, in which `write_evaluation` has written the temperature.
        model: Plain functional model from raw inputs to logits.
        domains: Domains by name, without unreadable rows.
        evaluated: Predictions by domain and split.
        config: `ExperimentConfig` of the run.
    """
    health = {name: data_health(domain) for name, domain in domains.items()}
    run_dir.write_json(run_dir.evaluation / "data_health.json", health)
    known = {name: {s: p.features for s, p in splits.items()} for name, splits in evaluated.items()}
    training = trained_on(model, domains, evaluated, config)
    write_unlike_training(run_dir.evaluation / unlike_training.FILE, training.values(), evaluated)
    temperature = temperature_of(run_dir)
    for name, splits in evaluated.items():
        split = shown_split(splits)
        if split is not None and splits[split].labels is not None:  # best and worst need labels
            folder = run_dir.evaluation_of(name)
            shown = splits[split].at_temperature(temperature)  # the page has the probabilities of `predict`
            facts = (model, domains[name], split, shown, config.model.backbone, training["source"])
            write_gallery(folder / "gallery", *facts)
    after = run_dir.evaluation / "embedding_after.npz"
    if not after.is_file():  # an adaptation has written it already, together with the one before training
        write_embedding(after, model, domains, seed=config.seed, known=known)


def data_health(domain: Domain) -> dict[str, Any]:
    """Returns counts, image sizes, duplicates across splits, conflicting labels and unreadable files.

    Args:
        domain: Domain without its unreadable rows.
    """
    found = inspect_domain(domain, full=False)
    facts = dataclasses.asdict(found)
    facts["skipped"] = [list(pair) for pair in domain.skipped] + [list(bad[1:]) for bad in found.unreadable]
    del facts["unreadable"]
    for kind in ("duplicates", "conflicts", "skipped"):
        facts[f"{kind}_count"] = len(facts[kind])
        facts[kind] = facts[kind][:_LISTED]
    return facts
