"""The choice of the rows of each split, as a pure function of the seed and the rows."""

import hashlib

import numpy as np

from tlkeras.data import random_streams
from tlkeras.data.text_column import TextColumn


def hash_fractions(ids: np.ndarray, salt: str = "") -> np.ndarray:
    """Returns for each id a number in [0, 1) that depends only on the id and the salt."""
    digests = (hashlib.sha256(f"{salt}\0{name}".encode()).digest()[:8] for name in ids)
    return np.fromiter((int.from_bytes(d, "big") / 2**64 for d in digests), np.float64, len(ids))


def split_rows(
    classes: np.ndarray | None,
    groups: np.ndarray | None,
    count: int,
    fractions: dict[str, float],
    seed: int,
) -> dict[str, np.ndarray]:
    """Takes fractions of `count` rows for other splits. The remaining rows are `train`.

    Args:
        classes: Class of each row `(count,)` for a stratified choice, or None.
        groups: Group of each row `(count,)`, or None. The rows of a group stay in the same split.
        count: Number of rows.
        fractions: Fraction of the rows for each split, e.g. `{"test": 0.2, "val": 0.1}`.
        seed: Seed of the experiment.

    Returns:
        Sorted indices of each split, including `train`.
    """
    rng = np.random.default_rng([seed, random_streams.SPLIT])
    free = np.ones(count, bool)
    splits = {}
    for name, fraction in fractions.items():
        wanted = round(fraction * count)
        if groups is not None:
            chosen = _whole_groups(groups, free, wanted, rng)
        else:
            chosen = stratified(classes, np.flatnonzero(free), wanted, rng, spare_last=True)
        free[chosen] = False
        splits[name] = chosen
    return {"train": np.flatnonzero(free), **splits}


def split_by_hash(names: np.ndarray, fractions: dict[str, float], salt: str) -> dict[str, np.ndarray]:
    """Divides rows like `split_rows`, but by a hash of their names. Classes and seed are not used.

    Args:
        names: Names of the rows, or of their groups, which then stay in the same split, `(n,)`.
        fractions: Fraction of each further split by its name.
        salt: Text that changes the hashes.
    """
    place = hash_fractions(names, salt)
    splits, low = {}, 0.0
    for name, fraction in fractions.items():
        splits[name] = np.flatnonzero((place >= low) & (place < low + fraction))
        low += fraction
    return {"train": np.flatnonzero(place >= low), **splits}


def fold_of_rows(
    classes: np.ndarray | None, groups: np.ndarray | None, count: int, folds: int, seed: int
) -> np.ndarray:
    """Returns the fold of each row, int64 `(count,)`, stratified by class, or with whole groups.

    Args:
        classes: Class numbers `(count,)`, or None.
        groups: Names of the groups `(count,)`, or None.
        count: Number of rows.
        folds: Number of folds.
        seed: Seed of the experiment.
    """
    rng = np.random.default_rng([seed, random_streams.FOLD])
    order = rng.permutation(count)
    if groups is not None:
        names, members = numbered_names(groups)
        place = np.empty(len(names), np.int64)
        place[rng.permutation(len(names))] = np.arange(len(names))
        return place[members] % folds
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    fold = np.empty(count, np.int64)
    fold[order] = np.arange(count) % folds
    return fold


def limited(classes: np.ndarray | None, count: int, limit: int, seed: int) -> np.ndarray:
    """Returns sorted indices of `limit` of `count` rows with the same class proportions.

    Args:
        classes: Class numbers `(count,)`, or None.
        count: Number of rows.
        limit: Number of rows to keep.
        seed: Seed of the experiment.
    """
    rng = np.random.default_rng([seed, random_streams.LIMIT])
    return stratified(classes, np.arange(count), min(limit, count), rng, spare_last=False)


def limited_by_hash(ids: np.ndarray, limit: int, salt: str) -> np.ndarray:
    """Returns sorted indices of the `limit` rows with the smallest hashes of their ids.

    Args:
        ids: Names of the rows, `(n,)`.
        limit: Number of rows to keep.
        salt: Text that changes the hashes.
    """
    return np.sort(np.argsort(hash_fractions(ids, salt), kind="stable")[:limit])


def few_shots(classes: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Returns sorted indices of at most `per_class` random rows of each class.

    Args:
        classes: Class numbers `(n,)`.
        per_class: Largest number of rows of each class.
        seed: Seed of the experiment.
    """
    rng = np.random.default_rng([seed, random_streams.SHOTS])
    order = rng.permutation(len(classes))
    chosen = [order[classes[order] == c][:per_class] for c in np.unique(classes)]
    return np.sort(np.concatenate(chosen))


def stratified(
    classes: np.ndarray | None,
    candidates: np.ndarray,
    wanted: int,
    rng: np.random.Generator,
    *,
    spare_last: bool,
) -> np.ndarray:
    """Draws some of the candidates, with each class in proportion to its size (largest remainder).

    Args:
        classes: Class numbers of all rows, or None.
        candidates: Indices of the rows to draw from.
        wanted: Number of rows to draw.
        rng: Random generator.
        spare_last: Whether no class may lose its last row, even if fewer rows than wanted can be drawn then.
    """
    order = rng.permutation(candidates)
    if classes is None:
        return np.sort(order[:wanted])
    names, counts = np.unique(classes[order], return_counts=True)
    share = wanted * counts / max(1, len(order))
    quota = np.floor(share).astype(int)
    by_remainder = np.argsort(quota - share + 1e-6 * rng.random(len(names)), kind="stable")
    quota[by_remainder[: wanted - quota.sum()]] += 1
    if spare_last:
        quota = np.minimum(quota, counts - 1)
    drawn = [order[classes[order] == c][:q] for c, q in zip(names, quota, strict=True)]
    return np.sort(np.concatenate(drawn)) if drawn else order[:0]


def _whole_groups(groups, free, wanted, rng):
    """Draws whole groups until they hold about `wanted` rows."""
    names, members = numbered_names(groups)
    sizes = np.bincount(members[free], minlength=len(names))
    chosen, taken = np.zeros(len(names), bool), 0
    for group in rng.permutation(np.flatnonzero(sizes))[:-1]:  # at least one group stays in train
        if taken + sizes[group] / 2 <= wanted:
            chosen[group], taken = True, taken + sizes[group]
    return np.flatnonzero(chosen[members] & free)


def numbered_names(texts: np.ndarray | TextColumn) -> tuple[list[str], np.ndarray]:
    """Returns the different texts in alphabetic order, and the number of each row in them, `(n,)`."""
    names, rows = TextColumn.of(texts).distinct()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int32)
    rank[order] = np.arange(len(names), dtype=np.int32)
    return [names[place] for place in order], rank[rows]
