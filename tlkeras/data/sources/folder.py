"""Images, sounds or texts in folders named after their classes."""

import functools
import os
from pathlib import Path

from tlkeras import messages
from tlkeras.config.data import DataConfig
from tlkeras.data.file_kinds import IMAGES, SOUNDS, TEXTS, FileKind, files_below
from tlkeras.data.rows import Rows
from tlkeras.data.sources.base import Source, Table
from tlkeras.data.text_column import TextColumnBuilder
from tlkeras.errors import UserError, nearest

_NAMED = 5
_SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "validation", "valid"), "test": ("test",)}


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Reads `DIR/train/CLASS/*` with optional `val` and `test`, or `DIR/CLASS/*`.

    The files are images, or sounds if `data.seconds` is given. If a folder contains such files and no class
    folders, its rows have no labels. A warning names files in formats that are not read.
    """
    return table_of_folder(argument, config, IMAGES if config.seconds is None else SOUNDS)


def table_of_folder(argument: str, config: DataConfig, kind: FileKind) -> Table:
    """Returns a table of the files of one kind in a folder, which are in folders named after their classes.

    Args:
        argument: Path of the folder.
        config: Config of the domain.
        kind: Kind of the files.

    Raises:
        UserError: There is no such folder, it holds no such files, or a split has a class that train lacks.
    """
    root = Path(argument).expanduser()
    if not argument or not root.is_dir():
        raise UserError(f"data.source: no such folder{_why_not(root)} Received: {str(root)!r}")
    table = _table(root, config, kind)
    if not any(map(len, table.splits.values())):
        hint = ""
        if kind is IMAGES:
            hint = " It holds sounds: set data.seconds." if files_below(root, SOUNDS) else ""
            hint = hint or (" It holds texts: text_folder:DIR." if files_below(root, TEXTS) else "")
        raise UserError(
            f"data.source: the folder holds no {kind.plural}.{hint} It needs {kind.plural} in a folder for "
            f"each class: DIR/CLASS/* or DIR/train/CLASS/*. Received: {str(root)!r}"
        )
    return table


def _table(root: Path, config: DataConfig, kind: FileKind) -> Table:
    folders = _split_folders(root, config)
    if not folders:
        names = class_names(root)
        return Table({"all": _rows(root, root, names, kind)}, names or None)
    names = class_names(folders["train"])
    for split, folder in folders.items():
        if strange := sorted(set(class_names(folder)) - set(names)):
            raise UserError(
                f"{folder} has a class that is missing in {folders['train']}. "
                f"Received: {strange[0]!r} in {split}"
            )
    return Table({s: _rows(root, folder, names, kind) for s, folder in folders.items()}, names or None)


def _why_not(root: Path) -> str:
    """Returns the likely mistake in a path that is not a folder, such as a typing error."""
    if root.is_file():
        return ": it is a file."
    if not root.parent.is_dir():
        return f": {str(root.parent)!r} does not exist either. The current folder is {str(Path.cwd())!r}."
    beside = [entry.name for entry in root.parent.iterdir() if entry.is_dir()]
    where = "" if root.is_absolute() else f" in {str(Path.cwd())!r}"
    return f"{where}.{nearest(root.name, beside)}"


def _split_folders(root: Path, config: DataConfig) -> dict[str, Path]:
    """Returns the folders of the splits. The dict is empty if `root` contains the class folders."""
    found, names = {}, {str(split): name for split, name in config.split_names.items()}
    for split, usual in _SPLIT_FOLDERS.items():
        named = names.get(split)
        if named is not None and not (root / named).is_dir():
            raise UserError(f"data.split_names.{split}: no folder {named!r} in {root}. Received: {named!r}")
        for name in (named,) if named else usual:
            if (root / name).is_dir():
                found[split] = root / name
                break
    return found if "train" in found else {}


def class_names(folder: Path) -> tuple[str, ...]:
    """Returns the names of the class folders in `folder`, sorted."""
    return tuple(sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith(".")))


def _rows(root: Path, folder: Path, names: tuple[str, ...], kind: FileKind) -> Rows:
    labels, ids, others = TextColumnBuilder(), TextColumnBuilder(), []
    for name in names or ("",):
        below = files_below(folder / name, kind, others) if (folder / name).is_dir() else []
        for path in below:
            labels.append(name)
            ids.append(os.path.relpath(path, root).replace(os.sep, "/"))
    _name_left_out(root, tuple(others), kind)
    named = ids.column()
    return Rows(named.prefixed(str(root / "x")[:-1]), labels.column() if names else None, named)


@functools.cache  # one warning per process, even if the folder is read several times
def _name_left_out(root: Path, others: tuple[str, ...], kind: FileKind) -> None:
    if others:
        named = ", ".join(os.path.relpath(path, root) for path in others[:_NAMED])
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        messages.warn(f"Left out of folder:{root}, as only {kind.formats} are read: {named}{more}")


SOURCE = Source(
    "folder",
    "folder:DIR",
    "images, or with data.seconds sounds, in DIR/train/CLASS/* (optional val, test), or DIR/CLASS/*",
    load,
)
