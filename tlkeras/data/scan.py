"""Facts about encoded images: size, dimensions, digest, and why an image cannot be read.

One pass over the files serves the check before training, the fingerprint and `tlkeras inspect`.
"""

import hashlib
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.config.data import MAX_PIXELS
from tlkeras.data.decode import UnreadableImage, decode, decode_plain
from tlkeras.data.fact_store import FactStore
from tlkeras.data.facts import DIGEST, NO_DIGEST, Facts, facts_of
from tlkeras.data.image_header import NO_IMAGE, defect, sniff, too_large

# With more files than this, only their ends enter the digest, so that a start does not read everything.
FULL_DIGEST_FILES = 100_000
_END = 4096
# Facts about one encoded image. Width and height are 0 if they are not known.
IMAGE_FACTS = np.dtype([("size", np.int64), ("digest", DIGEST), ("width", np.int32), ("height", np.int32)])


def contents(item) -> bytes:
    """Returns the bytes of an encoded image from its path, from an object with `read()`, or from bytes."""
    if isinstance(item, bytes):
        return item
    if not isinstance(item, str):
        return item.read()
    with open(item, "rb") as file:
        return file.read()


def scan(
    inputs: Any, *, full: bool = False, max_pixels: int = MAX_PIXELS, kept_in: Path | None = None
) -> Facts:
    """Reads every file or encoded image once, in parallel.

    Args:
        inputs: Paths (`str`), contents (`bytes`), or objects whose `read()` returns the content.
        full: Whether every image is decoded, regardless of their number and of what is known. Otherwise, if
            there are more than `FULL_DIGEST_FILES`, only the size and the ends of each file are checked.
        max_pixels: Largest number of pixels of a readable image; see `DataConfig`.
        kept_in: Cache directory with the facts that earlier processes found, or None.

    Returns:
        The facts of all inputs with the columns `IMAGE_FACTS`, in order.
    """
    ends_only = len(inputs) > FULL_DIGEST_FILES and not full
    store = None
    if kept_in is not None:
        way = f"{'ends' if ends_only else 'all'} {max_pixels}"
        store = FactStore(kept_in, "images", way, anew=full)
    return facts_of(inputs, lambda item: _scan_one(item, ends_only, max_pixels), IMAGE_FACTS, store)


def _scan_one(item, ends_only: bool, max_pixels: int) -> tuple[tuple, str]:
    """Returns the facts about an image, and the reason why it cannot be read, or an empty text."""
    try:
        if ends_only and isinstance(item, str):
            return _scan_ends(item, max_pixels)
        content = contents(item)
        if ends_only and hasattr(item, "identity"):
            return _facts_of_ends(len(content), content[:_END], content[-_END:], max_pixels)
    except OSError as error:
        return (0, NO_DIGEST, 0, 0), f"cannot be opened ({error.strerror or error})"
    size, digest = len(content), hashlib.sha256(content).digest()
    if not content:
        return (0, digest, 0, 0), "is empty (0 bytes)"
    header = sniff(content)
    reason = defect(content, header, max_pixels) if header.plain else ""
    if reason:
        return (size, digest, header.width, header.height), reason
    # The structure does not show all defects, so the image is decoded as in training (a JPEG at size 1/8).
    try:
        pixels = decode_plain(content, ratio=8) if header.plain else decode(content, max_pixels=max_pixels)
        height, width = pixels.shape[:2]
    except UnreadableImage as error:
        return (size, digest, header.width, header.height), str(error)
    return (size, digest, header.width or width, header.height or height), ""


def _scan_ends(path: str, max_pixels: int) -> tuple[tuple, str]:
    """Reads only size and ends of a file. This finds empty files, other formats and truncated files."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(_END)
        file.seek(max(0, size - _END))
        tail = file.read()
    return _facts_of_ends(size, head, tail, max_pixels)


def _facts_of_ends(size: int, head: bytes, tail: bytes, max_pixels: int) -> tuple[tuple, str]:
    digest = hashlib.sha256(struct.pack(">Q", size) + head + tail).digest()
    header = sniff(head)
    if not head:
        return (0, digest, 0, 0), "is empty (0 bytes)"
    if not header.format:
        return (size, digest, 0, 0), NO_IMAGE
    if reason := too_large(header.width, header.height, max_pixels):
        return (size, digest, header.width, header.height), reason
    cut = {"jpeg": b"\xff\xd9", "png": b"IEND"}.get(header.format, b"") not in tail
    return (size, digest, header.width, header.height), "is truncated (no end marker)" * cut
