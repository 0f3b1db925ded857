"""Writes `preprocess.py`, which reads pictures without tlkeras and TensorFlow."""

import importlib.util
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tlkeras.data import preprocess
from tlkeras.data.reading import PixelSpec


def preprocess_text(spec: PixelSpec, black: float = 0) -> str:
    """Returns the text of `preprocess.py`: the reader module of `predict` with the settings of a run.

    Args:
        spec: How a picture is resized.
        black: Value of all pixels of a black picture.
    """
    text = Path(preprocess.__file__).read_text(encoding="utf-8")
    for name, value in {"SETTINGS": f"{spec.settings}", "BLACK": f"{black:g}"}.items():
        text, found = re.subn(rf"^{name} = [^#\n]*[^#\s]", f"{name} = {value}", text, flags=re.MULTILINE)
        assert found == 1, f"preprocess.py has one line of {name}"
    return text


def reader_of(text: str) -> Callable[[str | bytes], np.ndarray]:
    """Returns `read_picture` of a written `preprocess.py`, loaded in the same way as by its users."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "preprocess.py")
        file.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location("preprocess", file)
        assert spec and spec.loader, "every file that ends with .py has a loader"
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module.read_picture
