"""Finds the imports of a package's files, and the import circles among them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One imported name.

    Attributes:
        module: Its module, dotted.
        name: Imported name, for `from module import name`; empty otherwise.
        line: Line number of the import.
        late: Whether it stands in a function, or is a placeholder that imports at its first use.
        typing: Whether it is for the type checker alone.
        through: Whether it is reached through its package, as `studies` in `studies.rank.rank(...)`.
    """

    module: str
    name: str
    line: int
    late: bool
    typing: bool
    through: bool = False

    @property
    def inner(self) -> bool:
        """Whether the module belongs to the package."""
        return self.module.count(".") > 1

    @property
    def top(self) -> str:
        """The package from which the name is imported."""
        return self.module.partition(".")[0]


def modules(package: Path) -> dict[str, Path]:
    """Returns the Python files of a package by their relative paths."""
    return {path.relative_to(package).as_posix(): path for path in sorted(package.rglob("*.py"))}


def imports_of(tree: ast.Module) -> Iterator[Import]:
    """Yields the imports of a file: by statements, by placeholders and through packages."""
    rooms = {}
    for found in _statements(tree):
        yield found
        if found.module == "tlkeras" and not found.typing:
            rooms[found.name] = f"tlkeras.{found.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "LateModule":
            yield Import(ast.literal_eval(node.args[0]), "", node.lineno, late=True, typing=False)
        elif isinstance(node, ast.Attribute):
            room, *names = ast.unparse(node).split(".")
            if room in rooms and all(name.isidentifier() for name in names):
                module = ".".join([rooms[room], *names[:-1]])
                yield Import(module, names[-1], node.lineno, late=False, typing=False, through=True)


def _statements(tree: ast.AST, late: bool = False, typing: bool = False) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (Import(node.module or "", a.name, node.lineno, late, typing) for a in node.names)
        elif isinstance(node, ast.Import):
            yield from (Import(a.name, "", node.lineno, late, typing) for a in node.names)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            yield from _statements(node, late or inside, typing or types)


def resolved(found: Import, at: str, trees: dict[str, ast.Module]) -> Iterator[str]:
    """Yields the files of the package that an import reaches, also through lazy names."""
    parts = found.module.split(".")
    if parts[0] != "tlkeras":
        return
    base = "/".join(parts[1:])
    for file in (f"{base}/{found.name}".strip("/") + ".py", f"{base}.py"):
        if file in trees and file != at:
            yield file
            return
    package = f"{base}/__init__.py".strip("/")
    home = lazy_homes(trees[package]).get(found.name) if package in trees else None
    file = f"{base}/{home}".strip("/").replace(".", "/") + ".py"
    yield from (f for f in (package, file) if f in trees and f != at)


def lazy_homes(tree: ast.Module) -> dict[str, str]:
    """Returns the module of each lazy name of a package, from its `_HOMES`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOMES":
            return ast.literal_eval(node.value)
    return {}


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Returns the groups of files that reach each other (strongly connected components, Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(file: str) -> None:
        index[file] = low[file] = len(index)
        stack.append(file)
        for to in graph[file]:
            if to not in index:
                visit(to)
                low[file] = min(low[file], low[to])
            elif to in stack:
                low[file] = min(low[file], index[to])
        if low[file] == index[file]:
            group = stack[stack.index(file) :]
            del stack[stack.index(file) :]
            if len(group) > 1:
                found.append(", ".join(sorted(group)))

    for file in graph:
        if file not in index:
            visit(file)
    return found
