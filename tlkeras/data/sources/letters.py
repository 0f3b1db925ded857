"""Capital letters in many typefaces, drawn with the fonts that matplotlib contains.

The families of typefaces are divided: training rows are drawn in DejaVu, validation rows in Computer Modern
and test rows in STIX. A model is thus tested on typefaces that it has never seen. DejaVu has the licence of
Bitstream Vera, Computer Modern (BaKoMa) and STIX have licences of their own, and all may be used freely.
"""

import colorsys
import itertools
import string
from pathlib import Path

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.rows import Rows
from tlkeras.data.sources.base import Source, Table
from tlkeras.errors import UserError
from tlkeras.lazy import LateModule

PIL, matplotlib = LateModule("PIL"), LateModule("matplotlib")

SIDE = 64
LETTERS = string.ascii_uppercase
_DEJAVU = [
    f"DejaVu{kind}{style}"
    for kind, slanted in (("Sans", "Oblique"), ("SansMono", "Oblique"), ("Serif", "Italic"))
    for style in ("", "-Bold", f"-{slanted}", f"-Bold{slanted}")
]
_COMPUTER_MODERN = ["cmr10", "cmb10", "cmss10", "cmti10", "cmtt10"]
_STIX = ["STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"]
# Unicode has whole alphabets for mathematics, which the first file of STIX draws: the code point of each A,
# and the letters that have an older code point elsewhere.
_OF_MATHEMATICS: dict[str, tuple[int, dict[str, str]]] = {
    "STIX script": (0x1D49C, dict(zip("BEFHILMR", "ℬℰℱℋℐℒℳℛ", strict=True))),
    "STIX bold script": (0x1D4D0, {}),
    "STIX double-struck": (0x1D538, dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True))),
    "STIX sans": (0x1D5A0, {}),
    "STIX sans bold": (0x1D5D4, {}),
    "STIX sans italic": (0x1D608, {}),
    "STIX sans bold italic": (0x1D63C, {}),
    "STIX mono": (0x1D670, {}),
}


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Returns 312 training, 260 validation and 624 test rows of 26 letters, the same for every seed.

    Each letter is drawn once in each of 12 typefaces of DejaVu for training, and twice in each of 5 of
    Computer Modern and 12 of STIX for the others, with random colours, sizes, places and turns.
    """
    if argument:
        raise UserError(
            f"The source letters has no options: data.source=letters. Received: {config.source!r}"
        )
    splits = {}
    typefaces = {"train": _DEJAVU, "val": _COMPUTER_MODERN * 2, "test": 2 * [*_STIX, *_OF_MATHEMATICS]}
    for number, (split, of_split) in enumerate(typefaces.items()):
        rng = np.random.default_rng(number)
        drawn = list(itertools.product(range(len(LETTERS)), enumerate(of_split)))
        pictures = np.stack([_draw(LETTERS[letter], typeface, rng) for letter, (_, typeface) in drawn])
        ids = [f"{LETTERS[letter]} in {typeface}, {place:02}" for letter, (place, typeface) in drawn]
        splits[split] = Rows(pictures, np.array([letter for letter, _ in drawn]), np.array(ids, object))
    return Table(splits, tuple(LETTERS), final=True)


def glyph(letter: str, typeface: str) -> tuple[str, str]:
    """Returns the name of the font file of a typeface, and the character that stands for a letter in it."""
    if typeface not in _OF_MATHEMATICS:
        return typeface, letter
    first, older = _OF_MATHEMATICS[typeface]
    return _STIX[0], older.get(letter, chr(first + LETTERS.index(letter)))


def _draw(letter: str, typeface: str, rng: np.random.Generator) -> np.ndarray:
    """Draws a letter near the middle of a picture. Returns `uint8` `(64, 64, 3)`."""
    file, character = glyph(letter, typeface)
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{file}.ttf"
    font = PIL.ImageFont.truetype(
        str(path), int(rng.integers(32, 50)), layout_engine=PIL.ImageFont.Layout.BASIC
    )
    left, top, right, bottom = font.getbbox(character)
    x, y = rng.integers(-6, 7, 2)
    mask = PIL.Image.new("L", (SIDE, SIDE), 0)
    corner = ((SIDE - right - left) / 2 + x, (SIDE - bottom - top) / 2 + y)
    PIL.ImageDraw.Draw(mask).text(corner, character, font=font, fill=255)
    mask = mask.rotate(float(rng.uniform(-15, 15)), PIL.Image.Resampling.BILINEAR)
    ink, paper = _colours(rng)
    picture = PIL.Image.new("RGB", (SIDE, SIDE), paper)
    picture.paste(ink, (0, 0), mask)
    return np.asarray(picture)


def _colours(rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Returns a dark and a light colour of different hues, in random order."""
    hue = rng.uniform()
    both = ((hue, rng.uniform(0.12, 0.35)), ((hue + rng.uniform(0.2, 0.8)) % 1, rng.uniform(0.65, 0.92)))
    shades = [colorsys.hls_to_rgb(hue, light, rng.uniform(0.3, 0.9)) for hue, light in both]
    rounded = [tuple(int(255 * part) for part in shade) for shade in shades]
    return rounded[:: rng.choice([-1, 1])]


SOURCE = Source(
    "letters",
    "letters",
    "26 capital letters, tested in typefaces that training has not seen",
    load,
    names_splits=False,
)
