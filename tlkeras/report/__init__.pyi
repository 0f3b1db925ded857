"""The public names of the package for editors and type checkers, which do not see lazy imports."""

from tlkeras.report import card as card
from tlkeras.report import notebook as notebook
from tlkeras.report.comparison import compare_runs as compare_runs
from tlkeras.report.comparison import write_comparison as write_comparison
from tlkeras.report.page import write_report as write_report
from tlkeras.report.reading import RunRecord as RunRecord
from tlkeras.report.reading import read_run as read_run
from tlkeras.report.tensorboard_summaries import write_tensorboard as write_tensorboard
