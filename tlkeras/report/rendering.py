"""Renders HTML and Markdown with one Jinja2 environment.

In HTML, all text that is not marked as safe is escaped. In Markdown, the filter `cell` does so.
"""

import base64
import hashlib
import json
import math
import os
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from tlkeras import messages
from tlkeras.run_dir.atomic import write_bytes


def render(template: str, output: str | os.PathLike, **values: Any) -> Path:
    """Renders a template of `tlkeras/report/templates` and writes the complete file.

    Args:
        template: Name of the template.
        output: Path of the file to write.
        **values: Values for the template. Text is escaped in HTML. `safe` marks SVG made by tlkeras.
    """
    html = rendered(template, **values)
    # File names may contain bytes that are not valid text: they appear as \udc80.
    write_bytes(output, html.encode("utf-8", "backslashreplace"))
    return Path(output)


def rendered(template: str, **values: Any) -> str:
    """Returns a rendered template as text; see `render`."""
    return _environment().get_template(template).render(**values)


@cache
def _environment():
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=jinja2.select_autoescape(), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number, "percent": percent, "seconds": seconds, "when": when}
    environment.filters |= {"cell": cell, "json": json.dumps}
    environment.globals["script_hash"] = script_hash
    return environment


def script_hash(script: str) -> str:
    """Returns the hash of a script for the content security policy, so that no other script runs."""
    digest = hashlib.sha256(str(script).encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def number(value: Any) -> str:
    """Returns a value as text; see `as_text`. No value is a dash."""
    return messages.as_text(value, missing="–")


def percent(value: float | None, digits: int = 1) -> str:
    """Returns a fraction as a percentage."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:.{digits}f} %"


def cell(value: Any) -> str:
    """Returns text for Markdown, on one line and without marks that Markdown or HTML would act on."""
    text = " ".join(str("–" if value is None else value).split())
    for mark in "\\`*[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return text


def seconds(value: float | None) -> str:
    """Returns a duration as text in a suitable unit."""
    if value is None:
        return "–"
    if value < 90:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 5400 else f"{value / 3600:.1f} h"


def when(iso: str | None) -> str:
    """Returns a time stamp, accurate to the minute."""
    try:
        return datetime.fromisoformat(iso or "").strftime("%d %B %Y, %H:%M")
    except (TypeError, ValueError):
        return str(iso or "–")
