"""Shows and removes cached features, which runs share: `tlkeras cache list`, `tlkeras cache clear [KEY ...]`.

Entries that lack shards are listed with the number of rows that are there. The first digits of a key are
enough. Without keys, `clear` removes everything, also what is kept about files of data, except features that
a run is computing at that moment. It asks before it does so; without a terminal it requires `--yes`.
"""

import sys
import time

from absl import flags as absl_flags

from tlkeras import features, messages
from tlkeras.cli.tables import print_table
from tlkeras.errors import UserError, unknown

USAGE = "tlkeras cache list|clear [KEY ...] [--dir=DIR] [--yes]"
KEPT = "is being computed by a run, and is kept"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_string(
        "dir", None, "Cache directory (cache.dir). The default is ~/.cache/tlkeras.", flag_values=flags
    )
    absl_flags.DEFINE_boolean("yes", False, "Remove everything without asking.", flag_values=flags)


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    action, *keys = arguments or ["list"]
    if action not in ("list", "clear"):
        raise unknown("action", action, ("list", "clear"))
    store = features.FeatureStore(flags.dir)
    if flags.dir is not None and not store.directory.is_dir():
        raise UserError(f"There is no such folder. Received: --dir={flags.dir}")
    if action == "list":
        if keys:
            raise UserError(f"'list' shows all entries and takes no key. Received: {' '.join(keys)}")
        _list(store)
    elif keys:
        _remove(store, keys)
    elif flags.yes or _agreed(store):
        freed, busy = store.clear()
        messages.result(f"{_size(freed)} freed in {store.directory}")
        for key in busy:
            messages.result(f"{key[:12]} {KEPT}")


def _agreed(store) -> bool:
    """Asks whether to remove everything. Raises `UserError` if there is no terminal to ask in."""
    entries = store.entries()
    everything = f"all {len(entries)} entries ({_size(sum(e.nbytes for e in entries))}) in {store.directory}"
    if unfinished := len(features.unfinished_entries(store)):
        everything += f", and {unfinished} unfinished"
    if not sys.stdin.isatty():
        raise UserError(
            f"'clear' without a KEY removes {everything}: add --yes, or name entries. Received: cache clear"
        )
    agreed = input(f"Remove {everything}? [y/N] ").strip().lower() in ("y", "yes")
    if not agreed:
        messages.result("Nothing was removed.")
    return agreed


def _list(store) -> None:
    entries, unfinished = store.entries(), features.unfinished_entries(store)
    made = lambda info: time.strftime("%Y-%m-%d %H:%M", time.localtime(info.created))  # noqa: E731
    rows = [_row(info, info.rows, made(info)) for info in entries]
    rows += [_row(entry, f"{_rows_there(entry):,} of {entry.rows:,}", "unfinished") for entry in unfinished]
    print_table(rows, title=f"Features in {store.directory}")
    if entries:
        messages.result(f"{len(entries)} entries, {_size(sum(info.nbytes for info in entries))}")
    if unfinished:
        messages.result(
            f"{len(unfinished)} entries lack shards. The processes that compute them, or the next run that "
            "needs them, complete them."
        )


def _row(entry, rows: int | str, made: str) -> dict:
    """Returns the line of an entry, complete or not."""
    return {
        "key": entry.key[:12],
        "backbone": entry.facts.get("backbone"),
        "trained": entry.facts.get("train"),
        "data": entry.facts.get("data"),
        "split": _split(entry.facts),
        "rows": rows,
        "shape": "x".join(map(str, entry.shape)),
        "dtype": entry.dtype,
        "extractor": entry.facts.get("extractor"),
        "size": _size(entry.rows * entry.row_bytes),
        "made": made,
    }


def _rows_there(entry) -> int:
    try:
        return entry.done_rows()
    except FileNotFoundError:  # it became whole, or somebody removed it
        return 0


def _remove(store, keys: list[str]) -> None:
    known = dict.fromkeys(entry.key for entry in (*store.entries(), *features.unfinished_entries(store)))
    for key in keys:
        found = [whole for whole in known if whole.startswith(key)]
        if len(found) != 1:
            raise UserError(
                f"A key must match the beginning of exactly one entry ('tlkeras cache list' shows them). "
                f"Received: {key!r}, which matches {len(found)}"
            )
        freed, busy = store.clear(found)
        messages.result(f"{found[0][:12]} {KEPT}" if busy else f"{_size(freed)} freed ({found[0][:12]})")


def _split(facts: dict) -> str:
    view = facts.get("view")
    return str(facts.get("split")) if view is None else f"{facts.get('split')}, view {view + 1}"


def _size(nbytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} GiB"
