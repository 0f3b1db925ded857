"""Axes drawn as SVG. A page has a dozen figures, and matplotlib needs .07 s for each.

Colours are variables of the page, and the font is inherited, so one drawing fits light and dark mode. Units
are points.
"""

import html
import math
from collections.abc import Iterable, Sequence

import numpy as np

INK, MUTED, GRID = "var(--ink)", "var(--muted)", "var(--grid)"
_LARGEST = 1e300  # differences of larger numbers may overflow
_LETTER = 5.4  # mean width of a letter of 9 points


class Axis:
    """The range of one axis, its ticks, and the places of values.

    Args:
        values: Values that the axis must show.
        margin: What is added at both ends, as a share of the range.
        log: Whether the axis is logarithmic. All values must be positive then.
        integer: Whether ticks are integers.
    """

    def __init__(self, values, margin: float = 0.05, log: bool = False, integer: bool = False):
        self.log, self.places = log, (0.0, 1.0)
        scaled = self._scaled(values)
        low, high = float(scaled.min()), float(scaled.max())
        largest = max(abs(low), abs(high))
        if high - low <= 1e-9 * largest:  # one value, or values that no picture can tell apart
            margin, widened = 0.05, largest or 1.0
        else:
            widened = high - low
        self.low, self.high = low - margin * widened, high + margin * widened
        self.ticks = _decades(self.low, self.high) if log else _round_numbers(self.low, self.high, integer)
        self.labels = _written(self.ticks, log)

    def at(self, values) -> np.ndarray:
        """Returns the places of values in the drawing."""
        start, end = self.places
        return start + (self._scaled(values) - self.low) / (self.high - self.low) * (end - start)

    def _scaled(self, values) -> np.ndarray:
        values = np.clip(np.asarray(values, float), -_LARGEST, _LARGEST)
        return np.log10(values) if self.log else values


class Drawing:
    """Collects the elements of an SVG.

    Args:
        width: Width of the drawing.
        height: Height of the drawing.
    """

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self._elements: list[str] = []

    def line(
        self, x: Sequence[float], y: Sequence[float], color: str, width: float, dashes: str = ""
    ) -> None:
        """Draws straight lines from point to point."""
        points = " ".join(f"{a:.2f},{b:.2f}" for a, b in zip(x, y, strict=True))
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self._elements.append(
            f'<polyline points="{points}" fill="none" stroke-width="{width}" stroke-linejoin="round"{dashed} '
            f'style="stroke: {color}"/>'
        )

    def box(self, x: float, y: float, width: float, height: float, color: str, opacity: float) -> None:
        """Draws a filled rectangle from its upper left corner."""
        size = f'x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"'
        self._elements.append(f'<rect {size} opacity="{opacity}" style="fill: {color}"/>')

    def text(
        self, x: float, y: float, words: str, color: str = INK, size: int = 9, **attributes: str
    ) -> None:
        """Writes words from their left end on their baseline, or as `attributes` of SVG's text say."""
        more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
        self._elements.append(
            f'<text x="{x:.2f}" y="{y:.2f}" font-size="{size}"{more} style="fill: {color}">'
            f"{html.escape(words)}</text>"
        )

    def marks(self, x: Iterable[float], y: Iterable[float], color: str, shape: str = "o", r: float = 2.2):
        """Draws a mark at each point: a disc `o`, a cross `x`, a triangle `^` or a square `s`."""
        outline = {
            "o": f"m{-r} 0a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z",
            "x": f"m{-r} {-r}l{2 * r} {2 * r}m0 {-2 * r}l{-2 * r} {2 * r}",
            "^": f"m0 {-r}l{r} {2 * r}h{-2 * r}z",
            "s": f"m{-r} {-r}h{2 * r}v{2 * r}h{-2 * r}z",
        }[shape]
        paths = "".join(f"M{a:.2f} {b:.2f}{outline}" for a, b in zip(x, y, strict=True))
        painted = f"fill: none; stroke: {color}" if shape == "x" else f"fill: {color}"
        self._elements.append(f'<path d="{paths}" opacity="0.9" style="{painted}"/>')

    def picture(self, x: float, y: float, width: float, height: float, address: str) -> None:
        """Shows an image, stretched, with its pixels as they are."""
        size = f'x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"'
        self._elements.append(
            f'<image {size} preserveAspectRatio="none" href="{address}" style="image-rendering: pixelated"/>'
        )

    def svg(self) -> str:
        """Returns the SVG. A screen reader skips it, since the page says in words what it shows."""
        box = f'viewBox="0 0 {self.width} {self.height}"'
        return f'<svg {box} aria-hidden="true">{"".join(self._elements)}</svg>'


class Panel(Drawing):
    """A drawing with two axes.

    Args:
        size: Width and height of the drawing.
        x: The horizontal axis.
        y: The vertical axis.
        labels: Names of the two axes. An empty name takes no place.
        grid: Whether lines are drawn at the ticks.
    """

    def __init__(
        self,
        size: tuple[float, float],
        x: Axis,
        y: Axis,
        labels: tuple[str, str] = ("", ""),
        grid: bool = True,
    ):
        super().__init__(*size)
        self.x, self.y = x, y
        self.left = 10 + _LETTER * max(map(len, y.labels)) + (16 if labels[1] else 0)
        self.right, self.bottom, self.top = self.width - 10, self.height - 32, 18
        x.places, y.places = (self.left, self.right), (self.bottom, self.top)
        for place, label in zip(x.at(x.ticks), x.labels, strict=True):
            if grid:
                self.line((place, place), (self.bottom, self.top), GRID, 0.7)
            self.text(place, self.bottom + 12, label, text_anchor="middle")
        for place, label in zip(y.at(y.ticks), y.labels, strict=True):
            if grid:
                self.line((self.left, self.right), (place, place), GRID, 0.7)
            self.text(self.left - 4, place + 3, label, text_anchor="end")
        self.line((self.left, self.left, self.right), (self.top, self.bottom, self.bottom), MUTED, 0.8)
        middle = (self.top + self.bottom) / 2
        self.text((self.left + self.right) / 2, self.height - 6, labels[0], size=10, text_anchor="middle")
        if labels[1]:
            turned = f"rotate(-90 10 {middle:.2f})"
            self.text(10, middle, labels[1], size=10, text_anchor="middle", transform=turned)

    def legend(self, entries: Sequence[tuple[str, str]], points: Sequence[tuple]) -> None:
        """Writes names beside their colours, in the corner with the fewest points.

        Args:
            entries: Pairs `(name, colour)`.
            points: Pairs `(x, y)` of places that the legend should not cover.
        """
        width = 22 + _LETTER * max(len(name) for name, _ in entries)
        height = 13 * len(entries) + 4
        x, y = (np.concatenate(places) for places in zip(*points, strict=True))
        corners = [
            (left, top)
            for left in (self.right - width, self.left + 4)
            for top in (self.top, self.bottom - height)
        ]
        left, top = min(
            corners, key=lambda c: sum((x >= c[0]) & (x <= c[0] + width) & (y >= c[1]) & (y <= c[1] + height))
        )
        for i, (name, color) in enumerate(entries):
            middle = top + 8 + 13 * i
            self.line((left, left + 14), (middle, middle), color, 2.5)
            self.text(left + 18, middle + 3, name)


def _round_numbers(low: float, high: float, integer: bool, most: int = 7) -> np.ndarray:
    """Returns the multiples within two limits of 1, 2, 2.5 or 5 times a power of ten."""
    least = max((high - low) / most, 1.0 if integer else 0.0)
    power = 10.0 ** math.floor(math.log10(least))
    factors = (1, 2, 5, 10) if integer else (1, 2, 2.5, 5, 10)
    step = next(power * factor for factor in factors if power * factor >= least * (1 - 1e-9))
    return step * np.arange(math.ceil(low / step), math.floor(high / step) + 1)


def _decades(low: float, high: float, most: int = 6) -> np.ndarray:
    """Returns powers of ten between two limits, which are logarithms."""
    first, last = math.ceil(low), math.floor(high)
    return 10.0 ** np.arange(first, last + 1, math.ceil((last - first + 1) / most))


def _written(ticks: np.ndarray, log: bool) -> list[str]:
    """Returns the labels of ticks, with as many digits as tell them apart."""
    ticks = ticks + 0.0  # no negative zero
    largest, step = float(np.abs(ticks).max()), float(ticks[1] - ticks[0]) if len(ticks) > 1 else 0.0
    if log or not step:
        layout = "g"
    elif largest < 1e6 and step >= 1e-4:
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        is_round = abs(step * 10**digits - round(step * 10**digits)) < 1e-6  # 2.5 needs one digit more
        layout = f".{digits if is_round else digits + 1}f"
    else:
        layout = f".{2 + math.ceil(math.log10(largest / step))}g"
    return [format(tick, layout).replace("-", "\N{MINUS SIGN}") for tick in ticks]
