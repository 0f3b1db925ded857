"""Figures of a page as SVG, and pictures as `data:` URLs.

Figures contain only fixed words. Class names and file names of users appear in the HTML, which has glyphs for
all scripts.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from tlkeras.report.drawing import INK, MUTED, Axis, Drawing, Panel

SERIES = tuple(f"var(--c{i})" for i in range(1, 11))
_DASHES = ("", "6 3", "1.6 2.4")
_SIZE = (317, 209)


def curves_figure(
    lines: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    boundaries: Sequence[tuple[str, float]] = (),
    kept: float | None = None,
    log: bool = False,
) -> str:
    """Returns curves over optimizer steps as SVG.

    Args:
        lines: Tuples `(label, steps, values)`, one per line, of finite values. An empty label gets no
            entry in the legend.
        boundaries: Pairs `(stage, first step)`, one per stage.
        kept: Step of the epoch whose weights were kept, which is marked on the axis. None marks nothing.
        log: Whether the vertical axis is logarithmic if the values are far apart.
    """
    steps = np.concatenate([steps for _, steps, _ in lines] + [[step for _, step in boundaries]])
    values = np.concatenate([values for *_, values in lines])
    log = log and values.min() > 0 and values.max() > 20 * values.min()
    panel = Panel(_SIZE, Axis(steps, integer=True), Axis(values, log=log), ("step", ""))
    for (stage, _), place in zip(boundaries, panel.x.at([step for _, step in boundaries]), strict=True):
        panel.line((place, place), (panel.bottom, panel.top), MUTED, 0.8, "3 3")
        panel.text(place + 2, panel.top - 5, stage, MUTED, 8)
    colors = [SERIES[i % len(SERIES)] for i in range(len(lines))]
    points = [(panel.x.at(steps), panel.y.at(values)) for _, steps, values in lines]
    for i, (color, (x, y)) in enumerate(zip(colors, points, strict=True)):
        panel.line(x, y, color, 1.6, _DASHES[i // len(SERIES) % len(_DASHES)])
        if len(x) < 40:
            panel.marks(x, y, color)
    if kept is not None:
        panel.marks(panel.x.at([kept]), [panel.bottom], INK, "^", r=4)
    named = [(label, color) for (label, *_), color in zip(lines, colors, strict=True) if label]
    if len(named) > 1:
        panel.legend(named, points)
    return panel.svg()


def reliability_figure(bins: dict[str, np.ndarray]) -> str:
    """Returns a reliability diagram (Guo et al. 2017, figure 1) as SVG.

    Args:
        bins: Result of `tlkeras.evaluation.reliability_bins`.
    """
    x, y = (Axis((0, 1), margin=0) for _ in range(2))
    panel = Panel((259, 245), x, y, ("confidence", "fraction correct"))
    shares = bins["count"] / max(bins["count"].sum(), 1)
    for color, opacity, heights in ((SERIES[0], 0.75, bins["accuracy"]), (MUTED, 0.45, shares)):
        for i in np.flatnonzero(bins["count"]):
            left, right = x.at((bins["lower"][i], bins["upper"][i]))
            top = float(y.at(heights[i]))
            panel.box(left, top, right - left, panel.bottom - top, color, opacity)
    panel.line(x.at((0, 1)), y.at((0, 1)), INK, 1, "4 3")
    named = [("right", SERIES[0]), ("share of rows", MUTED), ("calibrated", INK)]
    below = np.linspace(0, 1, 20)  # bars mostly lie at and below the diagonal
    panel.legend(named, [(x.at(below), y.at(below)), (x.at(below), y.at(below / 3))])
    return panel.svg()


def scatter_figure(coordinates: np.ndarray, group: np.ndarray, shape: np.ndarray) -> str:
    """Returns points in the plane as SVG, without axes, because their units have no meaning.

    Args:
        coordinates: Coordinates `(n, 2)`.
        group: Numbers `(n,)` that select the colour. -1 is grey.
        shape: Numbers `(n,)` that select the marker.
    """
    drawing = Drawing(288, 245)
    x, y = (Axis(values) for values in np.asarray(coordinates).T)
    x.places, y.places = (4, drawing.width - 4), (drawing.height - 4, 4)
    for marker in np.unique(shape):
        for number in np.unique(group):
            chosen = coordinates[(shape == marker) & (group == number)]
            color = MUTED if number < 0 else SERIES[number % len(SERIES)]
            drawing.marks(x.at(chosen[:, 0]), y.at(chosen[:, 1]), color, "ox^s"[marker % 4], r=2)
    return drawing.svg()


def matrix_figure(shares: np.ndarray) -> str:
    """Returns a large matrix of values in 0..1 as SVG. Zeros are transparent."""
    pixels = np.zeros((*shares.shape, 4), "uint8")
    pixels[..., :3] = (37, 99, 235)
    pixels[..., 3] = np.round(255 * np.sqrt(np.nan_to_num(shares)))
    rows, columns = (
        Axis((0, count - 1), margin=0.5 / max(count - 1, 1), integer=True) for count in shares.shape
    )
    rows.low, rows.high = rows.high, rows.low  # the first row is at the top
    panel = Panel((317, 302), columns, rows, ("predicted class (number)", "true class (number)"), grid=False)
    panel.picture(panel.left, panel.top, panel.right - panel.left, panel.bottom - panel.top, _png(pixels))
    return panel.svg()


def picture(path: Path) -> str:
    """Returns an image file as a `data:` URL."""
    return _address(path.read_bytes())


def overlay(picture_path: Path, heat_path: Path) -> str:
    """Returns the picture with its heat map laid over it, as a `data:` URL."""
    with PIL.Image.open(picture_path) as image, PIL.Image.open(heat_path) as grey:
        pixels, heat = np.asarray(image.convert("RGB"), float), np.asarray(grey.convert("L"), float) / 255
    return _png(blend(pixels, heat))


def blend(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Returns pixels lit by a heat map: hot pixels are unchanged, cold pixels are dark blue.

    Brightness is used instead of a colour scale, because it needs no legend, works on light and dark
    pictures, and can be seen by people with red-green colour blindness.

    Args:
        pixels: Pixels `(..., h, w, 3)` in 0..255.
        heat: Heat map `(..., h, w)` in 0..1.

    Returns:
        Pixels, uint8 `(..., h, w, 3)`.
    """
    grey = pixels.mean(axis=-1, keepdims=True)
    dusk = np.array([14, 20, 54]) + grey * np.array([0.20, 0.24, 0.36])
    light = np.clip(heat, 0, 1)[..., None] ** 1.5
    return np.clip(light * pixels + (1 - light) * dusk, 0, 255).astype(np.uint8)


def _png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format="PNG")
    return _address(buffer.getvalue())


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
