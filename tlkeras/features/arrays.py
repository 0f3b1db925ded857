"""Random access to rows of features, in memory or in mapped files."""

import mmap
import threading
import weakref

import numpy as np

from tlkeras.backend import compat
from tlkeras.data.feature_batches import Features
from tlkeras.features.store import EntryInfo, FeatureStore, numpy_dtype

# After this many bytes are read from mapped files, their pages are released.
_RESIDENT_BYTES = 32 * 2**20

_lock = threading.Lock()
_in_memory: "weakref.WeakValueDictionary[tuple[str, str], ArrayFeatures]" = weakref.WeakValueDictionary()


class ArrayFeatures(Features):
    """Features in memory.

    Args:
        array: Features of all rows, `(rows, ...)`.
    """

    def __init__(self, array: np.ndarray):
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Returns the rows at `indices`."""
        return self.array[indices]


class MappedFeatures(Features):
    """Features in the files of an entry, which are mapped into memory and read on demand.

    Pages that were read count as memory of the process until they are released, after every 32 MiB. The
    operating system may keep them in its own cache.

    Args:
        store: Store that contains the entry.
        info: Description of the entry.
    """

    def __init__(self, store: FeatureStore, info: EntryInfo):
        self.shape, self.dtype = (info.rows, *info.shape), numpy_dtype(info.dtype)
        self._row_bytes, self._shard_rows = info.row_bytes, info.shard_rows
        self._maps = [np.memmap(path, np.uint8, mode="r") for path in store.shards(info)]
        self._rows = [m.view(self.dtype).reshape(-1, *info.shape) for m in self._maps]
        for mapped in self._maps:
            _advise(mapped, "MADV_RANDOM")
        self._taken = 0
        self._guard = threading.Lock()

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Returns the rows at `indices`."""
        result = np.empty((len(indices), *self.shape[1:]), self.dtype)
        step = max(_RESIDENT_BYTES // self._row_bytes, 1)
        for begin in range(0, len(indices), step):
            self._read(indices[begin : begin + step], result[begin : begin + step])
        return result

    def _read(self, indices: np.ndarray, result: np.ndarray) -> None:
        shards, places = np.divmod(indices, self._shard_rows)
        for shard in np.unique(shards):
            chosen = shards == shard
            result[chosen] = self._rows[shard][places[chosen]]
        with self._guard:
            self._taken += len(indices) * self._row_bytes
            if self._taken < _RESIDENT_BYTES:
                return
            self._taken = 0
        for mapped in self._maps:
            _advise(mapped, "MADV_DONTNEED")


def open_entry(store: FeatureStore, info: EntryInfo, memory_mb: int) -> Features:
    """Returns the features of an entry, in memory if they fit into the budget of the process.

    Args:
        store: Store that contains the entry.
        info: Description of the entry, whose checksums have been verified.
        memory_mb: Memory budget for all features of the process, in MiB.
    """
    name = (str(store.directory), info.key)
    with _lock:
        known = _in_memory.get(name)
        if known is not None:
            return known
        if not fits_memory(info.nbytes, memory_mb):
            return MappedFeatures(store, info)
        return _in_memory.setdefault(name, ArrayFeatures(_content(store, info)))


def fits_memory(nbytes: int, memory_mb: int) -> bool:
    """Whether this many more bytes of features fit into the budget of the process."""
    taken = sum(features.array.nbytes for features in list(_in_memory.values()))
    return taken + nbytes <= memory_mb * 2**20


def _content(store: FeatureStore, info: EntryInfo) -> np.ndarray:
    array = np.empty((info.rows, *info.shape), numpy_dtype(info.dtype))
    for i, path in enumerate(store.shards(info)):
        part = array[i * info.shard_rows :][: info.shard_rows]
        with open(path, "rb", buffering=0) as file:
            _read_into(file, part.reshape(-1).view(np.uint8).data)
    return array


def _read_into(file, view: memoryview) -> None:
    while len(view):
        count = file.readinto(view)
        if not count:
            raise OSError("a file of features is shorter than its entry says")
        view = view[count:]


def _advise(mapped: np.memmap, advice: str) -> None:
    pages = compat.memory_map_of(mapped)
    if hasattr(mmap, advice) and pages is not None:
        pages.madvise(getattr(mmap, advice))
