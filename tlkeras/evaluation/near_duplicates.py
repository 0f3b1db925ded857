"""Near-duplicates: rows that are the same but for their size, encoding, brightness or place in the picture.

Two different pictures of one class can be as close in feature space as two copies of one picture, because a
backbone is trained to ignore details. Features therefore only propose pairs. Pictures are confirmed on small
thumbnails, which are aligned, for a copy differs from its original by little everywhere and another picture
by much somewhere. Rows that are no pictures are near-duplicates if they are much closer than rows usually
are.
"""

from dataclasses import dataclass

import numpy as np

from tlkeras.evaluation.embedding import nearest
from tlkeras.lazy import LateModule

scipy = LateModule("scipy")

NEIGHBOURS = 8  # rows that are compared with each row
CLOSE = 0.1  # of the median distance to the nearest row, for rows that are no pictures
# Limits for thumbnails of 32 pixels, chosen on clothes and emoji (benchmarks/label_errors.py).
RESIDUAL = 0.04  # share of the variance that differs after the alignment
BELOW_OTHERS = 0.4  # the same as a fraction of what usually differs between a row and its neighbours
DIFFERENT = 0.09  # largest difference of a region in deviations, times the root of that fraction
SOMEWHERE = 0.5  # largest difference of a region in deviations
GAIN = 1.3  # ratio of the contrasts
SHADE = 30  # difference of the mean values in 0..255
_REGION = 3  # side of a region in pixels
_REACH = 4  # pixels by which a copy may be shifted
_WORTH_ALIGNING = 0.08
_ROWS = 1000
_WHITE = 250


@dataclass(frozen=True)
class Neighbours:
    """The nearest rows of each row in feature space.

    Attributes:
        indices: Indices of the nearest rows, the nearest first, int `(n, k)`.
        distances: Their cosine distances in 0..2, float32 `(n, k)`.
    """

    indices: np.ndarray
    distances: np.ndarray

    @property
    def pairs(self) -> np.ndarray:
        """Each pair of a row and one of its nearest rows once, int `(m, 2)`, the smaller index first."""
        rows, count = self.indices.shape
        both = np.stack([np.repeat(np.arange(rows), count), self.indices.ravel()], axis=1)
        return np.unique(np.sort(both, axis=1), axis=0)


def neighbours_of(features: np.ndarray, count: int = NEIGHBOURS) -> Neighbours:
    """Returns the nearest rows of each row by the cosine distance of standardised features.

    Args:
        features: Features `(n, d)`.
        count: Number of rows per row, at most `n - 1`.
    """
    features = np.asarray(features, np.float32)
    features = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-6)
    indices, similarities = nearest(features, features, count, among_others=True)
    return Neighbours(indices, np.maximum(1 - similarities, 0))


def near_duplicates(neighbours: Neighbours, thumbnails: np.ndarray | None = None) -> np.ndarray:
    """Returns the pairs of near-duplicates, int `(m, 2)`.

    Args:
        neighbours: The nearest rows of each row.
        thumbnails: Small pictures of the rows, uint8 `(n, side, side, 3)`, or None for rows without pictures.
    """
    pairs = neighbours.pairs
    if thumbnails is not None:
        return pairs[same_pictures(thumbnails, pairs)]
    usual = float(np.median(neighbours.distances[:, 0]))
    close = neighbours.distances <= CLOSE * usual
    rows, places = np.nonzero(close)
    found = np.sort(np.stack([rows, neighbours.indices[rows, places]], axis=1), axis=1)
    return np.unique(found, axis=0)


def groups_of(pairs: np.ndarray, rows: int) -> list[np.ndarray]:
    """Returns the groups of rows that pairs connect, each as sorted indices, in the order of their first row.

    Args:
        pairs: Pairs of indices `(m, 2)`.
        rows: Number of all rows.
    """
    ones = np.ones(len(pairs), bool)
    graph = scipy.sparse.coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(rows, rows))
    group = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
    members = np.unique(pairs)
    order = members[np.argsort(group[members], kind="stable")]
    found = np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else []
    return sorted(found, key=lambda rows: rows[0])


def same_pictures(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Returns which pairs of pictures are the same picture, bool `(m,)`.

    They are shifted against each other by half pixels until they agree best, and may differ in brightness and
    contrast as `GAIN` and `SHADE` allow. What remains must be small as a whole, small in every region, and
    small beside the differences between a picture and its other neighbours.

    Args:
        thumbnails: Small pictures, uint8 `(n, side, side, 3)`.
        pairs: Pairs of indices, int `(m, 2)`, those of a row and its nearest rows.
    """
    colours = np.asarray(thumbnails, np.float32)
    grey = colours.mean(axis=-1, keepdims=True)
    first, second = pairs.T
    start = _peaks(grey[..., 0], first, second)
    shift, residual = np.zeros((len(pairs), 2)), np.full(len(pairs), np.inf)
    _try(grey, pairs, np.arange(len(pairs)), np.zeros_like(start), shift, residual)
    _try(grey, pairs, np.arange(len(pairs)), start, shift, residual)
    usual = _usual(pairs, residual, len(thumbnails))
    worth = np.flatnonzero(residual < np.minimum(_WORTH_ALIGNING, usual))
    for step in (1.0, 0.5):
        around = shift.copy()
        for move in ((y, x) for y in (-step, 0, step) for x in (-step, 0, step) if y or x):
            _try(grey, pairs, worth, around + move, shift, residual)
    same = np.zeros(len(pairs), bool)
    for k in worth[residual[worth] < np.minimum(RESIDUAL, BELOW_OTHERS * usual[worth])]:
        first, second = colours[pairs[k]]
        apart, left = _apart(first, second, shift[k])
        same[k] = apart < SOMEWHERE and apart * np.sqrt(left / usual[k]) < DIFFERENT
    return same


def _peaks(grey: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the shift of each pair by phase correlation (Kuglin and Hines 1975), whole pixels `(m, 2)`."""
    side = grey.shape[1]
    window = np.hanning(side + 2)[1:-1]
    spectra = np.fft.rfft2((grey - grey.mean(axis=(1, 2), keepdims=True)) * np.outer(window, window))
    spectra = (spectra / np.maximum(np.abs(spectra), 1e-6)).astype(np.complex64)
    shifts = []
    for begin in range(0, len(first), _ROWS):
        part = slice(begin, begin + _ROWS)
        surface = np.fft.irfft2(spectra[first[part]] * spectra[second[part]].conj(), s=(side, side))
        surface = np.roll(surface, (_REACH, _REACH), axis=(1, 2))[:, : 2 * _REACH + 1, : 2 * _REACH + 1]
        shifts.append(np.divmod(surface.reshape(len(surface), -1).argmax(axis=1), 2 * _REACH + 1))
    return np.concatenate([np.stack(place, axis=1) for place in shifts]).astype(float) - _REACH


def _try(pictures, pairs, chosen, shifts, best, residual) -> None:
    """Compares the chosen pairs at given shifts, and keeps those that leave a smaller residual."""
    for move in np.unique(shifts[chosen], axis=0):
        rows = chosen[(shifts[chosen] == move).all(axis=1)]
        for part in np.array_split(rows, len(rows) // _ROWS + 1):
            u, v = _overlap(pictures[pairs[part, 0]], pictures[pairs[part, 1]], move)
            left = 1 - (u * v).sum(axis=(1, 2, 3)) / np.maximum(_norm(u) * _norm(v), 1e-6)
            better = part[left < residual[part]]
            residual[better], best[better] = left[left < residual[part]], move


def _norm(pictures: np.ndarray) -> np.ndarray:
    return np.sqrt((pictures**2).sum(axis=(1, 2, 3)))


def _overlap(first: np.ndarray, second: np.ndarray, shift) -> tuple[np.ndarray, np.ndarray]:
    """Returns what two stacks of pictures share after a shift, without their means.

    Each moves by half of the shift, so that interpolation blurs both alike.
    """
    edge = int(np.ceil(np.abs(shift).max() / 2))
    found = []
    for pictures, sign in ((first, 0.5), (second, -0.5)):
        for axis, distance in zip((1, 2), sign * np.asarray(shift), strict=True):
            pictures = _moved(pictures, distance, axis)
        pictures = pictures[:, edge : pictures.shape[1] - edge, edge : pictures.shape[2] - edge]
        found.append(pictures - pictures.mean(axis=(1, 2, 3), keepdims=True))
    return found[0], found[1]


def _moved(pictures: np.ndarray, distance: float, axis: int) -> np.ndarray:
    whole = int(np.floor(distance))
    rest, places = distance - whole, np.arange(pictures.shape[axis]) + whole
    last = pictures.shape[axis] - 1
    moved = pictures.take(np.clip(places, 0, last), axis)
    return (1 - rest) * moved + rest * pictures.take(np.clip(places + 1, 0, last), axis) if rest else moved


def _usual(pairs: np.ndarray, residual: np.ndarray, rows: int) -> np.ndarray:
    """Returns how much the rows of each pair usually differ from their neighbours: the smaller median.

    Rows that have many copies differ little from all of them, so no row counts as closer to its neighbours
    than a fifth of what is usual.
    """
    row = np.concatenate([pairs[:, 0], pairs[:, 1]])
    order = np.lexsort((np.concatenate([residual, residual]), row))
    begin = np.searchsorted(row[order], np.arange(rows))
    count = np.bincount(row, minlength=rows)
    sorted_residuals = np.concatenate([residual, residual])[order]
    medians = sorted_residuals[np.minimum(begin + count // 2, len(order) - 1)]
    medians = np.maximum(medians, np.median(medians) / 5)
    return np.minimum(medians[pairs[:, 0]], medians[pairs[:, 1]])


def _apart(first: np.ndarray, second: np.ndarray, shift: np.ndarray) -> tuple[float, float]:
    """Returns the largest difference of a region in deviations of the pixels, and the residual in colour.

    The former is infinite if brightness or contrast differ too much.
    """
    u, v = (part[0] for part in _overlap(first[None], second[None], shift))
    deviations = max(u.std(), 1e-3), max(v.std(), 1e-3)
    agreement = float((u * v).mean() / (deviations[0] * deviations[1]))
    gain, shade = deviations[1] / deviations[0], abs(first.mean() - second.mean())
    if not 1 / GAIN < gain < GAIN or shade > SHADE:
        return np.inf, 1 - agreement
    apart = min(_in_a_region(v - gain * u), *_brightened(u + first.mean(), v + second.mean()))
    return apart / min(deviations), max(1 - agreement, 0.0)


def _in_a_region(difference: np.ndarray) -> float:
    """Returns the largest mean difference of a region. It is small along edges that are not quite aligned."""
    return float(
        np.abs(scipy.ndimage.uniform_filter(difference, (_REGION, _REGION, 0), mode="nearest")).max()
    )


def _brightened(first: np.ndarray, second: np.ndarray) -> list[float]:
    """Returns the largest differences of a region if one picture is the other, made brighter."""
    found = []
    for dark, bright in ((first, second), (second, first)):
        inner = (dark < _WHITE) & (bright < _WHITE)
        factor = bright[inner].sum() / max(dark[inner].sum(), 1e-3) if inner.any() else 1.0
        found.append(_in_a_region(bright - np.minimum(factor * dark, 255)) if 1 <= factor < GAIN else np.inf)
    return found
