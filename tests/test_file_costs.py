"""The lists of long and quick files name files, and no file is both."""

from pathlib import Path

from file_costs import LONG, QUICK


def test_every_listed_file_is_there_once():
    listed = [*LONG, *QUICK]
    assert len(set(listed)) == len(listed)
    missing = [name for name in listed if not (Path(__file__).parent / name).is_file()]
    assert not missing
