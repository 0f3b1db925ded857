"""The public names of the package for editors and type checkers, which do not see lazy imports."""

from tlkeras.export.export import export_run as export_run
from tlkeras.export.formats import FORMATS as FORMATS
from tlkeras.export.parity import ExportRefused as ExportRefused
from tlkeras.export.parity import Parity as Parity
from tlkeras.export.served_model import ServedModel as ServedModel
