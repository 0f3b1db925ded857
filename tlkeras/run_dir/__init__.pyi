"""The public names of the package for editors and type checkers, which do not see lazy imports."""

from tlkeras.run_dir.atomic import check_writable as check_writable
from tlkeras.run_dir.atomic import disk_errors as disk_errors
from tlkeras.run_dir.atomic import make_folder as make_folder
from tlkeras.run_dir.atomic import remove_leftovers as remove_leftovers
from tlkeras.run_dir.atomic import replacing as replacing
from tlkeras.run_dir.atomic import write_json as write_json
from tlkeras.run_dir.atomic import write_text as write_text
from tlkeras.run_dir.checkpoints import CheckpointStore as CheckpointStore
from tlkeras.run_dir.checkpoints import watch_checkpoints as watch_checkpoints
from tlkeras.run_dir.ledger import Ledger as Ledger
from tlkeras.run_dir.lock import InUse as InUse
from tlkeras.run_dir.lock import RunLock as RunLock
from tlkeras.run_dir.places import cache_directory as cache_directory
from tlkeras.run_dir.places import check_place as check_place
from tlkeras.run_dir.places import refuse_differences as refuse_differences
from tlkeras.run_dir.private_copy import copy_run as copy_run
from tlkeras.run_dir.private_copy import own_run_dir as own_run_dir
from tlkeras.run_dir.run_dir import RunDir as RunDir
from tlkeras.run_dir.run_dir import config_differences as config_differences
from tlkeras.run_dir.shared_work import SharedWork as SharedWork
