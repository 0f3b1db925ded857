"""The kinds of files that hold rows: how they are called, and how they are found in folders."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tlkeras.data.image_header import READ_FORMATS, image_format
from tlkeras.data.sound_files import READ_SOUNDS


@dataclass(frozen=True)
class FileKind:
    """The files that hold rows of one kind.

    Attributes:
        plural: Word for them in messages.
        suffixes: Usual ends of their names. Such a file is one of them even if it is broken.
        others: Ends of the names of formats that are not read. A warning names such files, as users may
            expect to train on them.
        formats: Formats that are read, in words.
        is_one: Whether the first 16 bytes are those of such a file.
    """

    plural: str
    suffixes: tuple[str, ...]
    others: tuple[str, ...]
    formats: str
    is_one: Callable[[bytes], object]


IMAGES = FileKind(
    "images",
    (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    (".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".dng", ".nef", ".cr2", ".arw"),
    READ_FORMATS,
    image_format,
)
SOUNDS = FileKind(
    "sounds",
    (".wav", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff"),
    (".m4a", ".aac", ".wma", ".opus", ".amr", ".mid", ".webm", ".mp4"),
    READ_SOUNDS,
    lambda head: head[:4] in (b"fLaC", b"OggS") or (head[:4], head[8:12]) == (b"RIFF", b"WAVE"),
)
TEXTS = FileKind(
    ".txt files",
    (".txt",),
    (".md", ".pdf", ".doc", ".docx", ".odt", ".rtf", ".html", ".epub"),
    "texts (.txt)",
    lambda head: False,
)


def files_below(folder: Path, kind: FileKind, others: list[str] | None = None) -> list[str]:
    """Returns the files of one kind under `folder`, sorted by path.

    A file with a usual suffix is one of them, even if it is broken, so that it can be reported later. Other
    files are if their first bytes say so. Hidden files and folders are left out.

    Args:
        folder: Folder that is searched at any depth.
        kind: Kind of the files.
        others: List to which files in formats that are not read are appended.
    """
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(files):
            path = os.path.join(where, name)
            if name.startswith("."):
                continue
            if name.lower().endswith(kind.suffixes) or _begins_like(path, kind):
                found.append(path)
            elif others is not None and name.lower().endswith(kind.others):
                others.append(path)
    return found


def _begins_like(path: str, kind: FileKind) -> bool:
    try:
        with open(path, "rb") as file:
            return bool(kind.is_one(file.read(16)))
    except OSError:
        return False
