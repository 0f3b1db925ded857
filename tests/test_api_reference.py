"""The documentation site: it builds without a warning, and its reference describes every public name."""

import ast
import functools
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from chromium import BROWSER, needs_browser

griffe = pytest.importorskip("griffe")
pytest.importorskip("mkdocs")

ROOT = Path(__file__).parents[1]
# what Keras calls of a layer or model; Keras documents it
OF_KERAS = {"build", "call", "compute_output_shape", "get_config", "from_config"}


def _script():
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "scripts/docs_site.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


SITE = _script()
NAMES = {
    name: home
    for _, _, entries in SITE.REFERENCE.values()
    for name, home in SITE.public_names(entries).items()
}


@functools.cache
def _package():
    return griffe.load("tlkeras", search_paths=[ROOT], docstring_parser="google", allow_inspection=False)


def described(home: str):
    """Returns what griffe read from the source of an object."""
    found = _package()[home.removeprefix("tlkeras.")]
    return found.final_target if found.is_alias else found


def sections(thing) -> dict[str, dict[str, str]]:
    """Returns the sections of a docstring, each with the texts of its entries by name."""
    found = {}
    options = {"warn_missing_types": False, "returns_multiple_items": False}  # as in mkdocs.yml
    for section in thing.docstring.parse("google", **options) if thing.docstring else ():
        entries = section.value if isinstance(section.value, list) else []
        found[section.kind.value] = {
            getattr(entry, "name", "").lstrip("*"): getattr(entry, "description", "") for entry in entries
        }
    return found


# How a docstring states the shape of an array, what it holds, and the range or the unit of a number.
SHAPE = re.compile(r"(?<!\w)\((?:[a-z*]\w*|\d+)?(?:, ?[\w*.]+)*,?\)|\bscalar\b|\bshape of\b")
VALUES = re.compile(r"\b(float|int|uint8|bool|object|one-hot|integer|number|image|text|ind(ex|ices))", re.I)
RANGE = re.compile(
    r"at least|at most|above|below|between|\bin [\[(\d-]|\d\.\.\d|\bor more|[0-9]+, \d+ or \d+"
    r"|number of|size of|units of|millions of|percent|seed|pixels|second|fraction|factor|share|See `",
    re.I,
)


def vague_parameters(function, texts: dict[str, str], unannotated: str) -> list[str]:
    """Returns the parameters whose texts leave out the shape of an array, or the range of a number."""
    found = []
    for parameter in function.parameters:
        text, kind = texts.get(parameter.name, ""), str(parameter.annotation or unannotated)
        if text.startswith("See `") or not text:
            continue
        if "ndarray" in kind and not (SHAPE.search(text) and VALUES.search(text)):
            found.append(f"{parameter.name}: shape")
        if re.fullmatch(r"(int|float)( \| None)?", kind) and not RANGE.search(text):
            found.append(f"{parameter.name}: range")
    return found


def vague_in_function(function, of_class: str) -> list[str]:
    """Returns what a docstring leaves vague. The functions on tensors have no annotations of tensors."""
    said, text = sections(function), function.docstring.value if function.docstring else ""
    unannotated = "ndarray" if function.path.startswith("tlkeras.methods.adapt.") and not of_class else ""
    found = vague_parameters(function, said.get("parameters", {}), unannotated)
    result = " ".join(said["returns"].values()) if "returns" in said else text
    if "ndarray" in str(function.returns or unannotated) and not SHAPE.search(result):
        found.append("result: shape")
    return found


def _raises(function) -> bool:
    """Returns whether the function itself raises, and does not only reraise."""
    tree = ast.parse(textwrap.dedent(function.source))
    return any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree))


def missing_in_function(function) -> list[str]:
    """Returns what the docstring of a function lacks. A class may explain a parameter of all its methods."""
    said, text = sections(function), function.docstring.value if function.docstring else ""
    of_class = (
        function.parent.docstring.value if function.parent.is_class and function.parent.docstring else ""
    )
    names = [p.name for p in function.parameters if p.name not in ("self", "cls")]
    lacks = [
        f"Args: {name}"
        for name in names
        if name not in said.get("parameters", ()) and f"`{name}`" not in of_class
    ]
    returns = str(function.returns or "None") != "None"
    if (
        returns
        and not {"returns", "yields"} & said.keys()
        and not re.search(r"\b(Returns|returns|Yields) ", text)
    ):
        lacks.append("Returns")
    if _raises(function) and "raises" not in said:
        lacks.append("Raises")
    return [f"{function.path} {lack}" for lack in lacks + vague_in_function(function, of_class)]


def missing(thing) -> list[str]:
    """Returns what the docstrings of a public object and of its public members do not say."""
    if thing.docstring is None:
        return [f"{thing.path} docstring"]
    if thing.is_function:
        return missing_in_function(thing)
    if not thing.is_class:
        return []
    found, explained = [], {}
    for one in (thing, *thing.mro()):
        said = sections(one)
        explained |= said.get("parameters", {}) | said.get("attributes", {})
    start = thing.members.get("__init__")
    if start is not None:
        names = [p.name for p in start.parameters if p.name not in ("self", "kwargs")]
        found += [f"{thing.path} Args: {name}" for name in names if name not in explained]
        found += [f"{thing.path} {lack}" for lack in vague_parameters(start, explained, "")]
    for name, member in thing.members.items():
        if (
            name.startswith("_")
            or name in OF_KERAS
            or member.is_alias
            or "instance-attribute" in member.labels - {"class-attribute"}
        ):
            continue
        if member.is_function:
            found += missing_in_function(member)
            continue
        if member.docstring is None and name not in explained:
            found.append(f"{member.path} docstring")
        text = member.docstring.value if member.docstring else explained.get(name, "")
        if "ndarray" in str(member.annotation or "") and not SHAPE.search(text):
            found.append(f"{member.path} shape")
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site. Warnings of MkDocs are errors."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environ = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_has_every_page_and_every_public_name(site):
    for page in (ROOT / "docs").rglob("*.md"):
        name = "index" if page.name == "README.md" else page.stem
        assert (site / page.relative_to(ROOT / "docs")).with_name(f"{name}.html").is_file(), page
    text = "".join(page.read_text("utf-8") for page in (site / "reference").glob("*.html"))
    missing = [name for name, home in NAMES.items() if f'id="{home}"' not in text]
    assert not missing


def test_the_site_asks_no_other_host(site):
    """Fonts, scripts and pictures come with it, also for the search."""
    for page in site.rglob("*.html"):
        for address in re.findall(r'(?:src|<link[^>]*href)="([^"]*)"', page.read_text("utf-8")):
            assert not re.match(r"(https?:)?//", address), (page, address)
    assert (site / "search/search_index.json").stat().st_size > 100_000
    assert "flowchart TB" not in (site / "design.html").read_text("utf-8")
    assert "<blockquote>" not in (site / "reference/training.html").read_text("utf-8")  # an example is code


def test_a_site_on_disk_has_its_index_as_a_script(site):
    """A page that was opened from disk may read no file but scripts, and may start no Worker."""
    script = (site / "search/search_index.js").read_text("utf-8")
    index = (site / "search/search_index.json").read_text("utf-8")
    assert json.loads(script.removeprefix("var __index = ")) == json.loads(index)
    for page in set(site.rglob("*.html")) - {site / "404.html"}:
        first = re.findall(r'<script src="([^"]*)"', page.read_text("utf-8"))[0]
        assert (page.parent / first).resolve() == site / "iframe-worker.js", page


@needs_browser
@pytest.mark.parametrize("start", ["index.html", "tutorials/adapt.html"])
def test_the_search_works_in_a_site_on_disk(site, start):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        sheet = browser.new_page()
        mistakes = []
        sheet.on("pageerror", lambda error: mistakes.append(str(error)))
        sheet.goto((site / start).as_uri())
        sheet.click("[data-md-component=search-query]")
        sheet.keyboard.type("resume")
        first = sheet.locator(".md-search-result__link").first
        playwright.expect(first).to_be_visible(timeout=30_000)
        assert "changelog" not in first.get_attribute("href")
        sheet.keyboard.press("Control+a")
        sheet.keyboard.type("GradientReversal")
        found = sheet.locator(".md-search-result__link[href*='reference/adaptation']").first
        playwright.expect(found).to_be_visible(timeout=30_000)
        found.click()
        playwright.expect(sheet.locator("h1, h2").first).to_be_visible()
        assert sheet.url.startswith((site / "reference/adaptation.html").as_uri()) and not mistakes
        browser.close()


def test_the_drawn_chart_is_that_of_the_page():
    """The site shows a picture of the chart in design.md, which names the SHA-256 of what was drawn."""
    page = (ROOT / "docs/design.md").read_text("utf-8")
    (chart,) = re.findall(r"^```mermaid\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert hashlib.sha256(chart.encode()).hexdigest() in (ROOT / "docs/images/design.svg").read_text("utf-8")


def test_what_the_pages_import_is_in_the_reference():
    known = {*NAMES, *NAMES.values()}
    for page in (ROOT / "docs").glob("*.md"):
        for code in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tlkeras"):
                    names = {f"{node.module}.{alias.name}" for alias in node.names}
                    assert names <= known, (page.name, names - known)


def test_a_poor_docstring_is_found():
    code = '''
def change(rate: float) -> float:
    """Changes a rate."""
    if rate < 0:
        raise ValueError("below 0")
    return rate
'''
    with griffe.temporary_visited_module(code) as module:
        assert [lack.partition(" ")[2] for lack in missing(module["change"])] == [
            "Args: rate",
            "Returns",
            "Raises",
        ]


def test_a_vague_docstring_is_found():
    code = '''
def scaled(x: np.ndarray, rate: float, seed: int = 0) -> np.ndarray:
    """Returns scaled features.

    Args:
        x: Features.
        rate: The rate.
        seed: Seed of the noise.
    """
    return x * rate


def clear(x: np.ndarray, rate: float) -> np.ndarray:
    """Returns scaled features.

    Args:
        x: Features, float `(n, d)`.
        rate: Rate above 0.

    Returns:
        Features of the
        shape of `x`.
    """
    return x * rate
'''
    with griffe.temporary_visited_module(code) as module:
        found = [lack.partition(" ")[2] for lack in missing(module["scaled"])]
        assert found == ["x: shape", "rate: range", "result: shape"]
        assert not missing(module["clear"])


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_fully_described(name):
    assert not missing(described(NAMES[name]))
