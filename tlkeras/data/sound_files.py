"""Decodes sound files to samples with the same rate."""

import contextlib
import functools
import hashlib
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.fact_store import FactStore
from tlkeras.data.facts import DIGEST, NO_DIGEST, Facts, facts_of
from tlkeras.data.scan import contents
from tlkeras.errors import UserError, install
from tlkeras.lazy import LateModule

scipy = LateModule("scipy")

READ_SOUNDS = "WAV, FLAC, OGG, MP3 and AIFF"
NO_SOUND = f"is not a sound of a readable format ({READ_SOUNDS})"
LONGEST_SECONDS = 3600  # a small file can hold days of silence
_RATES = (1_000, 400_000)
_FULL_SCALE = 32768  # of 16-bit samples
_NEAR_FULL_SCALE = 0.999  # samples above it are clipped
_RESERVOIR = 4608  # samples before a place in an MP3 file whose bits its decoder needs, and leaves out
_TAPS = 10  # half the length of `resample_poly`'s filter, in samples of the lower rate


class UnreadableSound(Exception):
    """A sound cannot be decoded. The message continues a sentence that begins with the sound's name."""


@dataclass(frozen=True)
class SoundSpec:
    """The form of the samples that a model takes. Equal specs give equal samples.

    Attributes:
        rate: Samples per second.
        samples: Number of samples of one input.
    """

    rate: int
    samples: int

    @classmethod
    def of(cls, config: DataConfig) -> "SoundSpec":
        """Returns the spec for the config of a domain in which `seconds` is set."""
        return cls(config.sample_rate, round(config.seconds * config.sample_rate))

    @classmethod
    def of_files(cls, config: DataConfig) -> "SoundSpec | None":
        """Returns the spec for the config of a domain, or None if its files are no sounds."""
        return None if config.seconds is None else cls.of(config)

    def fitted(self, samples: np.ndarray) -> np.ndarray:
        """Returns samples `(..., n)` as `(..., self.samples)`; see the function `fitted`."""
        return fitted(samples, self.samples)

    def windows(self, samples: np.ndarray) -> np.ndarray:
        """Returns samples `(n,)` as consecutive windows, `(k, self.samples)`.

        The last window ends with the sound. A rest that is shorter than half a window is left out.
        """
        return np.stack([self.fitted(samples[begin:]) for begin in self.begins(len(samples))])

    def begins(self, length: int) -> list[int]:
        """Returns where the windows of a sound with this number of samples begin; see `windows`."""
        count = max(1, math.floor(length / self.samples + 0.5))
        return [max(0, min(k * self.samples, length - self.samples)) if k else 0 for k in range(count)]


@dataclass(frozen=True)
class SoundWindow:
    """A window of a sound in a file.

    Attributes:
        item: Path of the file, or its content as bytes.
        begin: First sample of the window, at the rate of the spec with which it is read.
    """

    item: Any
    begin: int


def fitted(samples: np.ndarray, length: int) -> np.ndarray:
    """Returns samples `(..., n)` cut at the end, or with as much silence before as after them."""
    cut = samples[..., :length]
    missing = length - cut.shape[-1]
    around = (missing // 2, missing - missing // 2)
    return np.pad(cut, [(0, 0)] * (cut.ndim - 1) + [around]) if missing else cut


# Facts about one sound: the duration in seconds, the samples per second and the channels of the file, the
# largest magnitude of a sample, and the number of samples at full scale. Full scale is 1.
SOUND_FACTS = np.dtype(
    [("size", np.int64), ("digest", DIGEST), ("seconds", np.float64), ("rate", np.int32),
     ("channels", np.int32), ("peak", np.float64), ("clipped", np.int64)]
)  # fmt: skip


def read_pieces(item, spec: SoundSpec, begins: Iterable[int]) -> np.ndarray:
    """Returns windows of one sound, which is opened once, float32 `(k, spec.samples)`.

    Only the parts that the windows need are decoded. Of a file on a disk, only these are read.

    Args:
        item: Path of a file, or the content of a file as bytes.
        spec: Form of the samples.
        begins: First sample of each window at the rate of the spec.

    Raises:
        UnreadableSound: The sound cannot be read.
        OSError: The file cannot be opened.
    """
    found = []
    with _opened(item) as file:
        for begin in begins:
            frame, before = _first_frame(begin, file.samplerate, spec.rate)
            samples = _samples(file, _needed(spec, file.samplerate, begin), frame)
            found.append(spec.fitted(_resampled(samples, file.samplerate, spec.rate)[before:]))
    return np.stack(found)


def read_windows(item, spec: SoundSpec) -> np.ndarray:
    """Returns a whole sound in windows, float32 `(k, spec.samples)`; see `SoundSpec.windows`.

    Args:
        item: Path of a file, or the content of a file as bytes.
        spec: Form of the samples.

    Raises:
        UnreadableSound: The sound cannot be read.
        OSError: The file cannot be opened.
    """
    return spec.windows(_resampled(*_decoded(item), spec.rate))


def scan_sounds(inputs: Any, *, full: bool = False, kept_in: Path | None = None) -> Facts:
    """Decodes every sound once, in parallel, and returns the facts about the sounds, in their order.

    Args:
        inputs: Paths (`str`), or contents (`bytes`).
        full: Whether files are decoded again that were decoded before.
        kept_in: Cache directory with the facts that earlier processes found, or None.

    Returns:
        The facts of all inputs with the columns `SOUND_FACTS`.
    """
    soundfile()  # so that a missing package is one error, not one per file
    store = None if kept_in is None else FactStore(kept_in, "sounds", "all", anew=full)
    return facts_of(inputs, _scan_one, SOUND_FACTS, store)


def facts_of_samples(samples: np.ndarray, rate: int) -> Facts:
    """Returns the facts about sounds in an array `(n, samples)`, int16 or floats with full scale 1."""
    found = [_facts(row[:, None], rate, row.nbytes, NO_DIGEST) for row in map(as_floats, samples)]
    return Facts(np.array(found, SOUND_FACTS))


def as_floats(samples: np.ndarray) -> np.ndarray:
    """Returns samples as float32 with full scale 1. int16 values are divided by 32,768."""
    return samples.astype(np.float32) / np.float32(_FULL_SCALE if samples.dtype == np.int16 else 1)


@functools.cache
def soundfile():
    """Returns the module `soundfile`. Raises `UserError` if it cannot be imported."""
    try:
        import soundfile as module
    except (ImportError, OSError) as error:
        raise UserError(
            f"Sound files need the package soundfile: {install('sound')}. Received: {error}"
        ) from error
    return module


def _scan_one(item) -> tuple[tuple, str]:
    """Returns the facts about a sound, and the reason why it cannot be read, or an empty text."""
    try:
        content = contents(item)
    except OSError as error:
        return (0, NO_DIGEST, 0, 0, 0, 0, 0), f"cannot be opened ({error.strerror or error})"
    digest = hashlib.sha256(content).digest()
    try:
        samples, rate = _decoded(content)
    except UnreadableSound as error:
        return (len(content), digest, 0, 0, 0, 0, 0), str(error)
    return _facts(samples, rate, len(content), digest), ""


def _facts(samples: np.ndarray, rate: int, size: int, digest: bytes) -> tuple:
    heights = np.abs(samples)
    clipped = int((heights >= _NEAR_FULL_SCALE).sum())
    return size, digest, len(samples) / rate, rate, samples.shape[1], float(heights.max()), clipped


def _decoded(item) -> tuple[np.ndarray, int]:
    """Returns all samples of a sound, float32 `(n, channels)`, and their rate."""
    with _opened(item) as file:
        samples = _samples(file)
        if len(samples) < file.frames:
            raise UnreadableSound(f"is truncated ({len(samples)} of {file.frames} samples)")
        return samples, file.samplerate


@contextlib.contextmanager
def _opened(item) -> Iterator[Any]:
    """Opens a sound and turns the errors of its decoder into `UnreadableSound`."""
    module = soundfile()
    with open(item, "rb") if isinstance(item, str) else io.BytesIO(contents(item)) as stream:
        head = stream.read(4)
        if not head:
            raise UnreadableSound("is empty (0 bytes)")
        stream.seek(0)
        try:
            with module.SoundFile(stream) as file:
                _check_header(file.samplerate, file.frames)
                yield file
        except module.LibsndfileError as error:
            known = head in (b"RIFF", b"fLaC", b"OggS", b"FORM") or head[:3] == b"ID3"
            raise UnreadableSound(
                f"is damaged or truncated ({error.error_string})" if known else NO_SOUND
            ) from None
        except (MemoryError, RuntimeError, TypeError, ValueError) as error:
            raise UnreadableSound(f"is damaged or truncated ({type(error).__name__})") from None


def _samples(file, count: int = -1, frame: int = 0) -> np.ndarray:
    """Returns samples of an opened sound from a frame on, float32 `(n, channels)`. -1 means all."""
    before = min(frame, _RESERVOIR) if file.format in ("MP3", "MPEG") else 0
    if frame or file.tell():
        file.seek(frame - before)
    samples = file.read(count + before if count >= 0 else -1, dtype="float32", always_2d=True)[before:]
    if not len(samples):
        raise UnreadableSound("holds no samples")
    if not np.isfinite(samples).all():
        raise UnreadableSound("holds a sample that is not a finite number")
    return samples


def _check_header(rate: int, length: int) -> None:
    if not _RATES[0] <= rate <= _RATES[1]:
        raise UnreadableSound(
            f"has {rate} samples per second, but only {_RATES[0]} to {_RATES[1]} can be read"
        )
    if length > LONGEST_SECONDS * rate:
        raise UnreadableSound(f"lasts {length / rate:.0f} seconds, but at most {LONGEST_SECONDS} can be read")


def _first_frame(begin: int, rate: int, wanted: int) -> tuple[int, int]:
    """Returns the frame of a file from which a window at another rate can be computed, and how many samples
    at that rate come before the window.

    It stands where a sample of both rates falls on the same time, so that the window has the samples that it
    has in the whole sound.
    """
    if rate == wanted:
        return begin, 0
    common = math.gcd(rate, wanted)
    margin = math.ceil((_TAPS + 2) * max(1, wanted / rate))
    steps = max(0, begin - margin) // (wanted // common)
    return steps * (rate // common), begin - steps * (wanted // common)


def _needed(spec: SoundSpec, rate: int, begin: int) -> int:
    """Returns the number of samples at `rate` that determine the window of a spec."""
    samples = spec.samples + _first_frame(begin, rate, spec.rate)[1]
    return math.ceil(samples * rate / spec.rate) + math.ceil((_TAPS + 2) * max(1, rate / spec.rate)) + 2


def _resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Returns the mean of the channels of samples `(n, channels)` at another rate, float32 `(m,)`."""
    mono = samples.mean(axis=1, dtype=np.float64)
    if rate != wanted:
        common = math.gcd(rate, wanted)
        mono = scipy.signal.resample_poly(mono, wanted // common, rate // common)
    return mono.astype(np.float32)
