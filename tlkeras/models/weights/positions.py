"""Resizes tables of positions to another grid, in the same way as torch's bicubic interpolation."""

import math

import numpy as np


def resized_positions(
    table: np.ndarray, rows: int, columns: int, antialias: bool, offset: float = 0.0
) -> np.ndarray:
    """Returns a table of positions for a grid of `rows` x `columns` patches.

    Args:
        table: Table of positions, float32 `(prefix + side * side, d)`. Up to two rows of prefix tokens come
            before the rows of a square grid.
        rows: Number of patches from top to bottom.
        columns: Number of patches from left to right.
        antialias: Whether a smaller grid averages over more than four neighbours, as in timm.
        offset: Number that is added to the new number of patches when the scale is computed, .1 in DINOv2's
            own code. A grid that is not resized stays as it is.

    Returns:
        The new table, float32 `(prefix + rows * columns, d)`. The rows of prefix tokens are unchanged.

    Raises:
        ValueError: The table does not belong to a square grid.
    """
    side = math.isqrt(len(table))
    prefix = len(table) - side * side
    if prefix > 2:
        raise ValueError(f"its table of positions does not belong to a square grid: {len(table)} rows")
    if rows == columns == side:
        return table.astype("float32")
    grid = table[prefix:].reshape(side, side, -1)
    return np.concatenate(
        [table[:prefix], resized_grid(grid, rows, columns, antialias, offset)], dtype="float32"
    )


def resized_grid(
    grid: np.ndarray, rows: int, columns: int, antialias: bool, offset: float = 0.0
) -> np.ndarray:
    """Returns the positions of a grid of `rows` x `columns` patches, float32 `(rows * columns, d)`.

    Args:
        grid: Positions of another grid, `(r, c, d)`.
        rows: Number of patches from top to bottom.
        columns: Number of patches from left to right.
        antialias: As for `resized_positions`.
        offset: As for `resized_positions`.
    """
    sides = zip(grid.shape[:2], (rows, columns), strict=True)
    along = (_bicubic(side, new, (new + offset) / side, antialias) for side, new in sides)
    new = np.einsum("ri,cj,ijd->rcd", *along, grid.astype("float64"), optimize=True)
    return new.reshape(rows * columns, -1).astype("float32")


def resized_relative_positions(table: np.ndarray, high: int, wide: int) -> np.ndarray:
    """Returns a table of relative positions for windows of other sides, as timm makes it.

    The known distances are spread over the new ones in steps that grow like a geometric series, so that those
    next to a place stay as they are. Between them it interpolates linearly.

    Args:
        table: float32 `((2 * side - 1) ** 2, heads)`, one row for each distance of two places of a square
            window.
        high: Rows of the new windows.
        wide: Columns of the new windows.

    Returns:
        float32 `((2 * high - 1) * (2 * wide - 1), heads)`.

    Raises:
        ValueError: Where the table is that of no square window.
    """
    side = math.isqrt(len(table))
    if side * side != len(table) or not side % 2:
        raise ValueError(f"its table of relative positions is of no square window: {len(table)} rows")
    if (2 * high - 1, 2 * wide - 1) == (side, side):
        return table
    rows, columns = (_geometric(side, 2 * new - 1) for new in (high, wide))
    grid = table.reshape(side, side, -1).astype("float64")
    grid = np.einsum("ri,cj,ijh->rch", rows, columns, grid, optimize=True)
    return grid.reshape(-1, table.shape[1]).astype("float32")


def _geometric(size: int, new: int) -> np.ndarray:
    """Returns the matrix `(new, size)` of linear interpolation from places in growing steps."""
    low, high = 1.01, 1.5
    ratio = low
    while high - low > 1e-6:
        ratio = (low + high) / 2
        low, high = (low, ratio) if (1 - ratio ** (size // 2)) / (1 - ratio) > new // 2 else (ratio, high)
    half = np.cumsum(ratio ** np.arange(size // 2))
    known = np.concatenate([-half[::-1], [0.0], half])
    wanted = np.arange(new) - new // 2
    return np.stack([np.interp(wanted, known, column) for column in np.eye(size)], -1)


def _bicubic(size: int, new: int, scale: float, antialias: bool) -> np.ndarray:
    """Returns the matrix `(new, size)` of bicubic interpolation with half-pixel centres.

    The slope of torch's kernel at distance 1 is -0.75 without antialiasing and -0.5 with it.
    """
    slope, stretch = (-0.5, max(1 / scale, 1.0)) if antialias else (-0.75, 1.0)
    weights = np.zeros((new, size))
    for i in range(new):
        centre = (i + 0.5) / scale - 0.5
        first, last = math.floor(centre - 2 * stretch), math.ceil(centre + 2 * stretch)
        for j in range(first, last + 1):
            weight = _cubic(abs(j - centre) / stretch, slope)
            if 0 <= j < size:
                weights[i, j] += weight
            elif not antialias:  # beyond the border, the last row is repeated
                weights[i, min(max(j, 0), size - 1)] += weight
    return weights / weights.sum(axis=1, keepdims=True)


def _cubic(x: float, slope: float) -> float:
    """Returns the value of the cubic convolution kernel of Keys (1981) at a distance of at least 0."""
    if x < 1:
        return (slope + 2) * x**3 - (slope + 3) * x**2 + 1
    return slope * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0
