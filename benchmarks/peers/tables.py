"""Results of runs as JSON lines, and the parts of docs/peers.md that are written from them."""

import json
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "peers.md"


def read_lines(file: Path) -> list[dict]:
    """Returns the objects of a file of JSON lines, none if it is not there."""
    return (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    )


def replace_part(begin: str, end: str, parts: list[str]) -> None:
    """Replaces what stands between two lines of the page by paragraphs and tables."""
    before, rest = PAGE.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    PAGE.write_text(before + begin + "\n" + "\n\n".join(parts) + "\n\n" + end + after, encoding="utf-8")


def table(head: list[str], rows: list[list[str]]) -> str:
    """Returns a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def versions(results: list[dict]) -> str:
    """Returns a sentence on the versions of the packages with which the runs were made."""
    packages: dict[str, str] = {}
    for found in results:
        packages |= found["versions"]
    return f"Versions: {', '.join(f'{name} {version}' for name, version in sorted(packages.items()))}."
