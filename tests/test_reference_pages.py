"""Pages of docs/ that repeat what the code says: messages and config fields."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from tlkeras.config import load_config

ROOT = Path(__file__).parents[1]


def _plain(part: ast.expr) -> ast.expr:
    return part if isinstance(part, ast.Constant) else ast.Constant("...")


def messages() -> list[str]:
    """Returns the texts in tlkeras, with `...` for the values that a message inserts."""
    found = []
    for path in (ROOT / "tlkeras").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(part.value for part in map(_plain, node.values)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def explained() -> list[str]:
    page = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    return [m[1] for m in re.finditer(r"^\| `(.+?)` \| .+ \| .+ \|$", page, re.MULTILINE)]


def test_each_explained_message_exists():
    said = explained()
    patterns = [".*".join(map(re.escape, text.split("..."))) for text in said]
    known = messages()
    missing = [
        t for t, p in zip(said, patterns, strict=True) if not any(re.search(p, m, re.S) for m in known)
    ]
    assert len(said) > 60 and not missing


def test_the_page_of_the_config_is_the_one_that_the_script_writes():
    spec = importlib.util.spec_from_file_location("write_config_page", ROOT / "scripts/write_config_page.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (ROOT / "docs/config.md").read_text("utf-8") == script.page(), (
        "python scripts/write_config_page.py"
    )


def overrides(page: str) -> list[str]:
    """Returns the overrides in the last column of a page's tables, below `--set` or `in a config`.

    `.field=value` and a bare value continue the cell before.
    """
    found = []
    text = (ROOT / "docs" / page).read_text("utf-8")
    tables = re.findall(r"^\| .+ \| (?:`--set`|in a config) \|\n((?:\|.*\n)+)", text, re.MULTILINE)
    for row in re.findall(r"^\| .+ \| (`.+) \|$", "".join(tables), re.MULTILINE):
        path = ""
        for code in re.findall(r"`([^`]+)`", row):
            if code.startswith("--"):
                continue
            given, _, value = code.rpartition("=") if "={" not in code else code.partition("=")
            path = path if not given else path.rpartition(".")[0] + given if given[0] == "." else given
            found.append(f"{path}={value}")
    return found


@pytest.mark.parametrize(("page", "count"), [
    ("cheat_sheet.md", 45), ("coming_from_keras.md", 13), ("coming_from_fastai.md", 16),
    ("coming_from_timm.md", 13), ("coming_from_hugging_face.md", 12),
])  # fmt: skip
def test_every_override_of_a_page_fits_a_config(page, count):
    said = overrides(page)
    assert len(said) >= count
    for one in said:
        with_target = (
            [] if one.startswith("adaptation.target.") else ["adaptation.target.source=folder:THERE"]
        )
        load_config("image_folder", [*with_target * one.startswith("adaptation."), one])
