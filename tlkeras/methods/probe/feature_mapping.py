"""Maps between the feature spaces of two domains, in float64 numpy.

A map is fitted on source features `(n, d)` and target features `(m, d)`. It moves source features to the
place of the target features, so that a classifier of mapped source features can be used for the target.
"""

import numpy as np

from tlkeras.config import MappingConfig
from tlkeras.errors import UserError
from tlkeras.registry import Registry


class FeatureMapping:
    """The base class of mappings.

    Attributes:
        pairs: Whether the mapping is fitted on the same samples in both spaces, row by row.
        same_space: Whether target features are not mapped.
    """

    pairs = False
    same_space = True

    def fit(self, source: np.ndarray, target: np.ndarray) -> "FeatureMapping":
        """Fits the map on source features `(n, d)` and target features `(m, d)`."""
        raise NotImplementedError

    def map_source(self, features: np.ndarray) -> np.ndarray:
        """Returns source features `(k, d)` in the target's place."""
        raise NotImplementedError

    def before_mapping(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Converts a linear classifier of mapped features to a classifier of unmapped target features.

        Args:
            kernel: Kernel of the classifier, `(mapped d, classes)`.
            bias: Bias of the classifier, `(classes,)`.
        """
        return kernel, bias


MAPPINGS: Registry[type[FeatureMapping]] = Registry("feature mapping")
"""Mappings that `stages.N.probe.mapping.name` can name."""


def make_mapping(config: MappingConfig) -> FeatureMapping:
    """Returns an unfitted mapping.

    Raises:
        UserError: The name or an option is unknown.
    """
    try:
        return MAPPINGS.get(config.name)(**config.options)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"The mapping {config.name} refuses its options: {error}. Received: {config.options}"
        ) from error


@MAPPINGS.register("coral")
class Coral(FeatureMapping):
    """Whitens the source and re-colours it with the target's covariance (Sun et al. 2016, algorithm 1).

    Args:
        regularization: Value that is added to the diagonals of both covariances, 1 in the paper.
        center: Whether the means are matched too. The paper assumes normalised features.
    """

    def __init__(self, regularization: float = 1.0, center: bool = True):
        self.regularization, self.center = float(regularization), center

    def fit(self, source: np.ndarray, target: np.ndarray) -> "Coral":
        """Finds the map."""
        source, target = of_two_domains(source, target)
        eye = self.regularization * np.eye(source.shape[1])
        whiten = _power(np.cov(source, rowvar=False) + eye, -0.5)
        self.matrix = whiten @ _power(np.cov(target, rowvar=False) + eye, 0.5)
        self.means = (source.mean(axis=0), target.mean(axis=0)) if self.center else (0.0, 0.0)
        return self

    def map_source(self, features: np.ndarray) -> np.ndarray:
        """Returns source features `(k, d)` in the target's place."""
        return (np.asarray(features, np.float64) - self.means[0]) @ self.matrix + self.means[1]


@MAPPINGS.register("subspace_alignment")
class SubspaceAlignment(FeatureMapping):
    """Turns the source's principal axes into the target's (Fernando et al. 2013, section 3).

    Args:
        dimensions: Number of principal axes, at most those of the smaller domain.
    """

    same_space = False

    def __init__(self, dimensions: int = 64):
        self.dimensions = int(dimensions)

    def fit(self, source: np.ndarray, target: np.ndarray) -> "SubspaceAlignment":
        """Fits both bases and the alignment."""
        source, target = of_two_domains(source, target)
        self.means = source.mean(axis=0), target.mean(axis=0)
        most = min(self.dimensions, source.shape[1], len(source) - 1, len(target) - 1)
        axes = [
            np.linalg.svd(x - mean, full_matrices=False)[2][:most].T
            for x, mean in zip((source, target), self.means, strict=True)
        ]
        self.source_map, self.target_map = axes[0] @ (axes[0].T @ axes[1]), axes[1]
        return self

    def map_source(self, features: np.ndarray) -> np.ndarray:
        """Returns source features `(k, d)` in the axes of the target, `(k, dimensions)`."""
        return (np.asarray(features, np.float64) - self.means[0]) @ self.source_map

    def before_mapping(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Converts a classifier of mapped features to one of target features."""
        kernel = self.target_map @ kernel
        return kernel, bias - self.means[1] @ kernel


@MAPPINGS.register("linear_map")
class LinearMap(FeatureMapping):
    """Ridge regression from source to target features of the same samples, row i with row i.

    The two may have different widths, so that a head of one backbone can be used for another.

    Args:
        regularization: Penalty, as a fraction of the mean variance of the source's features.
    """

    pairs = True

    def __init__(self, regularization: float = 1e-3):
        self.regularization = float(regularization)

    def fit(self, source: np.ndarray, target: np.ndarray) -> "LinearMap":
        """Fits the map on paired samples `(n, d)` and `(n, e)`."""
        source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
        if source.ndim != 2 or target.ndim != 2 or len(source) != len(target):
            raise UserError(
                "linear_map needs the same samples in both spaces, row by row. "
                f"Received: {source.shape} and {target.shape}"
            )
        self.means = source.mean(axis=0), target.mean(axis=0)
        x, y = source - self.means[0], target - self.means[1]
        scatter = x.T @ x
        penalty = self.regularization * max(np.trace(scatter) / len(scatter), 1e-300)
        self.matrix = np.linalg.solve(scatter + penalty * np.eye(len(scatter)), x.T @ y)
        return self

    def map_source(self, features: np.ndarray) -> np.ndarray:
        """Returns source features `(k, d)` as target features `(k, e)`."""
        return (np.asarray(features, np.float64) - self.means[0]) @ self.matrix + self.means[1]


def of_two_domains(source, target) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features of two domains in float64, after a check of their shapes.

    Raises:
        UserError: They are not `(n, d)` and `(m, d)`, or a domain has fewer than two rows.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if source.ndim != 2 or source.shape[1:] != target.shape[1:] or min(len(source), len(target)) < 2:
        raise UserError(
            "Two domains need features (n, d) and (m, d), each with at least two rows. Received: "
            f"{source.shape} and {target.shape}"
        )
    return source, target


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-300) ** exponent) @ vectors.T
