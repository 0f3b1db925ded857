"""Tables in the terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tlkeras import messages


def print_table(rows: Sequence[dict], title: str = "") -> None:
    """Prints one line per dict, with the keys of the first as columns; numbers stand to the right.

    Piped into a file or another program, no line is wrapped or cut.
    """
    console = Console(soft_wrap=False)
    if not console.is_terminal:
        console = Console(width=10_000)
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, value in (rows[0] if rows else {}).items():
        right = isinstance(value, int | float) and not isinstance(value, bool)
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row.values()))
    console.print(table) if rows else messages.result("Nothing to list.")


def cell(value) -> str:
    """Returns a value as people read it: thousands grouped, three significant digits, yes and no."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
