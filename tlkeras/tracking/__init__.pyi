"""The public names of the package for editors and type checkers, which do not see lazy imports."""

from tlkeras.tracking.trackers import TRACKERS as TRACKERS
from tlkeras.tracking.trackers import Facts as Facts
from tlkeras.tracking.trackers import Tracker as Tracker
from tlkeras.tracking.trackers import TrackerKind as TrackerKind
from tlkeras.tracking.trackers import check_trackers as check_trackers
from tlkeras.tracking.trackers import options_of as options_of
from tlkeras.tracking.tracking import Tracking as Tracking
from tlkeras.tracking.tracking import report_run as report_run
