"""Names and modules that are imported when they are first used."""

import importlib
import types
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns a module's `__getattr__` (PEP 562) that looks its public names up in their modules.

    Args:
        package: The package's `__name__`.
        homes: The module of each public name, relative to the package.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return __getattr__


class LateModule(types.ModuleType):
    """Stands for a module, which is imported when one of its names is first read.

    Example:
        >>> layers = LateModule("keras.layers")
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)
