"""Groups of rows that stay in one split, such as the pictures of one person."""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from tlkeras.data.modalities.columns import as_name, is_absent
from tlkeras.data.text_column import TextColumn
from tlkeras.errors import UserError

_OF_PLACE = re.compile(r"line:\d+")


def check_groups(
    where: object, splits: Mapping[str, tuple[TextColumn, TextColumn]], *, completed: bool = False
) -> None:
    """Raises `UserError` if a group is in two splits. An empty name is no group.

    Args:
        where: Name of the data in messages.
        splits: Groups and names of the rows, each `(n,)`, by split.
        completed: Whether rows without a group may have a name of `names_of_places`. Such a name is no group:
            shards that were written from several lists have the same of them in several splits.
    """
    home: dict[str, str] = {}
    for split, (groups, places) in splits.items():
        names, of_row = groups.distinct()
        alone = [not name or (completed and _OF_PLACE.fullmatch(name) is not None) for name in names]
        moved = [i for i, name in enumerate(names) if not alone[i] and home.setdefault(name, split) != split]
        if moved:
            row = int(np.flatnonzero(np.isin(of_row, moved))[0])
            raise UserError(
                f"{where}, {places[row]}: a group must not be in two splits. Received: group "
                f"{groups[row]!r} in {home[groups[row]]} and {split}"
            )


def column_of_groups(groups: Iterable) -> TextColumn:
    """Returns names of groups from Python as texts `(n,)`, which are empty where a row has none.

    Whole numbers have no point, because pandas turns the numbers of a column with an empty cell into floats.
    """
    return TextColumn.of("" if is_absent(one) else as_name(one) for one in groups)


def groups_of_list(groups: TextColumn) -> TextColumn:
    """Returns the groups of a list with the names that `column_of_groups` gives, so that 3.0 is the group 3.

    Args:
        groups: Cells of the column `(n,)`, empty where a row has no group.
    """
    with_point = any(name.endswith(".0") for name in groups.distinct()[0])
    return TextColumn.of(map(as_name, groups)) if with_point else groups


def names_of_places(places: Iterable[int]) -> Iterable[str]:
    """Yields the names of rows that are groups of their own.

    The order of these names has an influence on the choice of the splits. They are the same for a row of a
    DataFrame and of a list in any file format: the line that the row has in a CSV file, if each row takes
    one line.

    Args:
        places: Numbers of the rows in the data, from 0 on.
    """
    return (f"line:{place + 2}" for place in places)


def completed_groups(groups: TextColumn, row_names: Iterable[str]) -> TextColumn | None:
    """Returns groups in which each row without one is a group of its own, or None if no row has one.

    Args:
        groups: Names of the groups `(n,)`, empty where a row has none.
        row_names: Names of the rows `(n,)`, such as `names_of_places` gives.
    """
    alone = groups.lengths() == 0
    if alone.all():
        return None
    if not alone.any():
        return groups
    pairs = zip(groups, row_names, strict=True)
    return TextColumn.of(group or name for group, name in pairs)
