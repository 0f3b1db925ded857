"""A run directory on disk: its names, complete-file writes, ledger, lock and checkpoints."""

from tlkeras.run_dir.atomic import (
    check_writable,
    disk_errors,
    make_folder,
    remove_leftovers,
    replacing,
    write_json,
    write_text,
)
from tlkeras.run_dir.checkpoints import CheckpointStore, watch_checkpoints
from tlkeras.run_dir.ledger import Ledger
from tlkeras.run_dir.lock import RunLock
from tlkeras.run_dir.places import check_place
from tlkeras.run_dir.private_copy import copy_run, own_run_dir
from tlkeras.run_dir.run_dir import RunDir, config_differences

__all__ = [
    "CheckpointStore",
    "Ledger",
    "RunDir",
    "RunLock",
    "check_place",
    "check_writable",
    "config_differences",
    "copy_run",
    "disk_errors",
    "make_folder",
    "own_run_dir",
    "remove_leftovers",
    "replacing",
    "watch_checkpoints",
    "write_json",
    "write_text",
]
