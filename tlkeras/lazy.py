"""Names and modules that are imported at their first use."""

import importlib
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Returns `__getattr__` and `__dir__` for a package that imports its names at their first use (PEP 562).

    `dir()` of the package lists its public names. The stub `__init__.pyi` beside it names them for editors
    and type checkers.

    Args:
        package: `__name__` of the package.
        homes: Module of each public name, relative to the package.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*homes, *(name for name in vars(sys.modules[package]) if name.startswith("__"))})

    return __getattr__, __dir__


class LateModule(types.ModuleType):
    """A placeholder for a module, which is imported when one of its names is first read.

    Example:
        >>> layers = LateModule("keras.layers")
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)
