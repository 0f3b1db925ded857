"""Counts properties of the package's structure, of one checkout or of two next to each other.

Command:  python benchmarks/house.py [--old=DIR] [--new=.] [--where]
Time:     ten seconds per checkout.

`--where` lists the places behind each count of the new checkout. Everything is read from the source code,
except for the fields of the config, which the checkout's own Python reports.
"""

import argparse
import ast
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from house_imports import circles, imports_of, modules, resolved
from measuring import run_in

# Allowed places of each thing, as beginnings of paths under tlkeras/.
MODALITY_ROOM = ("data/modalities/",)
SPEAKING = ("speak.py", "speaking.py", "messages.py")
COMPAT = ("compat.py", "backend/compat.py")

MODALITIES = {"image", "vector", "text", "audio"}
DOMAINS = {"source", "target", "target_labelled"}
LOG_CALLS = {"debug", "info", "warning", "error", "exception", "critical", "warn"}
PRIVATE_PACKAGES = ("keras.src", "tensorflow.python", "tensorflow.__internal__")
FIELDS = """
import json
from tlkeras import ExperimentConfig
schema = ExperimentConfig.model_json_schema()
parts = {"ExperimentConfig": schema, **schema["$defs"]}
print(json.dumps([f"{n}.{f}" for n, part in parts.items() for f in part.get("properties", ())]))
"""

Places = list[str]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", type=Path)
    parser.add_argument("--new", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--where", action="store_true", help="list the places of the new checkout")
    asked = parser.parse_args()
    sides = [house(side.resolve()) for side in (asked.old, asked.new) if side]
    names = list(dict.fromkeys(name for side in sides for name in side))
    print("| | " + " | ".join(["before", "now"][-len(sides) :]) + " |\n|---" + "|---:" * len(sides) + "|")
    for name in names:
        print(f"| {name} | " + " | ".join(f"{count(side.get(name, [])):,}" for side in sides) + " |")
        if asked.where and isinstance(sides[-1].get(name), list):
            print("\n".join(f"      {place}" for place in sides[-1][name]))


def count(found: int | Places) -> int:
    """Returns the number for the table."""
    return found if isinstance(found, int) else len(found)


def house(checkout: Path) -> dict[str, int | Places]:
    """Returns the counts, as numbers or lists of places, by their names."""
    package = checkout / "tlkeras"
    files = modules(package)
    texts = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    known = {name: list(imports_of(tree)) for name, tree in trees.items()}
    tensorflow = [name for name, found in known.items() if any(i.top == "tensorflow" for i in found)]
    rooms = Counter(name.split("/")[0] if "/" in name else "(root)" for name in tensorflow)
    graphs = {
        "when a module is imported": lambda i: not (i.late or i.typing or i.through),
        "with imports for types": lambda i: not (i.late or i.through),
        "with late imports": lambda i: not i.typing,
    }
    found: dict[str, int | Places] = {
        "lines under tlkeras/": sum(len(text.splitlines()) for text in texts.values()),
        "files under tlkeras/": len(files),
        "files at its root": [name for name in files if "/" not in name],
        "files that import TensorFlow": tensorflow,
    }
    found |= {f"- in {room}": number for room, number in sorted(rooms.items())}
    for name, counted in graphs.items():
        graph = {
            at: {to for i in found if counted(i) for to in resolved(i, at, trees)}
            for at, found in known.items()
        }
        found[f"import circles, {name}"] = circles(graph)
    found["modules reached through a package that imports them at first use"] = sorted(
        {f"{at}: {i.module}" for at, each in known.items() for i in each if i.through and i.inner}
    )
    found["late imports"] = sorted({f"{at}:{i.line}" for at, each in known.items() for i in each if i.late})
    found |= {name: places(trees, *rule) for name, rule in RULES.items()}
    found["touches of private APIs of other packages"] = private = private_touches(trees, known)
    found["- in files other than compat.py"] = sorted(
        {place.partition(":")[0] for place in private if not place.startswith(COMPAT)}
    )
    found["public functions and classes"] = public(trees)
    found["names in __all__"] = [f"{at}: {name}" for at, tree in trees.items() for name in exported(tree)]
    found["config fields"] = json.loads(run_in(checkout, "-c", FIELDS))
    return found


def places(trees: dict, wanted, outside: tuple[str, ...] = ()) -> Places:
    """Returns `file:line: code` of the nodes that `wanted` selects, except in some files."""
    return [
        f"{at}:{node.lineno}: {ast.unparse(node)[:80]}"
        for at, tree in trees.items()
        if not at.startswith(outside)
        for node in ast.walk(tree)
        if wanted(node)
    ]


def compares(words: set[str], attribute: str = ""):
    """Returns whether a node compares with one of these words, or reads an attribute of this name."""

    def wanted(node: ast.AST) -> bool:
        match node:
            case ast.Compare():
                sides = [node.left, *node.comparators]
            case ast.Match():
                sides = [node.subject]
            case ast.Subscript(slice=ast.Attribute() | ast.Name()):
                sides = [node.slice]
            case ast.Call(func=ast.Attribute(attr="startswith")):
                sides = node.args
            case _:
                return False
        flat = [item for side in sides for item in getattr(side, "elts", [side])]
        texts = {item.value for item in flat if isinstance(item, ast.Constant)}
        names = {getattr(item, "attr", getattr(item, "id", None)) for item in flat}
        return bool(texts & words) or attribute in names

    return wanted


def prints(node: ast.AST) -> bool:
    """Returns whether a node calls `print`."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "print"


def speaks(node: ast.AST) -> bool:
    """Returns whether a node logs, warns, or writes to standard output or error."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    of = ast.unparse(node.func.value)
    return node.func.attr in LOG_CALLS or (node.func.attr == "write" and of.startswith("sys.std"))


def writes_channels(node: ast.AST) -> bool:
    """Returns whether a node is the shape of a picture with three channels, such as `(size, size, 3)`.

    Axes such as `(1, 2, 3)` do not count.
    """
    if not (isinstance(node, ast.Tuple) and len(node.elts) > 2 and ast.unparse(node.elts[-1]) == "3"):
        return False
    return ast.unparse(node) != "(1, 2, 3)"


RULES = {
    "places that ask for a modality": (compares(MODALITIES, "modality"), MODALITY_ROOM),
    "places that write a shape such as (size, size, 3)": (writes_channels, MODALITY_ROOM),
    "places that compare a domain's name": (compares(DOMAINS),),
    "print calls": (prints, SPEAKING),
    "other ways to speak (logging, warnings, standard output)": (speaks, SPEAKING),
}


def private_touches(trees: dict, known: dict) -> Places:
    """Returns the places where private parts of Keras, TensorFlow and others are imported, read or
    overridden.

    A private attribute counts as theirs if no code under tlkeras defines one of that name. A private method
    counts as theirs if no code under tlkeras calls it.
    """
    made, used = set(), Counter()
    for node in (node for tree in trees.values() for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.Name):
            made |= {node.id} if isinstance(node.ctx, ast.Store) else set()
            used[node.id] += 1
        elif isinstance(node, ast.Attribute):
            own = isinstance(node.ctx, ast.Store) and ast.unparse(node.value) in ("self", "cls")
            made |= {node.attr} if own else set()
            used[node.attr] += not own

    def touched(node: ast.AST) -> bool:
        if not isinstance(node, ast.Attribute):
            return False
        return node.attr == "__internal__" or (is_private(node.attr) and node.attr not in made)

    found = [
        f"{at}:{i.line}: {i.module}"
        for at, each in known.items()
        for i in each
        if i.module.startswith(PRIVATE_PACKAGES)
    ]
    for at, tree in trees.items():
        for node in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
            found += [
                f"{at}:{method.lineno}: def {method.name}"
                for method in node.body
                if isinstance(method, ast.FunctionDef) and is_private(method.name)
                and not method.decorator_list and not used[method.name]
            ]  # fmt: skip
    return sorted(found + places(trees, touched))


def is_private(name: str) -> bool:
    """Returns whether a name begins with one underscore. `_repr_html_` is a public protocol of IPython."""
    return name.startswith("_") and not name.startswith("__") and not name.endswith("_")


def public(trees: dict) -> Places:
    """Returns the functions and classes of modules whose names do not begin with an underscore."""
    kinds = ast.FunctionDef | ast.ClassDef
    return [
        f"{at}: {node.name}"
        for at, tree in trees.items()
        for node in tree.body
        if isinstance(node, kinds) and not node.name.startswith("_")
    ]


def exported(tree: ast.Module) -> Iterator[str]:
    """Yields the names in the `__all__` of a module, including that of lazy names."""
    for node in tree.body:
        targets = {ast.unparse(t) for t in node.targets} if isinstance(node, ast.Assign) else set()
        if targets & {"__all__", "_HOMES"}:
            inner = node.value.keys if isinstance(node.value, ast.Dict) else getattr(node.value, "elts", [])
            yield from (item.value for item in inner if isinstance(item, ast.Constant))


if __name__ == "__main__":
    main()
