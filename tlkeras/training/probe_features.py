"""The frozen features that a probe stage is fitted on, and the map of them to a target's."""

from collections.abc import Sequence

import keras
import numpy as np

from tlkeras.config import MappingConfig
from tlkeras.data import Domain
from tlkeras.errors import UserError
from tlkeras.features.cache import FeatureCache, NotWorthwhile, Request
from tlkeras.methods.probe.feature_mapping import FeatureMapping, make_mapping
from tlkeras.models.cuts.graph import output_of
from tlkeras.prepare import Parts


def check_mapping(parts: Parts, config: MappingConfig, *, linear: bool) -> None:
    """Raises `UserError` where a mapping cannot serve a run.

    Args:
        parts: The run's parts.
        config: The mapping.
        linear: Whether the learner behind it is linear.
    """
    mapping = make_mapping(config)
    if not linear and not mapping.same_space:
        raise UserError(
            "A knn probe compares features as they are, and this mapping moves those of the target too. "
            f"Allowed: coral, linear_map. Received: probe.mapping.name={config.name}"
        )
    if mapping.pairs:
        _paired(parts)


def fitted_mapping(
    parts: Parts, config: MappingConfig | None, source: np.ndarray, target: np.ndarray | None
) -> FeatureMapping | None:
    """Returns the mapping from the source's to the target's features, fitted on training rows.

    Args:
        parts: The run's parts.
        config: None is no mapping.
        source: Features of the source's training rows `(n, d)`.
        target: Those of the target's `(m, d)`.
    """
    if config is None:
        return None
    if (mapping := make_mapping(config)).pairs:
        ours, theirs = _paired(parts)
        source, target = source[ours], target[theirs]
    return mapping.fit(source, target)


def probe_features(
    parts: Parts, splits: Sequence[tuple[Domain, str]], extractor: str | None
) -> tuple[list[np.ndarray], str]:
    """Returns the feature vectors of splits from the cache, each float64 `(n, d)`, and their extractor.

    Args:
        parts: The run's parts.
        splits: Domains and names of splits.
        extractor: The one that an earlier process of this run used; None is the config's.
    """
    plain = parts.model.to_functional()
    trunk = keras.Model(plain.inputs, output_of(plain, "features"), name="trunk")
    cache = FeatureCache(parts.config.cache, parts.runtime.strategy, parts.config.runtime.threads)
    facts = {"backbone": parts.config.model.backbone, "train": "probe"}
    requests = [Request(domain.splits[split], domain, split) for domain, split in splits]
    try:
        opened = cache.open(trunk, requests, extractor=extractor, title="probe", facts=facts)
    except NotWorthwhile as reason:
        raise UserError(f"A probe needs all features at once: {reason}.") from reason
    vectors = [np.asarray(found.take(np.arange(len(found))), np.float64) for found in opened.features]
    return vectors, opened.extractor


def _paired(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places of the training rows that have the same id in both domains."""
    source, target = (d.splits["train"].ids for d in (parts.source, parts.targets[0]))
    common, ours, theirs = np.intersect1d(
        source.astype(str), target.astype(str), assume_unique=True, return_indices=True
    )
    if len(common) < 2:
        raise UserError(
            "linear_map learns from rows that have the same id in source and target, such as files of one "
            f"name. Received: {len(common)} such rows in train"
        )
    return ours, theirs
