"""Facts about encoded images: size, dimensions, digest, and why an image cannot be read.

One pass over the files serves the check before training, the fingerprint and `tlkeras inspect`.
"""

import functools
import hashlib
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tlkeras.config.data import MAX_PIXELS
from tlkeras.data.decode import UnreadableImage, decode, decode_plain
from tlkeras.data.image_header import NO_IMAGE, defect, sniff, too_large

# With more files than this, only their ends enter the digest, so that a start does not read everything.
FULL_DIGEST_FILES = 100_000
# The number of files that one call of a thread checks.
_BLOCK = 32


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Facts about one encoded image. `reason` says why it cannot be read, or is empty if it can."""

    size: int
    digest: bytes
    width: int = 0
    height: int = 0
    reason: str = ""


def contents(item) -> bytes:
    """Returns the bytes of an encoded image from its path, from an object with `read()`, or from bytes."""
    if isinstance(item, bytes):
        return item
    if not isinstance(item, str):
        return item.read()
    with open(item, "rb") as file:
        return file.read()


def scan(inputs, *, full: bool = False, max_pixels: int = MAX_PIXELS) -> list[FileFacts]:
    """Reads every file or encoded image once, in parallel.

    Args:
        inputs: Paths (`str`), contents (`bytes`), or objects whose `read()` returns the content.
        full: Whether every image is decoded, regardless of their number. Otherwise, if there are more than
            `FULL_DIGEST_FILES`, only the size and the ends of each file are checked.
        max_pixels: Largest number of pixels of a readable image; see `DataConfig`.

    Returns:
        One `FileFacts` per input, in order.
    """
    ends_only = len(inputs) > FULL_DIGEST_FILES and not full
    # a waiting call of a thread pool takes 1.5 kB, so a million files are passed in blocks
    look = functools.partial(_scan_one, ends_only=ends_only, max_pixels=max_pixels)
    blocks = (inputs[begin : begin + _BLOCK] for begin in range(0, len(inputs), _BLOCK))
    with ThreadPoolExecutor(max_workers=min(16, 2 * (os.cpu_count() or 1))) as pool:
        scanned = pool.map(lambda block: [look(item) for item in block], blocks)
        return [facts for block in scanned for facts in block]


def _scan_one(item, ends_only: bool, max_pixels: int) -> FileFacts:
    try:
        if ends_only and isinstance(item, str):
            return _scan_ends(item, max_pixels)
        content = contents(item)
    except OSError as error:
        return FileFacts(0, b"\0" * 32, reason=f"cannot be opened ({error.strerror or error})")
    size, digest = len(content), hashlib.sha256(content).digest()
    if not content:
        return FileFacts(0, digest, reason="is empty (0 bytes)")
    header = sniff(content)
    reason = defect(content, header, max_pixels) if header.plain else ""
    if reason:
        return FileFacts(size, digest, header.width, header.height, reason)
    # The structure does not show all defects, so the image is decoded as in training (a JPEG at size 1/8).
    try:
        pixels = decode_plain(content, ratio=8) if header.plain else decode(content, max_pixels=max_pixels)
        height, width = pixels.shape[:2]
    except UnreadableImage as error:
        return FileFacts(size, digest, header.width, header.height, str(error))
    return FileFacts(size, digest, header.width or width, header.height or height)


def _scan_ends(path: str, max_pixels: int) -> FileFacts:
    """Reads only size and ends of a file. This finds empty files, other formats and truncated files."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(4096)
        file.seek(max(0, size - 4096))
        tail = file.read()
    digest = hashlib.sha256(struct.pack(">Q", size) + head + tail).digest()
    header = sniff(head)
    if not head:
        return FileFacts(0, digest, reason="is empty (0 bytes)")
    if not header.format:
        return FileFacts(size, digest, reason=NO_IMAGE)
    if reason := too_large(header.width, header.height, max_pixels):
        return FileFacts(size, digest, header.width, header.height, reason)
    cut = {"jpeg": b"\xff\xd9", "png": b"IEND"}.get(header.format, b"") not in tail
    return FileFacts(size, digest, header.width, header.height, "is truncated (no end marker)" * cut)
