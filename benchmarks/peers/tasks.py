"""Writes the tasks on which the peers are compared, as folders of PNG files.

Command:  python benchmarks/peers/tasks.py DIR --fashion=DIR --mnist=FILE [--task=NAME ...] [--draw=N]
Packages: those of tlkeras' extra `quickstart`, and benchmarks/peers/requirements.txt (fonts)
Files:    `--fashion` is the folder with the four files `*-ubyte.gz` of keras.datasets.fashion_mnist,
          `--mnist` the `mnist.npz` of keras.datasets.mnist.

DIR/TASK gets `train`, `val` and `test`, each with one folder of pictures per class, and `task.json` with the
size in pixels that all peers use. All draws have fixed seeds. No drawing is in two splits: emoji are divided
by emoji, letters by family of fonts, icons by icon, the others by row.

Draw 0 is the comparison of the peers. The other draws are for choosing settings: none of their pictures is a
test row of draw 0. The emoji, digits and letters have fewer rows there.
"""

import argparse
import gzip
import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tlkeras.config import DataConfig
from tlkeras.data.sources import read_source

SIZE = 64
SPLITS = ("train", "val", "test")
DIGITS = tuple("0123456789")
UNBALANCED = [96, 70, 51, 37, 27, 19, 14, 10, 7, 5]
CLOTHES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
Picture = tuple[str, str, Image.Image]  # split, class, picture


@dataclass(frozen=True)
class Files:
    """The files that no package has."""

    fashion: Path
    mnist: Path


def emoji(style: str, draw: int) -> Iterator[Picture]:
    """Yields 1372 emoji of 8 categories. A hash of the code point decides the split, in both styles alike."""
    table = read_source(DataConfig(source=f"emoji:{style}", test_fraction=0.68, val_fraction=0.12), seed=0)
    rows = [
        (split, *row)
        for split, part in table.splits.items()
        for row in zip(part.inputs, part.labels, strict=True)
    ]
    if draw:
        rest = [row for row in rows if row[0] != "test"]
        places = np.random.default_rng(draw).permutation(len(rest))
        rows = [
            ("train" if n < 200 else "val" if n < 250 else "test", *rest[place][1:])
            for n, place in enumerate(places)
        ]
    for split, name, label in rows:
        picture = (
            Image.open(name)
            if table.draw is None
            else Image.fromarray(table.draw(np.array([name], object))[0])
        )
        yield split, label, on_white(picture)


def on_white(picture: Image.Image) -> Image.Image:
    """Returns a picture without transparency, so that all peers see the same pixels."""
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def arrays(
    x, y, x_test, y_test, names: tuple[str, ...], counts: dict[str, list[int]], draw: int
) -> Iterator[Picture]:
    """Yields rows of two arrays: train and val from the first, test from the second, or in draws other than 0
    from the rest of the first.

    Args:
        x, y: Pictures uint8 `(n, h, w)` and labels `(n,)` for train and val.
        x_test, y_test: Pictures and labels for test.
        names: Names of the classes.
        counts: Number of rows of each class by split, or what there is.
        draw: Which rows are drawn.
    """
    rng = np.random.default_rng(draw)
    for label, name in enumerate(names):
        first, second = (rng.permutation(np.flatnonzero(v == label)) for v in (y, y_test))
        train, val, test = (counts[split][label] for split in SPLITS)
        rest = first[train + val :] if draw else second
        parts = {"train": first[:train], "val": first[train : train + val], "test": rest[:test]}
        for split, rows in parts.items():
            images = x_test if split == "test" and not draw else x
            for row in rows:
                yield split, name, Image.fromarray(images[row]).convert("RGB")


def fashion(files: Files, draw: int, train: list[int], val: list[int]) -> Iterator[Picture]:
    """Yields Fashion-MNIST with these numbers of rows of each class, and 100 test rows of each."""

    def read(name: str, start: int) -> np.ndarray:
        content = gzip.decompress((files.fashion / f"{name}-ubyte.gz").read_bytes())
        return np.frombuffer(content, np.uint8, offset=start)

    x, x_test = (read(f"{name}-images-idx3", 16).reshape(-1, 28, 28) for name in ("train", "t10k"))
    y, y_test = (read(f"{name}-labels-idx1", 8) for name in ("train", "t10k"))
    counts = {"train": train, "val": val, "test": [100] * 10}
    return arrays(x, y, x_test, y_test, CLOTHES, counts, draw)


def mnist(files: Files, draw: int) -> Iterator[Picture]:
    """Yields MNIST with 10 training rows of each class."""
    with np.load(files.mnist) as data:
        rows = [data[name] for name in ("x_train", "y_train", "x_test", "y_test")]
    return arrays(*rows, DIGITS, {"train": [10] * 10, "val": [5] * 10, "test": [100] * 10}, draw)


def digits(draw: int) -> Iterator[Picture]:
    """Yields scikit-learn's digits of 8 x 8 pixels with 20 training rows of each class."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = (255 * (data.images / 16)).astype(np.uint8), data.target
    first = np.random.default_rng(1).permutation(len(x))
    learned, tested = first[:500], first[500:]
    counts = {"train": [20] * 10, "val": [10] * 10, "test": [100] * 10}
    return arrays(x[learned], y[learned], x[tested], y[tested], DIGITS, counts, draw)


# Families of fonts by split: the package, and how the names of its files begin.
FONTS = {
    "train": (("matplotlib", "DejaVu"), ("font_caladea", "Caladea"), ("font_lato", "Lato")),
    "val": (("matplotlib", "STIXGeneral"), ("font_manrope", "Manrope-")),
    "test": (
        ("matplotlib", "cm"), ("font_roboto", "Roboto"), ("font_source_sans_pro", "SourceSansPro"),
        ("font_source_serif_pro", "SourceSerifPro"), ("font_hanken_grotesk", "HankenGrotesk"),
        ("font_amatic_sc", "AmaticSC"), ("font_fredoka_one", "FredokaOne"), ("font_intuitive", "Intuitive"),
    ),
}  # fmt: skip
_WITHOUT_LETTERS = ("cmex", "cmmi", "cmsy")


def letters(draw: int) -> Iterator[Picture]:
    """Yields the capital letters in up to four fonts of each family. No family is in two splits."""
    rng = np.random.default_rng(draw)
    parts = FONTS
    if draw:
        rest = [family for split in ("train", "val") for family in FONTS[split]]
        first, second, third, *others = (rest[place] for place in rng.permutation(len(rest)))
        parts = {"train": (first, second), "val": (third,), "test": tuple(others)}
    for split, families in parts.items():
        for package, beginning in families:
            files = {f.stem: f for f in sorted(package_folder(package).rglob(f"{beginning}*.[ot]tf"))}
            names = [name for name in files if not name.startswith(_WITHOUT_LETTERS)]
            for name in rng.permutation(sorted(names))[:4]:
                for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
                    yield split, letter, glyph(letter, files[name])


def glyph(character: str, font: Path) -> Image.Image:
    """Returns a character in black in the middle of a white picture."""
    picture = Image.new("RGB", (SIZE, SIZE), "white")
    place, drawn = (SIZE / 2, SIZE / 2), ImageFont.truetype(str(font), 44)
    ImageDraw.Draw(picture).text(place, character, font=drawn, fill="black", anchor="mm")
    return picture


ICON_FAMILIES = (
    "codicon",
    "elusiveicons",
    "fontawesome5-solid",
    "materialdesignicons6",
    "phosphor",
    "remixicon",
)


def icons(draw: int) -> Iterator[Picture]:
    """Yields icons of six sets. The class is the set that an icon belongs to: 45, 20 and 150 of each."""
    rng = np.random.default_rng(0)
    folder = package_folder("qtawesome") / "fonts"
    for family in ICON_FAMILIES:
        (font,) = folder.glob(f"{family}-*.ttf")
        (charmap,) = folder.glob(f"{family}-*charmap*.json")
        points = sorted({int(p, 16) for p in json.loads(charmap.read_text(encoding="utf-8")).values()})
        order = rng.permutation(points)
        if draw:
            order = np.random.default_rng(draw).permutation(order[215:])
        for place, point in enumerate(order[:215]):
            split = "train" if place < 45 else "val" if place < 65 else "test"
            yield split, family, glyph(chr(point), font)


def package_folder(package: str) -> Path:
    """Returns the folder of an installed package without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed: pip install -r benchmarks/peers/requirements.txt")
    return Path(next(iter(spec.submodule_search_locations)))


TASKS: dict[str, Callable[[Files, int], Iterator[Picture]]] = {
    "twemoji": lambda files, draw: emoji("twemoji", draw),
    "openmoji": lambda files, draw: emoji("openmoji", draw),
    "fashion_500": lambda files, draw: fashion(files, draw, [50] * 10, [20] * 10),
    "fashion_unbalanced": lambda files, draw: fashion(files, draw, UNBALANCED, [10] * 10),
    "mnist_10": mnist,
    "digits": lambda files, draw: digits(draw),
    "letters": lambda files, draw: letters(draw),
    "icons": lambda files, draw: icons(draw),
    "fashion_5000": lambda files, draw: fashion(files, draw, [500] * 10, [50] * 10),
}


def write(task: str, folder: Path, files: Files, draw: int) -> dict[str, int]:
    """Writes a task. Returns its number of rows by split."""
    counts = dict.fromkeys(SPLITS, 0)
    for split, label, picture in TASKS[task](files, draw):
        place = folder / split / label
        place.mkdir(parents=True, exist_ok=True)
        picture.save(place / f"{counts[split]:05d}.png")
        counts[split] += 1
    (folder / "task.json").write_text(json.dumps({"size": SIZE, "rows": counts}) + "\n", encoding="utf-8")
    return counts


def main() -> None:
    """Writes the tasks that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fashion", type=Path, required=True)
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--task", action="append", choices=list(TASKS))
    parser.add_argument("--draw", type=int, default=0)
    given = parser.parse_args()
    for task in given.task or TASKS:
        if not (given.folder / task / "task.json").exists():
            files = Files(given.fashion, given.mnist)
            print(task, write(task, given.folder / task, files, given.draw), flush=True)


if __name__ == "__main__":
    main()
