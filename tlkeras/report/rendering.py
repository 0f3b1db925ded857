"""From values to HTML: one Jinja2 environment that escapes everything it is not told to trust."""

import base64
import hashlib
import math
import os
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from tlkeras.run_dir.atomic import write_bytes


def render(template: str, output: str | os.PathLike, **values: Any) -> Path:
    """Renders a template of `tlkeras/report/templates` to a file, whole or not at all.

    Args:
        template: Name of the template.
        output: The HTML file.
        **values: What the template shows; text is escaped, `safe` marks our own SVG.
    """
    html = _environment().get_template(template).render(**values)
    # File names of the user may hold bytes that are no text: shown as \udc80, not refused.
    write_bytes(output, html.encode("utf-8", "backslashreplace"))
    return Path(output)


@cache
def _environment():
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "percent": percent, "seconds": seconds, "when": when}
    environment.globals["script_hash"] = script_hash
    return environment


def script_hash(script: str) -> str:
    """Returns what a content security policy calls a script by, so that no other script runs."""
    digest = hashlib.sha256(str(script).encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def number(value: Any) -> str:
    """Returns a value as people read it: thousands grouped, four significant digits, - for nothing."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–" if value is None else str(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(number, value)) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {number(item)}" for key, item in value.items()) or "–"
    return str(value)


def percent(value: float | None, digits: int = 1) -> str:
    """Returns a fraction in percent."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:.{digits}f} %"


def seconds(value: float | None) -> str:
    """Returns a duration in the unit that suits it."""
    if value is None:
        return "–"
    if value < 90:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 5400 else f"{value / 3600:.1f} h"


def when(iso: str | None) -> str:
    """Returns a time stamp to the minute."""
    try:
        return datetime.fromisoformat(iso).strftime("%d %B %Y, %H:%M")
    except (TypeError, ValueError):
        return str(iso or "–")
