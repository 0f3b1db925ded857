"""Metrics of a pretext task of pairs, which need no labels: how well a model matches two views."""

import numpy as np

from tlkeras.config import ExperimentConfig
from tlkeras.data import Domain, view_pair_batches
from tlkeras.methods.pretext.contrastive import NTXent, pair_found


def pair_metrics(
    model, domains: dict[str, Domain], config: ExperimentConfig, batch_size: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Returns `{domain: {split: {"rows", "loss", "accuracy", "batch_size"}}}` of domains that draw pairs.

    `accuracy` is the share of views for which the most similar view in the batch shows the same picture.
    Views are augmented as in the last stage of the config. All rows of a batch are compared on one device, so
    that the metrics depend on the batch size and not on the number of replicas.

    Args:
        model: Model from raw inputs to projections.
        domains: Domains by name. Those that draw no pairs are left out.
        config: Config of the run that trained the model.
        batch_size: Number of pictures per batch.
    """
    return {
        name: {
            split: _measured(model, domain, split, config, batch_size)
            for split, rows in domain.splits.items()
            if len(rows) > 1
        }
        for name, domain in domains.items()
        if domain.draws_pairs
    }


def _measured(model, domain: Domain, split: str, config: ExperimentConfig, batch_size: int) -> dict:
    rows = domain.splits[split]
    size = min(batch_size, len(rows))
    augment = config.stages[-1].augment
    batches = view_pair_batches(rows, domain, batch_size=size, seed=config.seed, augment=augment)
    loss = NTXent(domain.config.pretext.temperature)
    losses, found = [], []
    for x, numbers, weight in batches:
        projections, real = model(x, training=False), np.asarray(weight) > 0
        losses.append(np.asarray(loss.call(numbers, projections))[real])
        found.append(np.asarray(pair_found(numbers, projections))[real])
    return {
        "rows": len(rows),
        "loss": float(np.concatenate(losses).mean()),
        "accuracy": float(np.concatenate(found).mean()),
        "batch_size": size,
    }
