"""Writes modules that turn pictures, sounds, texts and columns into inputs without tlkeras and TensorFlow."""

from collections.abc import Mapping

from tlkeras.data.input_shapes import Shape
from tlkeras.data.modalities.columns import FILE as COLUMNS
from tlkeras.data.modalities.columns import MISSING, UNKNOWN
from tlkeras.data.modalities.text import Text
from tlkeras.data.presence import FAINT
from tlkeras.data.reading import PixelSpec
from tlkeras.data.sound_files import LONGEST_SECONDS, SoundSpec
from tlkeras.data.tokenizer import FILE as TOKENIZER
from tlkeras.export.preprocess_file import preprocess_text

_READ_TEXT = '''"""Turns texts into the inputs of the models. It needs NumPy and tokenizers."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

LENGTH = {length}
NAMES = {names}

tokenizer = Tokenizer.from_file(str(Path(__file__).parent / "{folder}" / "{file}"))
tokenizer.no_padding()
tokenizer.enable_truncation(LENGTH)


def read_text(texts):
    """Returns the inputs of one row, int32 `(1, LENGTH)` by name.

    Args:
        texts: List with one text, or with the two texts of a pair.
    """
    tokens = tokenizer.encode(*texts)
    rows = {{"ids": tokens.ids, "mask": [1] * len(tokens.ids), "types": tokens.type_ids}}
    x = {{name: np.zeros((1, LENGTH), np.int32) for name in NAMES}}
    for name, part in x.items():
        part[0, : len(tokens.ids)] = rows[name]
    return x
'''


_READ_COLUMNS = '''"""Turns the values of columns into an input of the models. It needs NumPy."""

import json
from pathlib import Path

import numpy as np

MISSING = {missing}
UNKNOWN = {unknown}  # a category that no training row had

columns = json.loads((Path(__file__).parent / "{folder}" / "{file}").read_text("utf-8"))


def read_columns(row):
    """Returns the input of one row, float32 `(1, columns)`.

    Args:
        row: Dict from the name of each column to its value, None for a missing one. Further names are left
            out.

    Raises:
        ValueError: A column is left out, or holds no number where the training data have numbers.
    """
    for name in columns:
        if name not in row:
            raise ValueError(
                f"row needs a column {{name!r}}, with None for a missing value. "
                f"Received: {{', '.join(map(str, row)) or 'nothing'}}"
            )
    return np.array([[_value(name, column, row[name]) for name, column in columns.items()]], np.float32)


def _value(name, column, cell):
    text = str(cell).strip()
    if cell is None or text.lower() in MISSING or type(cell).__name__ == "NAType":  # pandas.NA
        return np.nan
    if column["kind"] == "number":
        return _number(name, cell)
    whole = text.removesuffix(".0")  # 3 and 3.0 are the same category
    text = whole if whole.lstrip("-").isdigit() else text
    return column["values"].index(text) if text in column["values"] else UNKNOWN


def _number(name, cell):
    try:
        number = float(cell)
    except (TypeError, ValueError):
        number = np.inf
    if abs(number) > float(np.finfo(np.float32).max):
        raise ValueError(f"The column {{name!r}} holds numbers. Received: {{str(cell)[:40]!r}}")
    return number
'''


_READ_SOUND = '''"""Turns sound files into an input of the models. It needs NumPy, SciPy and soundfile."""

import math

import numpy as np
import scipy.signal
import soundfile

RATE = {rate}  # samples per second
SAMPLES = {samples}  # of one input
LONGEST_SECONDS = {longest}
FAINT = {faint:g}  # samples of silence, because beside other inputs a sound of zeros is a missing one


def read_sound(path):
    """Returns the consecutive windows of a sound, float32 `(windows, SAMPLES)`.

    A sound that is shorter than one and a half windows has one: it is cut, or gets silence on both sides.

    Args:
        path: Path of a file (WAV, FLAC, OGG, MP3, AIFF).

    Raises:
        ValueError: The sound is empty, is longer than an hour, or holds a value that is not finite.
        soundfile.LibsndfileError: The file cannot be read.
    """
    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        if file.frames > LONGEST_SECONDS * rate:
            raise ValueError(f"{{path}} is longer than {{LONGEST_SECONDS}} seconds")
        samples = file.read(dtype="float32", always_2d=True)
    if not len(samples) or not np.isfinite(samples).all():
        raise ValueError(f"{{path}} has no samples, or samples that are not finite")
    mono = samples.mean(axis=1, dtype=np.float64)
    if rate != RATE:
        common = math.gcd(rate, RATE)
        mono = scipy.signal.resample_poly(mono, RATE // common, rate // common)
    windows = max(1, math.floor(len(mono) / SAMPLES + 0.5))
    x = np.zeros((windows, SAMPLES), np.float32)
    for number, row in enumerate(x):
        begin = max(0, min(number * SAMPLES, len(mono) - SAMPLES)) if number else 0
        part = mono[begin : begin + SAMPLES]
        before = (SAMPLES - len(part)) // 2
        row[before : before + len(part)] = part
        if not row.any():
            row[:] = FAINT
    return x
'''


def row_readers(
    folder: str,
    input_shape: Shape,
    spec: PixelSpec | None,
    files: Mapping[str, str],
    sound: SoundSpec | None,
) -> dict[str, str]:
    """Returns those of `preprocess.py`, `read_sound.py`, `read_text.py` and `read_columns.py` that a model
    needs, by name.

    Args:
        folder: Name of the folder, next to the modules, in which `files` lie.
        input_shape: Shape of one input of the model, or a dict of shapes.
        spec: How the picture of a row is read. None for rows without one.
        files: Text files by name that lie beside the model, such as a tokenizer.
        sound: Form of the samples of a sound. None for rows without one.
    """
    readers = {}
    if spec is not None:
        beside_others = isinstance(input_shape, Mapping)
        readers["preprocess.py"] = preprocess_text(spec, black=float(FAINT) if beside_others else 0)
    if sound is not None:
        readers["read_sound.py"] = _READ_SOUND.format(
            rate=sound.rate, samples=sound.samples, faint=FAINT, longest=LONGEST_SECONDS
        )
    if TOKENIZER in files:
        names = tuple(name for name in input_shape if name in Text.dtypes)
        readers["read_text.py"] = _READ_TEXT.format(
            length=input_shape["ids"][0], names=names, folder=folder, file=TOKENIZER
        )
    if COLUMNS in files:
        readers["read_columns.py"] = _READ_COLUMNS.format(
            missing=MISSING, unknown=UNKNOWN, folder=folder, file=COLUMNS
        )
    return readers
