"""The page of suspicious rows, and the section about them in the report of a run."""

import json
import os
from pathlib import Path
from typing import Any

from tlkeras.evaluation.suspects import INDEX, TABLE
from tlkeras.report.domain_section import row_for_page
from tlkeras.report.rendering import render

PAGE = "suspects.html"


def write_suspects_page(folder: str | os.PathLike, name: str) -> Path:
    """Writes `suspects.html` from the files that `write_suspects` has written.

    Args:
        folder: Folder of the files.
        name: Title of the page.
    """
    folder = Path(folder)
    title = f"{name} – suspicious rows"
    return render(PAGE, folder / PAGE, title=title, name=name, suspects=read_suspects(folder))


def read_suspects(folder: Path) -> dict[str, Any] | None:
    """Returns what a page shows of the suspicious rows of a folder, or None if there is no such file."""
    if not (folder / INDEX).is_file():
        return None
    found = json.loads((folder / INDEX).read_text("utf-8"))
    for kind in ("labels", "unusual"):
        found[kind] = [row_for_page(row, folder / "rows") for row in found[kind]]
    found["groups"] = [[row_for_page(row, folder / "rows") for row in group] for group in found["groups"]]
    return found | {"table": TABLE}
