"""One registry class for everything that a config names: backbones, heads, sources, methods, ..."""

import fnmatch
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from tlkeras.errors import unknown

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """A named table of entries that can be listed with wildcards and looked up with a hint.

    Args:
        kind: What one entry is called in messages, e.g. `"backbone"`.

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

    def add(self, name: str, entry: Entry) -> Entry:
        """Registers `entry` under `name`. Raises `ValueError` where the name is taken."""
        if name in self._entries:
            raise ValueError(f"The {self.kind} {name!r} is registered already.")
        self._entries[name] = entry
        return entry

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Returns a decorator that registers what it decorates under `name`."""
        return lambda entry: self.add(name, entry)

    def get(self, name: str) -> Entry:
        """Returns the entry called `name`. Raises `UserError` with the nearest name where there is none."""
        if name not in self._entries:
            raise unknown(self.kind, name, self.names())
        return self._entries[name]

    def names(self, pattern: str = "*") -> list[str]:
        """Returns the sorted names that match a shell-style wildcard `pattern`."""
        return sorted(fnmatch.filter(self._entries, pattern))

    def items(self, pattern: str = "*") -> Iterator[tuple[str, Entry]]:
        """Yields `(name, entry)` sorted by name, for the names that match `pattern`."""
        for name in self.names(pattern):
            yield name, self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)
