"""The convolutions of a TFLite file, read without TensorFlow Lite.

A TFLite file is a flatbuffer: tables whose fields are found by offsets. Every offset is checked by NumPy, so
that a damaged file ends in `ValueError`.
"""

import struct
from pathlib import Path

import numpy as np

_CONV_2D, _FLOAT32 = 3, 0  # numbers in TensorFlow's schema.fbs


def read_convolutions(file: Path) -> dict[str, np.ndarray]:
    """Returns the kernels and biases of all 2D convolutions, in the order of the graph.

    They have torch's axes and the names `conv_0.weight` `(out, in, h, w)`, `conv_0.bias` `(out,)`, ...

    Raises:
        ValueError: The file is no TFLite file, or a convolution is not of float32 numbers.
    """
    content = file.read_bytes()
    if content[4:8] != b"TFL3":
        raise ValueError("it is not a TFLite file")
    try:
        return _convolutions(_Table(content, struct.unpack_from("<I", content, 0)[0]))
    except (struct.error, IndexError) as error:
        raise ValueError(f"it is damaged ({error})") from error


class _Table:
    """A table of a flatbuffer, whose fields have numbers."""

    def __init__(self, content: bytes, at: int):
        self.content, self.at = content, at

    def _place(self, field: int) -> int | None:
        table = self.at - struct.unpack_from("<i", self.content, self.at)[0]
        size = struct.unpack_from("<H", self.content, table)[0]
        inside = 4 + 2 * field
        offset = struct.unpack_from("<H", self.content, table + inside)[0] if inside < size else 0
        return self.at + offset if offset else None

    def number(self, field: int, form: str) -> int:
        place = self._place(field)
        return 0 if place is None else struct.unpack_from(form, self.content, place)[0]

    def numbers(self, field: int, dtype: str) -> np.ndarray:
        """Returns a vector of numbers."""
        begin, count = self._vector(field)
        if begin + count * np.dtype(dtype).itemsize > len(self.content):
            raise IndexError("a vector ends behind the file")
        return np.frombuffer(self.content, dtype, count, begin) if count else np.zeros(0, dtype)

    def tables(self, field: int) -> list["_Table"]:
        """Returns a vector of tables."""
        begin, count = self._vector(field)
        if begin + 4 * count > len(self.content):
            raise IndexError("a vector ends behind the file")
        places = range(begin, begin + 4 * count, 4)
        return [_Table(self.content, p + struct.unpack_from("<I", self.content, p)[0]) for p in places]

    def _vector(self, field: int) -> tuple[int, int]:
        place = self._place(field)
        if place is None:
            return 0, 0
        place += struct.unpack_from("<I", self.content, place)[0]
        return place + 4, struct.unpack_from("<I", self.content, place)[0]


def _convolutions(model: _Table) -> dict[str, np.ndarray]:
    kinds = [max(code.number(0, "<b"), code.number(3, "<i")) for code in model.tables(1)]
    graph, buffers = model.tables(2)[0], model.tables(4)
    tensors, found = graph.tables(0), {}
    for operator in graph.tables(3):
        if kinds[operator.number(0, "<I")] != _CONV_2D:
            continue
        _, kernel, bias = (tensors[index] for index in operator.numbers(1, "<i4"))
        name = f"conv_{len(found) // 2}"
        found[f"{name}.weight"] = _array(kernel, buffers).transpose(0, 3, 1, 2)
        found[f"{name}.bias"] = _array(bias, buffers)
    return found


def _array(tensor: _Table, buffers: list[_Table]) -> np.ndarray:
    if tensor.number(1, "<b") != _FLOAT32:
        raise ValueError("its convolutions are not of float32 numbers")
    content = buffers[tensor.number(2, "<I")].numbers(0, "u1").tobytes()
    return np.frombuffer(content, "<f4").reshape(tensor.numbers(0, "<i4"))
