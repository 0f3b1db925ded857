"""A run directory on disk: its names, complete-file writes, ledger, lock and checkpoints.

Names are looked up on first use, since only checkpoints need NumPy.
"""

from tlkeras.lazy import lazy_names

_HOMES = {
    "check_writable": "atomic",
    "disk_errors": "atomic",
    "make_folder": "atomic",
    "remove_leftovers": "atomic",
    "replacing": "atomic",
    "write_json": "atomic",
    "write_text": "atomic",
    "CheckpointStore": "checkpoints",
    "watch_checkpoints": "checkpoints",
    "Ledger": "ledger",
    "InUse": "lock",
    "RunLock": "lock",
    "cache_directory": "places",
    "check_place": "places",
    "refuse_differences": "places",
    "copy_run": "private_copy",
    "own_run_dir": "private_copy",
    "RunDir": "run_dir",
    "config_differences": "run_dir",
    "SharedWork": "shared_work",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
