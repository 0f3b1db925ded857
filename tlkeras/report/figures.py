"""Figures as SVG that takes its colours and its font from the page, so that one serves light and dark.

Only plain words stand in them: names of users' classes and files belong into HTML, which escapes them and
has all glyphs.
"""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# Colours that matplotlib writes and the page replaces; no other drawing uses them.
INK, MUTED, GRID = "#010101", "#020202", "#030303"
SERIES = tuple(f"#0a00{i:02x}" for i in range(1, 11))
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)"} | {
    color: f"var(--c{i})" for i, color in enumerate(SERIES, start=1)
}
_PANEL = (4.4, 2.9)


def curves_figure(
    lines: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    name: str,
    boundaries: Sequence[tuple[str, float]] = (),
    kept: float | None = None,
    log: bool = False,
) -> str:
    """Returns an SVG with values over optimizer steps.

    Args:
        lines: `(label, steps, values)` of each line; an empty label gets no entry in the legend.
        name: Of the measured thing; also makes the ids inside the SVG differ from those of others.
        boundaries: `(stage, first step)` of each stage.
        kept: Step of the epoch whose weights were kept, marked on the axis; None marks none.
        log: Whether the axis of values is logarithmic.
    """
    figure, axes = _panel()
    for i, (label, steps, values) in enumerate(lines):
        color, marker = SERIES[i % len(SERIES)], "o" if len(steps) < 40 else None
        style = {"linestyle": ("-", (0, (4, 2)), (0, (1, 1.5)))[i // len(SERIES) % 3], "linewidth": 1.6}
        axes.plot(steps, values, color=color, marker=marker, markersize=3, label=label, **style)
    top = axes.get_xaxis_transform()
    for stage, step in boundaries:
        axes.axvline(step, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        axes.text(step, 1.02, f" {stage}", transform=top, color=MUTED, fontsize=8, parse_math=False)
    if kept is not None:
        axes.plot([kept], [0], marker="^", markersize=8, color=INK, transform=top, clip_on=False)
    if log and _spread([values for _, _, values in lines]) > 20:
        axes.set_yscale("log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("step")
    if sum(bool(label) for label, *_ in lines) > 1:
        axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    return _svg(figure, name)


def reliability_figure(bins: dict[str, np.ndarray], name: str) -> str:
    """Returns a reliability diagram (Guo et al. 2017, figure 1) as SVG.

    Args:
        bins: What `tlkeras.evaluation.reliability_bins` returns.
        name: Makes the ids inside the SVG differ from those of others.
    """
    figure, axes = _panel((3.6, 3.4))
    filled = bins["count"] > 0
    lower, width = bins["lower"][filled], (bins["upper"] - bins["lower"])[filled]
    share = bins["count"][filled] / max(bins["count"].sum(), 1)
    axes.bar(lower, bins["accuracy"][filled], width, align="edge", color=SERIES[0], alpha=0.75, label="right")
    axes.bar(lower, share, width, align="edge", color=MUTED, alpha=0.45, label="share of rows")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 3)), label="calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="fraction right")
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="upper left")
    return _svg(figure, name)


def scatter_figure(coordinates: np.ndarray, group: np.ndarray, shape: np.ndarray, name: str) -> str:
    """Returns points in the plane as SVG, without axes, whose units mean nothing.

    Args:
        coordinates: `(n, 2)`.
        group: Numbers `(n,)` that choose the colour; -1 is grey.
        shape: Numbers `(n,)` that choose the marker.
        name: Makes the ids inside the SVG differ from those of others.
    """
    figure, axes = _panel((4.0, 3.4))
    for marker in np.unique(shape):
        for number in np.unique(group):
            chosen = (shape == marker) & (group == number)
            color = MUTED if number < 0 else SERIES[number % len(SERIES)]
            style = {"color": color, "s": 14, "alpha": 0.8, "linewidths": 1.0}
            axes.scatter(*coordinates[chosen].T, marker=("o", "x", "^", "s")[marker % 4], **style)
    axes.axis("off")
    return _svg(figure, name)


def matrix_figure(shares: np.ndarray, name: str) -> str:
    """Returns a large matrix of values in 0..1 as SVG, transparent where it is 0."""
    figure, axes = _panel((4.4, 4.2))
    pixels = np.zeros((*shares.shape, 4))
    pixels[..., :3] = np.array([37, 99, 235]) / 255
    pixels[..., 3] = np.sqrt(np.nan_to_num(shares))
    axes.imshow(pixels, interpolation="nearest", aspect="auto")
    axes.grid(False)
    axes.set(xlabel="predicted class (number)", ylabel="true class (number)")
    return _svg(figure, name)


def picture(path: Path) -> str:
    """Returns an image file as an address that holds the image itself."""
    return _address(path.read_bytes())


def overlay(picture_path: Path, heat_path: Path) -> str:
    """Returns the picture with its heat map laid over it, as an address that holds the image itself."""
    from PIL import Image

    with Image.open(picture_path) as image, Image.open(heat_path) as grey:
        pixels, heat = np.asarray(image.convert("RGB"), float), np.asarray(grey.convert("L"), float) / 255
    blended = Image.fromarray(blend(pixels, heat))
    buffer = io.BytesIO()
    blended.save(buffer, format="PNG")
    return _address(buffer.getvalue())


def blend(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Returns pixels lit by a heat map: as they are where it is hot, in a blue dusk where it is cold.

    A light instead of a colour scale: it needs no legend, reads on white and on dark pictures, and to
    those who do not see red beside green.

    Args:
        pixels: 0..255, `(..., h, w, 3)`.
        heat: 0..1, `(..., h, w)`.

    Returns:
        uint8 `(..., h, w, 3)`.
    """
    grey = pixels.mean(axis=-1, keepdims=True)
    dusk = np.array([14, 20, 54]) + grey * np.array([0.20, 0.24, 0.36])
    light = np.clip(heat, 0, 1)[..., None] ** 1.5
    return np.clip(light * pixels + (1 - light) * dusk, 0, 255).astype(np.uint8)


def _spread(lines) -> float:
    """The largest value over the smallest, 1 where some are not positive and a logarithm says nothing."""
    values = np.concatenate(lines)
    return float(values.max() / values.min()) if values.min() > 0 else 1.0


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _panel(size: tuple[float, float] = _PANEL):
    # Figure by itself: pyplot would keep every figure and read the user's backend.
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure, name: str) -> str:
    """Renders a figure; what is left of it refers to no address and to no fixed colour or font."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": f"tlkeras {name}"}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<style type="text/css">[^<]*</style>', "", text)  # would hold for the whole page
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # the same in every figure, and nothing refers to them
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d+\.\d\d)\d+", r"\1", tag[0]), text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(r"font: ([^;\"']*?)px '[^;\"]*", r"font: \1px var(--font)", text)
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">', text, count=1)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, variable)
    return text
