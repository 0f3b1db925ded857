"""The importance weights of a stage: one factor of the class loss for each training row of each source."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras import messages
from tlkeras.backend import arrays_from_chief
from tlkeras.config import FitStageConfig
from tlkeras.data import Domain, evaluation_batches
from tlkeras.data.modalities import Vector
from tlkeras.methods.adapt import METHODS
from tlkeras.methods.adapt.base import Method
from tlkeras.methods.adapt.configured import configured_term
from tlkeras.methods.adapt.reweighting import Reweighting
from tlkeras.models.cuts.graph import input_of, inputs_of, output_of
from tlkeras.prepare import Parts
from tlkeras.run_dir import RunDir
from tlkeras.training.probe_stage import stored_vectors

FILE = "row_weights.npz"
_FEW = 0.05  # share of the rows that the weights are worth, below which a warning says so


def row_weights(
    parts: Parts, stage: FitStageConfig, sources: list[Domain], run_dir: RunDir, folder: Path, title: str
) -> dict[str, np.ndarray]:
    """Returns the weights of the training rows by source, float32 `(n,)`. It is empty without reweighting.

    They are computed from the model at the beginning of the stage and written to `row_weights.npz` of the
    stage. A process that resumes the stage reads them from there.

    Args:
        parts: Parts of the run. Its model has the state at the beginning of the stage.
        stage: Config of the stage.
        sources: Labelled domains whose rows train.
        run_dir: Run directory.
        folder: Folder of the stage.
        title: Text before messages.
    """
    adaptation = parts.config.adaptation
    if not (parts.config.adapts_in(stage) and issubclass(METHODS.get(adaptation.method), Reweighting)):
        return {}
    file = folder / FILE
    if not file.is_file():
        found = _computed(parts, configured_term(adaptation), sources)
        with run_dir.replacing(file) as temporary:
            np.savez(temporary, **found)
        for name, weights in found.items():
            _tell(title, adaptation.method, name, weights)
    with np.load(file) as stored:
        return dict(stored)


def _computed(parts: Parts, method: Method, sources: list[Domain]) -> dict[str, Any]:
    assert isinstance(method, Reweighting)
    target, *features = _features(parts, [parts.targets[0], *sources])
    found = [method.weights(own, target, parts.config.seed) for own in features]
    found = arrays_from_chief(parts.runtime, found)
    return dict(zip((domain.name for domain in sources), found, strict=True))


def _tell(title: str, method: str, name: str, weights: np.ndarray) -> None:
    """Says how many equally weighted rows the weights are worth (Kish 1965)."""
    worth = effective_rows(weights)
    said = f"{title}: {method} weights the {len(weights)} rows of {name}, which are worth {worth:.0f} rows"
    if worth < _FEW * len(weights):
        messages.warn(
            f"{said}. The class loss depends on few rows: make the weights flatter with a smaller "
            "adaptation.weight, such as 0.3."
        )
    else:
        messages.note(f"{said} of equal weight.")


def effective_rows(weights: np.ndarray) -> float:
    """Returns the effective sample size `sum(w)^2 / sum(w^2)` of weights `(n,)` (Kish 1965)."""
    weights = np.asarray(weights, np.float64)
    return float(weights.sum() ** 2 / max((weights**2).sum(), 1e-300))


def _features(parts: Parts, domains: list[Domain]) -> list[np.ndarray]:
    """Returns the features `(n, d)` of the training rows of domains.

    Vectors are their own features. Of other inputs they are the pooled outputs of the backbone, without a
    bottleneck, which is random at first.
    """
    if parts.source.modality.name == Vector.name:
        return [_vectors(domain, parts.batch_size) for domain in domains]
    plain = parts.model.to_functional()
    pooled = input_of(plain, "neck_bottleneck")
    if pooled is None:
        pooled = output_of(plain, "features")
    trunk = keras.Model(inputs_of(plain), pooled, name="trunk")
    places = [(domain, "train") for domain in domains]
    return stored_vectors(parts, trunk, places, None, "reweighting")[0]


def _vectors(domain: Domain, batch_size: int) -> np.ndarray:
    rows = domain.splits["train"]
    return np.concatenate([x for x, _, _ in evaluation_batches(rows, domain, batch_size=batch_size)])
