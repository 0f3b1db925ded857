"""Writes `read_text.py`, which turns texts into the inputs of a model without tlkeras and TensorFlow."""

from collections.abc import Mapping

from tlkeras.data.input_shapes import Shape
from tlkeras.data.modalities.text import Text
from tlkeras.data.tokenizer import FILE as TOKENIZER

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


def read_text_file(folder: str, input_shape: Shape, files: Mapping[str, str]) -> str | None:
    """Returns the content of `read_text.py`, which turns texts into inputs. None for other inputs.

    Args:
        folder: Name of the folder, next to the file, whose tokenizer it reads.
        input_shape: Shape of one input of the model.
        files: Text files by name that lie beside the model.
    """
    if TOKENIZER not in files:
        return None
    names = tuple(name for name in input_shape if name in Text.dtypes)
    return _READ_TEXT.format(length=input_shape["ids"][0], names=names, folder=folder, file=TOKENIZER)
