"""The view of a finished run in a notebook: numbers, verdict, curves and the worst mistakes."""

import os

from tlkeras.evaluation.intervals import few_rows_note
from tlkeras.report.domain_section import domain_section
from tlkeras.report.page import curves, headline_cards, verdict_of
from tlkeras.report.reading import read_run
from tlkeras.report.rendering import rendered

_CURVES = ("loss", "accuracy", "mae")
_SHOWN = 6


def notebook_view(run: str | os.PathLike) -> str:
    """Returns HTML for a notebook cell. It needs no other file and uses the colour of the notebook's text.

    Args:
        run: Run directory.

    Raises:
        UserError: The path is not a run directory, or a file in it is damaged.
    """
    record = read_run(run)
    cards, judged_by = headline_cards(record), record.judged_by or ""
    worst = domain_section(record, cards[0]["domain"])["gallery"]["worst"] if cards else []
    return rendered(
        "notebook.html",
        name=record.name,
        path=str(record.path),
        cards=cards,
        verdict=verdict_of(record),
        few_rows=few_rows_note(record.metrics),
        curves=[p for p in curves({"": record}) if p["name"] in (*_CURVES, judged_by.replace("_", " "))],
        worst=[entry for entry in worst if entry["wrong"]][:_SHOWN],
    )
