"""Files outside of a data set, such as those that a user wants predictions for."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.file_kinds import IMAGES, SOUNDS, FileKind, files_below
from tlkeras.data.reading import read_image
from tlkeras.errors import UserError

FILES_AT_ONCE = 32  # files that are read for one step of a model


def sound_files_in(paths: str | os.PathLike | Iterable[str | os.PathLike]) -> list[str]:
    """Returns the files in `paths` and the sounds below the folders in it; see `files_in`."""
    return files_in(paths, SOUNDS)


def files_in(paths: str | os.PathLike | Iterable[str | os.PathLike], kind: FileKind = IMAGES) -> list[str]:
    """Returns the files in `paths` and those of one kind below the folders in it, in this order.

    Raises:
        UserError: A path does not exist, or there is no file of this kind at all.
    """
    paths = _as_paths(paths)
    files: list[str] = []
    for path in paths:
        if path.is_dir():
            others: list[str] = []  # included, so that each is reported with the reason why it is unreadable
            files += sorted(files_below(path, kind, others) + others)
        elif path.exists():
            files.append(str(path))
        else:
            raise UserError(f"There is no such file or folder. Received: {path}")
    if not files:
        raise UserError(f"There are no {kind.plural} below {', '.join(map(str, paths))}.")
    return files


def _as_paths(paths: object) -> list[Path]:
    if isinstance(paths, str | os.PathLike) or not isinstance(paths, Iterable):
        paths = [paths]
    named: list[Any] = list(paths)
    for path in named:
        if not isinstance(path, str | os.PathLike):
            raise UserError(
                f"Files and folders must be given as one path or several. Received: {type(path).__name__} "
                f"{path!r}"
            )
    if not named:
        raise UserError("There is no file or folder to read: name at least one. Received: no path")
    return [Path(path) for path in named]


def readable_batches(
    files: list[str], config: DataConfig, batch_size: int
) -> Iterator[tuple[np.ndarray, list[str], list[tuple[str, str]]]]:
    """Yields images of the model's size with their names, and the unreadable files with the reasons.

    Args:
        files: Paths of the image files.
        config: Config of the domain with the settings of resizing; its `image_size` is resolved.
        batch_size: Number of files per batch.

    Yields:
        `(images uint8 (b, height, width, 3), names, [(name, reason), ...])`.
    """

    def read(file: str) -> np.ndarray | str:
        try:
            return read_image(file, config)
        except UserError as error:
            return str(error).removeprefix(file).strip()

    with ThreadPoolExecutor() as pool:
        for begin in range(0, len(files), batch_size):
            names = files[begin : begin + batch_size]
            found = list(zip(names, pool.map(read, names), strict=True))
            good = [(name, image) for name, image in found if not isinstance(image, str)]
            bad = [(name, reason) for name, reason in found if isinstance(reason, str)]
            images = np.stack([image for _, image in good]) if good else np.empty((0,))
            yield images, [name for name, _ in good], bad


def require_readable(names: list[str], skipped: list[tuple[str, str]]) -> None:
    """Raises `UserError` if no file could be read.

    Args:
        names: Files that could be read.
        skipped: Pairs `(path, reason)` of the other files.
    """
    if not names:
        raise UserError(f"None of {len(skipped)} files can be read. The first is {': '.join(skipped[0])}")
