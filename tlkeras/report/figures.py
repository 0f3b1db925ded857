"""Figures as SVG. Colours and font come from the page, so one figure fits light and dark mode.

Figures contain only fixed words. Class names and file names of users appear in the HTML, which escapes them
and has glyphs for all scripts.
"""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

# Colours that matplotlib writes and that the page replaces. Nothing else is drawn in these colours.
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
    """Returns curves over optimizer steps as SVG.

    Args:
        lines: Tuples `(label, steps, values)`, one per line. An empty label gets no entry in the legend.
        name: Name of the metric. It also makes the ids in the SVG unique on the page.
        boundaries: Pairs `(stage, first step)`, one per stage.
        kept: Step of the epoch whose weights were kept, which is marked on the axis. None marks nothing.
        log: Whether the vertical axis is logarithmic.
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
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("step")
    if sum(bool(label) for label, *_ in lines) > 1:
        axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    return _svg(figure, name)


def reliability_figure(bins: dict[str, np.ndarray], name: str) -> str:
    """Returns a reliability diagram (Guo et al. 2017, figure 1) as SVG.

    Args:
        bins: Result of `tlkeras.evaluation.reliability_bins`.
        name: Name that makes the ids in the SVG unique on the page.
    """
    figure, axes = _panel((3.6, 3.4))
    filled = bins["count"] > 0
    lower, width = bins["lower"][filled], (bins["upper"] - bins["lower"])[filled]
    share = bins["count"][filled] / max(bins["count"].sum(), 1)
    axes.bar(lower, bins["accuracy"][filled], width, align="edge", color=SERIES[0], alpha=0.75, label="right")
    axes.bar(lower, share, width, align="edge", color=MUTED, alpha=0.45, label="share of rows")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 3)), label="calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="fraction correct")
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="upper left")
    return _svg(figure, name)


def scatter_figure(coordinates: np.ndarray, group: np.ndarray, shape: np.ndarray, name: str) -> str:
    """Returns points in the plane as SVG, without axes, because their units have no meaning.

    Args:
        coordinates: Coordinates `(n, 2)`.
        group: Numbers `(n,)` that select the colour. -1 is grey.
        shape: Numbers `(n,)` that select the marker.
        name: Name that makes the ids in the SVG unique on the page.
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
    """Returns a large matrix of values in 0..1 as SVG. Zeros are transparent."""
    figure, axes = _panel((4.4, 4.2))
    pixels = np.zeros((*shares.shape, 4))
    pixels[..., :3] = np.array([37, 99, 235]) / 255
    pixels[..., 3] = np.sqrt(np.nan_to_num(shares))
    axes.imshow(pixels, interpolation="nearest", aspect="auto")
    axes.grid(False)
    axes.set(xlabel="predicted class (number)", ylabel="true class (number)")
    return _svg(figure, name)


def picture(path: Path) -> str:
    """Returns an image file as a `data:` URL."""
    return _address(path.read_bytes())


def recording(path: Path) -> str:
    """Returns a WAV file as a `data:` URL."""
    return f"data:audio/wav;base64,{base64.b64encode(path.read_bytes()).decode()}"


def overlay(picture_path: Path, heat_path: Path) -> str:
    """Returns the picture with its heat map laid over it, as a `data:` URL."""
    with PIL.Image.open(picture_path) as image, PIL.Image.open(heat_path) as grey:
        pixels, heat = np.asarray(image.convert("RGB"), float), np.asarray(grey.convert("L"), float) / 255
    blended = PIL.Image.fromarray(blend(pixels, heat))
    buffer = io.BytesIO()
    blended.save(buffer, format="PNG")
    return _address(buffer.getvalue())


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


def _spread(lines) -> float:
    """Returns the largest value divided by the smallest, or 1 if a value has no logarithm."""
    values = np.concatenate(lines)
    return float(values.max() / values.min()) if values.min() > 0 else 1.0


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _panel(size: tuple[float, float] = _PANEL):
    # Without pyplot, which would keep every figure and read the backend of the user.
    from matplotlib.figure import Figure

    # fixed margins: matplotlib's own layout draws each figure twice
    figure = Figure(figsize=size)
    axes = figure.add_axes((0.16, 0.16, 0.81, 0.75))
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
    """Renders a figure and removes all external addresses, fixed colours and fonts."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": f"tlkeras {name}"}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<style type="text/css">[^<]*</style>', "", text)  # would apply to the whole page
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # not unique, and nothing refers to them
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d+\.\d\d)\d+", r"\1", tag[0]), text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(r"font: ([^;\"']*?)px '[^;\"]*", r"font: \1px var(--font)", text)
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">', text, count=1)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, variable)
    return text
