"""Features of many files: the pass over them is divided among all processes that compute the same."""

import hashlib
import json
from collections.abc import Callable, Iterator

import numpy as np

from tlkeras import messages
from tlkeras.config import CacheConfig
from tlkeras.data.fact_store import digest_of_files
from tlkeras.data.files import FILES_AT_ONCE
from tlkeras.data.input_shapes import shape_as_json
from tlkeras.evaluation.embedding import feature_model
from tlkeras.features import FeatureStore, unfinished
from tlkeras.features.identity import identity_of
from tlkeras.features.shared_pass import NotStored, SharedPass
from tlkeras.features.unfinished import LockedShard, UnfinishedEntry
from tlkeras.runs.saved_run import SavedRun

_FORMAT = 1
# Settings by which files become inputs, besides the shape of the inputs.
_READING = ("resize", "interpolation", "crop_fraction", "max_pixels", "seconds", "sample_rate")


def features_together(run: SavedRun, files: list[str], cache: CacheConfig) -> np.ndarray | None:
    """Returns the feature vectors of files, float32 `(n, d)`, with NaN for a file that cannot be read.

    They are an entry of the feature cache, which all processes with the same files and the same model write
    together. A process that dies leaves its finished shards.

    Args:
        run: Finished run.
        files: Paths.
        cache: Cache with the folder that the processes share.

    Returns:
        The features, or None where they cannot be shared: there are too few files to divide, a file is
        missing or was changed in the last two seconds, or the folder cannot be written to.
    """
    digest = digest_of_files(files) if len(files) > unfinished.BLOCK_ROWS else None
    if digest is None:
        return None
    model = feature_model(run.model)
    reading = [getattr(run.config.data, name) for name in _READING]
    parts = ["files", _FORMAT, identity_of(model), shape_as_json(run.input_shape), reading, digest]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    shape = (int(np.prod(model.output_shape[1:])),)
    facts = {"backbone": run.config.model.backbone, "data": _place(files), "split": "embed", "view": None}
    facts["extractor"] = "predict"
    entry = UnfinishedEntry(FeatureStore(cache.dir), key, len(files), shape, "float32", facts)
    outputs = lambda shards: _outputs(run, model, files, shape, shards)  # noqa: E731
    together = SharedPass(entry, "features of files", outputs, cache.memory_mb)
    try:
        found = together.stored() or together.complete()
    except NotStored as reason:
        messages.note(f"The pass is not shared. {entry.store.directory}: {reason}")
        return None
    return found.take(np.arange(len(files)))


def features_now(run: SavedRun, files: list[str]) -> tuple[np.ndarray, dict[str, str]]:
    """Returns the feature vectors of files without the cache, and the reasons why files cannot be read.

    Args:
        run: Finished run.
        files: Paths.

    Returns:
        Features, float32 `(n, d)` with NaN for a file that cannot be read; and the reasons by path.
    """
    model = feature_model(run.model)
    return _features(run, model, files, (int(np.prod(model.output_shape[1:])),))


def _outputs(run: SavedRun, model, files: list[str], shape, shards: Callable[[], Iterator[LockedShard]]):
    """Yields `(shard, first row, features)` of the files that are read at once."""
    for shard in shards():
        for _, begin, end in shard.blocks(FILES_AT_ONCE):
            yield shard, begin, _features(run, model, files[begin:end], shape)[0]


def _features(
    run: SavedRun, model, files: list[str], shape: tuple[int, ...]
) -> tuple[np.ndarray, dict[str, str]]:
    rows = np.full((len(files), *shape), np.nan, np.float32)
    outputs, names, reasons = [], [], {}
    for inputs, readable, unreadable in run.file_batches(files) if files else ():
        reasons.update(unreadable)
        if readable:
            outputs.append(model.predict_on_batch(inputs))
            names += readable
    if names:
        found, names = run.modality.combined(np.concatenate(outputs), names)
        found, names = iter(found.reshape(len(names), -1)), iter([*names, None])
        name = next(names)
        for row, file in enumerate(files):  # files that cannot be read are missing among the names
            if file == name:
                rows[row], name = next(found), next(names)
    return rows, reasons


def _place(files: list[str]) -> str:
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1:,} more"
