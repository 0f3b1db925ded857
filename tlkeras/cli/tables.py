"""Tables in the terminal."""

import io
from collections.abc import Sequence

from tlkeras import messages
from tlkeras.lazy import LateModule

rich = LateModule("rich")

_GAP = 2  # characters between two columns


def print_table(rows: Sequence[dict], title: str = "") -> None:
    """Prints one line per dict, with the keys of the first as columns. Numbers are aligned to the right.

    If the terminal is too narrow, cells are wrapped between words. If even that does not fit, the table is
    turned and has a column per dict. If the output is piped into a file or another program, no line is
    wrapped or cut.
    """
    console = rich.console.Console()
    width = console.width if console.is_terminal else 10_000
    messages.result(table_text(rows, width, title, styled=console.is_terminal))


def table_text(rows: Sequence[dict], width: int, title: str = "", styled: bool = False) -> str:
    """Returns the text that `print_table` prints into a terminal of this width. No word is split.

    Args:
        rows: Table rows, one dict per line.
        width: Number of characters in a line.
        title: Title above the table.
        styled: Whether headings are marked with escape codes.
    """
    if not rows:
        return "Nothing to list."
    cells = [[messages.as_text(value) for value in row.values()] for row in rows]
    columns = list(zip(*([*rows[0]], *cells), strict=True))
    widths = _widths(columns, width)
    if widths is None:
        return _turned(columns, width, title)
    table = rich.table.Table(
        title=title or None,
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name, wide in zip(rows[0], widths, strict=True):
        value = next((row[name] for row in rows if row[name] is not None), None)
        right = isinstance(value, int | float) and not isinstance(value, bool)
        table.add_column(name, justify="right" if right else "left", width=wide)
    for row in cells:
        table.add_row(*map(rich.text.Text, row))
    file = io.StringIO()
    rich.console.Console(file=file, width=width, force_terminal=styled).print(table)
    return file.getvalue().removesuffix("\n")


def _widths(columns: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Returns the column widths, from longest word to longest cell, or None if the words do not fit."""
    widths = [_longest(column) for column in columns]
    words = [_longest(" ".join(column).split()) for column in columns]
    while sum(widths) + _GAP * (len(widths) - 1) > width:
        spare = [wide - word for wide, word in zip(widths, words, strict=True)]
        if not any(spare):
            return None
        # the widest column that can shrink, so that short cells stay on one line
        widths[max((i for i, n in enumerate(spare) if n), key=widths.__getitem__)] -= 1
    return widths


def _longest(texts: Sequence[str]) -> int:
    return max(map(_long, texts), default=0)


def _long(text: str) -> int:
    return rich.text.Text(text).cell_len


def _turned(columns: Sequence[Sequence[str]], width: int, title: str) -> str:
    """Returns the table with a line per heading and a column per dict, in as many blocks as needed."""
    names, *records = zip(*columns, strict=True)
    block, blocks = [names], []
    for record in records:
        if len(block) > 1 and sum(map(_longest, [*block, record])) + _GAP * len(block) > width:
            blocks.append(block)
            block = [names]
        block.append(record)
    lines = [title] if title else []
    for shown in [*blocks, block]:
        lines += ["" for _ in lines[:1]]
        for texts in zip(*shown, strict=True):
            padded = [text + " " * (_longest(c) - _long(text)) for text, c in zip(texts, shown, strict=True)]
            lines.append((" " * _GAP).join(padded).rstrip())
    return "\n".join(lines)
