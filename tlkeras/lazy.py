"""Names and modules that are imported at their first use."""

import importlib
import importlib.util
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

    modules = lazy_modules(package)

    def __getattr__(name: str) -> Any:
        if name not in homes:
            return modules(name)
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*homes, *(name for name in vars(sys.modules[package]) if name.startswith("__"))})

    return __getattr__, __dir__


def lazy_modules(package: str) -> Callable[[str], types.ModuleType]:
    """Returns a `__getattr__` for a package that imports each of its modules at its first use.

    `from tlkeras import studies` then loads nothing, and `studies.rank.rank(...)` loads one module.

    Args:
        package: `__name__` of the package.
    """

    def __getattr__(name: str) -> types.ModuleType:
        if name.startswith("_") or importlib.util.find_spec(f"{package}.{name}") is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return importlib.import_module(f"{package}.{name}")

    return __getattr__


class LateModule(types.ModuleType):
    """A placeholder for a heavy module, which is imported when one of its names is first read.

    Modules inside a package are imported in the same way: `sklearn.svm` needs no import of its own.

    Example:
        >>> sklearn = LateModule("sklearn")
    """

    def __getattr__(self, name: str) -> Any:
        module = importlib.import_module(self.__name__)
        if hasattr(module, name) or name.startswith("_"):
            return getattr(module, name)
        return importlib.import_module(f"{self.__name__}.{name}")
