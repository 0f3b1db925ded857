"""Names and modules that are imported at their first use."""

import importlib
import types
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns a `__getattr__` for a package (PEP 562) that imports each public name at its first use.

    Args:
        package: `__name__` of the package.
        homes: Module of each public name, relative to the package.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return __getattr__


class LateModule(types.ModuleType):
    """A placeholder for a module, which is imported when one of its names is first read.

    Example:
        >>> layers = LateModule("keras.layers")
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)
