"""Sounds: samples with the same rate and the same length."""

import functools
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from tlkeras.config.data import SOUND_CHANGES
from tlkeras.data.modalities.base import Modality
from tlkeras.data.shown_sounds import spectrograms, wav
from tlkeras.data.sound_arrays import sounds_in_array
from tlkeras.data.sound_files import (
    SoundSpec,
    UnreadableSound,
    facts_of_samples,
    read_windows,
    scan_sounds,
)
from tlkeras.data.sound_windows import all_windows, mean_by_owner
from tlkeras.data.text_column import TextColumn
from tlkeras.errors import UserError


class Sound(Modality):
    """Samples of one channel, float32 `(seconds * sample_rate,)`. Full scale is 1.

    Args:
        rate: Samples per second.
    """

    name = "sound"
    plural = "sounds"
    hub_name = "audio"
    values = "float32 samples of one channel, where 1 is full scale"
    augmentations = ("noise", "mixup", *SOUND_CHANGES)
    views_advice = "adaptation.strong_augment, e.g. time_mask=0.2, band_mask=0.2 and snr=10"
    explanation = "tlkeras.evaluation.explain_sounds:times_and_frequencies"

    def __init__(self, rate: int = 16_000):
        self.rate = rate

    def with_config(self, config):
        return _at_rate(config.sample_rate)

    def of_table(self, table, config):
        for split, rows in table.splits.items():
            if rows.kind not in ("files", "bytes", "vectors") or table.modality:
                raise UserError(
                    "data.seconds needs sounds: a folder, a CSV file with a column path, or arrays "
                    f"(n, samples). Received: {rows.kind} in {split} of {config.source}"
                )
        return replace(table, modality=self)

    def assumed_shape(self, config, default_size=None):
        return (SoundSpec.of(config).samples,) if config.seconds else (16_000,)

    def shape_of_rows(self, rows, config, default_size=None):
        return (SoundSpec.of(config).samples,)

    def fits(self, shape):
        return not isinstance(shape, dict) and len(shape) == 1

    def check_split(self, split, rows, train):
        pass  # all are cut or padded to one length

    def reader(self, rows, config):
        from tlkeras.data.reading import SoundReader

        return SoundReader(rows, config)

    def chosen(self, read: Any, augment, seed, epoch, indices):
        return read.window(indices, seed, epoch) if augment.window else read(indices)

    def windows(self, rows, config):
        return None if rows.kind == "vectors" else all_windows(rows, SoundSpec.of(config))

    def facts_of_rows(self, rows, config):
        found = facts_of_samples(rows.inputs, config.sample_rate) if rows.facts is None else rows.facts
        readable = found.readable
        if not readable.any():
            return {}
        facts, ids = found.take(readable), rows.ids[readable]
        named = {"silent": ids[facts["peak"] < _SILENT], "clipped": ids[facts["clipped"] >= _CLIPPED]}
        return {
            "seconds": {name: f"{f(facts['seconds']):.2f}" for name, f in _SUMMARY.items()},
            f"cut by data.seconds={config.seconds:g}": float((facts["seconds"] > config.seconds).mean()),
            "samples per second": {str(k): n for k, n in Counter(facts["rate"].tolist()).items()},
            "channels": {str(k): n for k, n in Counter(facts["channels"].tolist()).items()},
            **{name: _few(found) for name, found in named.items() if len(found)},
        }

    def augmented(self, x, augment, seed, epoch, indices):
        from tlkeras.data.sound_changes import changed_sounds

        if augment.unmixed.is_identity:
            return x
        return changed_sounds(x, augment, seed, epoch, indices)

    def scan(self, config, kept_in=None):
        return functools.partial(scan_sounds, kept_in=kept_in)

    def inputs_like_training(self, x, form, shape) -> np.ndarray:
        return sounds_in_array(x, "predict", shape[0])

    def input_files(self, paths):
        from tlkeras.data.files import sound_files_in

        return list(dict.fromkeys(sound_files_in(paths)))

    def file_batches(self, paths, config, batch_size):
        """Reads each file as consecutive windows. `combined` merges their answers."""
        spec = SoundSpec.of(config)
        for path in self.input_files(paths):
            try:
                windows = read_windows(path, spec)
            except UnreadableSound as error:
                yield np.empty((0,)), [], [(path, f"{error}. Received: an unreadable sound")]
                continue
            except OSError as error:
                yield np.empty((0,)), [], [(path, f"cannot be opened ({error.strerror or error})")]
                continue
            for begin in range(0, len(windows), batch_size):
                part = windows[begin : begin + batch_size]
                yield part, [path] * len(part), []

    def pictures(self, x):
        return spectrograms(np.asarray(x))

    def recordings(self, x):
        return [wav(samples, self.rate) for samples in np.asarray(x)]

    def combined(self, outputs, names):
        return mean_by_owner(outputs, names)


_SILENT = 1e-3  # the largest magnitude of a silent sound, 60 decibels below full scale
_CLIPPED = 10  # samples at full scale from which on a sound counts as clipped
_SUMMARY = {"min": np.min, "median": np.median, "max": np.max}


def _few(ids: TextColumn) -> str:
    return f"{len(ids)} ({', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''})"


@functools.cache
def _at_rate(rate: int) -> Sound:
    return Sound(rate)  # one object, so that two domains of one rate are of the same kind
