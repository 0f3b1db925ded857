"""Stores the newest K states of a training, each with a checksum in its file name."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras import messages
from tlkeras.run_dir.atomic import disk_errors, replacing

_NAME = re.compile(r"^step-(\d+)\.([0-9a-f]{32})\.\w+$")
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_CODES = {name: code for code, name in _DTYPES.items()}
_watchers: dict[Path, Callable[[], None]] = {}


@contextmanager
def watch_checkpoints(folder: Path, then: Callable[[], None]) -> Iterator[None]:
    """Inside, a function is called after each checkpoint that is saved somewhere below a folder."""
    _watchers[folder] = then
    try:
        yield
    finally:
        del _watchers[folder]


class CheckpointStore:
    """A folder of checkpoints named `step-<step>.<digest>.<suffix>`.

    The digest (BLAKE2b, 128 bits) is part of the name, so one rename publishes content and checksum
    together. Arrays are stored in the safetensors layout: a JSON header and raw bytes, without any code.
    Older checkpoints are removed only after the new one is on the disk.

    Args:
        directory: Folder of the checkpoints. It is created at the first save.
        keep: Number of the newest checkpoints to keep, at least 1.

    Example:
        >>> store = run_dir.checkpoints(0, "head", keep=2)
        >>> store.save_arrays({"dense/kernel": kernel}, {"epoch": 3}, step=120)
        >>> arrays, state = store.load()
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2):
        if keep < 1:
            raise ValueError(f"keep must be at least 1. Received: keep={keep}")
        self.directory = Path(directory)
        self.keep = keep

    def save(self, write: Callable[[Path], None], step: int, suffix: str = ".bin") -> Path:
        """Saves what `write(path)` writes under its checksum, and removes old checkpoints.

        Args:
            write: Function that receives a temporary path in the same folder and writes the file there.
            step: Position in the training, at least 0. Other checkpoints of this step or a later one are
                removed: they are damaged, or the training went back to an earlier step.
            suffix: Suffix of the file name.

        Returns:
            The path of the new checkpoint.

        Raises:
            RunError: The disk is full. Earlier checkpoints remain.
        """

        incoming = self.directory / f"incoming{suffix}"
        with replacing(incoming) as temporary:
            write(temporary)
        with disk_errors(incoming):
            digest = _digest([incoming.read_bytes()])
            target = self.directory / f"step-{step:010d}.{digest}{suffix}"
            os.replace(incoming, target)
        self._drop_old(target, step)
        return target

    def save_arrays(
        self, arrays: dict[str, np.ndarray], state: dict[str, Any] | None = None, *, step: int
    ) -> Path:
        """Saves named arrays and a JSON state. See `save`.

        Args:
            arrays: Arrays by name, usually the path of the variable. They are floats (including bfloat16),
                integers or booleans of any shape.
            state: Values that JSON can hold. Floats are restored bit for bit, including infinities and NaN.
            step: Position in the training, at least 0.
        """
        chunks = _pack(arrays, state or {})
        target = self.directory / f"step-{step:010d}.{_digest(chunks)}.safetensors"
        with replacing(target) as temporary, open(temporary, "wb", buffering=0) as file:
            for chunk in chunks:
                _write_all(file, chunk)
        self._drop_old(target, step)
        for folder, then in _watchers.items():
            if target.is_relative_to(folder):
                then()
        return target

    def load(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Returns `(arrays, state)` of the newest undamaged checkpoint of `save_arrays`, or None."""
        found = self._newest(read=lambda path: np.fromfile(path, np.uint8))
        return _unpack(found[1]) if found else None

    def state(self) -> dict[str, Any] | None:
        """Returns the JSON state of the newest checkpoint of `save_arrays`, or None.

        Only the header is read, so this is quick for arrays of any size. The checksum is not verified.

        Raises:
            ValueError: The file is damaged.
        """
        for _, path in self._all()[:1]:
            with disk_errors(path), open(path, "rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            return json.loads(header["__metadata__"]["state"])
        return None

    def steps(self) -> list[int]:
        """Returns the steps that have a checkpoint, newest first, without reading the files."""
        return [step for step, _ in self._all()]

    def clear(self) -> None:
        """Removes all checkpoints, for example those of a finished stage."""
        for _, path in self._all():
            path.unlink(missing_ok=True)

    def _drop_old(self, newest: Path, step: int) -> None:
        others = [(at, path) for at, path in self._all() if path != newest]
        past = [path for at, path in others if at < step]
        for path in [path for at, path in others if at >= step] + past[self.keep - 1 :]:
            path.unlink(missing_ok=True)

    def _all(self) -> list[tuple[int, Path]]:
        if not self.directory.is_dir():
            return []
        matches = ((_NAME.match(path.name), path) for path in self.directory.iterdir())
        found = [(int(match[1]), path) for match, path in matches if match]
        return sorted(found, key=lambda item: (item[0], item[1].stat().st_mtime_ns), reverse=True)

    def _newest(self, read: Callable[[Path], Any]) -> tuple[Path, Any] | None:
        for _, path in self._all():
            with disk_errors(path):
                content = read(path)
            match = _NAME.match(path.name)
            if match and _digest([content]) == match[2]:
                return path, content
            messages.warn(f"The checkpoint {path} is damaged (wrong checksum); the previous one is used.")
        return None


def _digest(chunks: list) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _write_all(file, chunk: bytes | memoryview) -> None:
    # An unbuffered write may write only a part, at most 2 GiB at a time on Linux.
    view = memoryview(chunk)
    while len(view):
        view = view[file.write(view) :]


def _pack(arrays: dict[str, np.ndarray], state: dict[str, Any]) -> list[bytes | memoryview]:
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype.name not in _CODES:
            raise ValueError(f"A checkpoint holds numbers. Received: {name}, dtype={array.dtype}")
    # The widest types come first, so that every array starts at a multiple of its item size.
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"state": json.dumps(state)}}
    chunks: list[bytes | memoryview] = []
    offset = 0
    for name in names:
        array = np.ascontiguousarray(arrays[name]).reshape(-1)
        end = offset + array.nbytes
        shape = list(arrays[name].shape)
        code = _CODES[array.dtype.name]
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [offset, end]}
        chunks.append(array.view(np.uint8).data)
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little") + text, *chunks]


def _unpack(content: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8:start].tobytes())
    state = json.loads(header.pop("__metadata__")["state"])
    arrays = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        raw = content[start + first : start + end]
        arrays[name] = raw.view(_numpy_dtype(_DTYPES[entry["dtype"]])).reshape(entry["shape"])
    return arrays, state


def _numpy_dtype(name: str) -> np.dtype:
    if name == "bfloat16":
        import ml_dtypes  # comes with Keras

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)
