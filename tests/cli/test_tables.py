"""Tables in terminals that are wide and narrow."""

import pytest

from tlkeras.cli.tables import table_text
from tlkeras.config import load_config
from tlkeras.plan import plan
from tlkeras.settled_config import checked

ROWS = [
    {
        "run": "000 model.head.name=linear",
        "accuracy": 0.66176,
        "what it is": "one dense layer on the features",
    },
    {"run": "001 model.head.name=cosine_similarity", "accuracy": 0.5, "what it is": "a cosine, and a scale"},
]


def words(rows):
    texts = [str(name) for row in rows for name in row]
    texts += [value for row in rows for value in row.values() if isinstance(value, str)]
    return {word for text in texts for word in text.split()}


@pytest.mark.parametrize("width", [50, 64, 80, 100, 200])
@pytest.mark.parametrize("experiment", ["quickstart", "resnet50_cifar10", None])
def test_no_word_is_split_and_no_line_is_too_long(experiment, width):
    rows = plan(checked(load_config(experiment))).rows if experiment else ROWS
    text = table_text(rows, width, "A title")
    assert words(rows) <= set(text.split()) and "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert text.startswith("A title")


def test_cells_are_wrapped_where_that_is_enough_and_the_table_is_turned_where_not():
    assert len(table_text(ROWS, 120).splitlines()) == 4
    assert "accuracy  0.6618" not in table_text(ROWS, 64)
    turned = table_text(ROWS, 50).splitlines()
    assert turned[1].split() == ["accuracy", "0.6618"] and turned.count("") == 1
    assert table_text([], 80) == "Nothing to list."
