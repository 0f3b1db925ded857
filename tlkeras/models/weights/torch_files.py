"""Reads the tensors of a `.pth` file without torch and without trusting the file.

A `.pth` file is a pickle, and a pickle can call any function. This reader accepts only four harmless names
and refuses a file that uses others.
"""

import collections
import hashlib
import pickle
from io import BufferedReader
from pathlib import Path

import numpy as np

from tlkeras.errors import UserError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


def read_tensors(path: str | Path, sha256: str | None = None) -> dict[str, np.ndarray]:
    """Returns the tensors of a file that `torch.save` wrote in its format of before 2020.

    Args:
        path: Path of the file.
        sha256: Expected hexadecimal digest of the file, or None for any file.

    Returns:
        Arrays by name, float32 or int64.

    Raises:
        UserError: The digest differs, or the file contains other objects than tensors.
    """
    path = Path(path)
    if sha256 is not None:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != sha256:
            raise UserError(
                f"{path} is not the file that was published. Expected sha256 {sha256}. Received: {found}"
            )
    with path.open("rb") as file:
        try:
            return _read(file)
        except (pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not a file of tensors: {error}.") from error


class _Storage:
    """The numbers of tensors, which follow the pickle in the file."""

    def __init__(self, dtype: np.dtype, size: int):
        self.values = np.empty(size, dtype)


class _Tensor:
    """A view of a storage."""

    def __init__(self, storage, offset, shape, stride, *_):
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride

    def array(self) -> np.ndarray:
        """Returns the numbers as a new contiguous array."""
        values = self.storage.values
        steps = zip(self.shape, self.stride, strict=True)
        last = self.offset + sum((size - 1) * step for size, step in steps)
        if min((self.offset, *self.shape, *self.stride)) < 0 or last >= values.size:
            raise ValueError(f"a tensor of shape {self.shape} reaches beyond its storage")
        strides = [step * values.itemsize for step in self.stride]
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides)
        return np.ascontiguousarray(view)


class _TensorUnpickler(pickle.Unpickler):
    """Accepts OrderedDict, tensors and two kinds of storage, and refuses everything else."""

    _KNOWN = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
        ("torch", "FloatStorage"): "FloatStorage",
        ("torch", "LongStorage"): "LongStorage",
    }

    def __init__(self, file: BufferedReader):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module, name):
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return self._KNOWN[module, name]

    def persistent_load(self, pid):
        kind, storage_type, key, _, size, view = pid
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError(f"unsupported reference {kind!r}")
        return self.storages.setdefault(key, _Storage(_DTYPES[storage_type], size))


def _read(file: BufferedReader) -> dict[str, np.ndarray]:
    header = [_TensorUnpickler(file).load() for _ in range(3)]
    if header[:2] != [_MAGIC, _PROTOCOL]:
        raise ValueError("its header is not torch's")
    unpickler = _TensorUnpickler(file)
    tensors = unpickler.load()
    for key in _TensorUnpickler(file).load():
        values = unpickler.storages[key].values
        size = int.from_bytes(file.read(8), "little")
        if size != values.size or file.readinto(values.data.cast("B")) != values.nbytes:
            raise ValueError("it ends too early")
    return {name: tensor.array() for name, tensor in tensors.items()}
