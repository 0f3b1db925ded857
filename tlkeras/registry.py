"""The registry of names that a config can use: backbones, heads, sources, methods, ..."""

import fnmatch
import functools
import importlib
import os
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, cast

from tlkeras.errors import UserError, unknown

Entry = TypeVar("Entry")
Given = TypeVar("Given")


class Registry(Generic[Entry]):
    """A table of named entries. Names can be listed with wildcards, and an unknown name gets a hint.

    Args:
        kind: Name for one entry in messages, e.g. `"backbone"`.

    Example:
        >>> heads = Registry("head")
        >>> @heads.register("linear")
        ... def linear_head(config): ...
        >>> heads.names("lin*")
        ['linear']
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def add(self, name: str, entry: Entry, *, replace: bool = False) -> Entry:
        """Registers `entry` under `name`.

        Args:
            name: Name in configs.
            entry: Object that the name refers to.
            replace: Whether to replace an existing entry of that name. This is needed in a config file that
                is read twice or in a notebook cell.

        Returns:
            The entry.

        Raises:
            ValueError: The name is taken and `replace` is False.
        """
        if name in self._entries and not replace:
            raise ValueError(f"The {self.kind} {name!r} is registered already; replace=True replaces it.")
        self._entries[name] = entry
        return entry

    def register(self, name: str, *, replace: bool = False) -> Callable[[Given], Given]:
        """Returns a decorator that registers the decorated object under `name`. See `add`.

        Args:
            name: Name in configs.
            replace: See `add`.
        """

        def add(entry: Given) -> Given:
            self.add(name, cast("Entry", entry), replace=replace)
            return entry

        return add

    def get(self, name: str) -> Entry:
        """Returns the entry called `name`, from tlkeras itself or from a package that extends it.

        Args:
            name: Name in configs.

        Raises:
            UserError: There is no such entry. The message gives the nearest name.
        """
        if name not in self._entries:
            load_extensions()
        if name not in self._entries:
            raise unknown(self.kind, name, self.names())
        return self._entries[name]

    def names(self, pattern: str = "*") -> list[str]:
        """Returns the sorted names that match a shell-style wildcard `pattern`.

        Args:
            pattern: Pattern in which `*` stands for any text and `?` for one character.
        """
        load_extensions()
        return sorted(fnmatch.filter(self._entries, pattern))

    def items(self, pattern: str = "*") -> Iterator[tuple[str, Entry]]:
        """Yields `(name, entry)` for the names that match `pattern`, sorted by name.

        Args:
            pattern: See `names`.
        """
        for name in self.names(pattern):
            yield name, self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)


def function_at(place: str | Callable) -> Callable:
    """Returns the function that a row names as `module:function`, or the function itself."""
    if not isinstance(place, str):
        return place
    module, _, function = place.partition(":")
    return getattr(importlib.import_module(module), function)


@functools.cache
def load_extensions() -> None:
    """Imports the modules that add entries to registries, once per process.

    These are the modules in the environment variable `TLKERAS_EXTENSIONS`, separated by commas, and the
    entry points of the group `tlkeras` in installed packages.
    """
    from importlib.metadata import entry_points

    for module in filter(None, os.environ.get("TLKERAS_EXTENSIONS", "").split(",")):
        try:
            importlib.import_module(module.strip())
        except ImportError as error:
            raise UserError(f"A module in TLKERAS_EXTENSIONS cannot be imported: {error}.") from error
    for point in entry_points(group="tlkeras"):
        point.load()
