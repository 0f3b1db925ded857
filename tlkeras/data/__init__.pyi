"""The public names of the package for editors and type checkers, which do not see lazy imports."""

from tlkeras.data.check import check_files as check_files
from tlkeras.data.domains import Domain as Domain
from tlkeras.data.domains import load_domain as load_domain
from tlkeras.data.inspection import Inspection as Inspection
from tlkeras.data.inspection import inspect_domain as inspect_domain
from tlkeras.data.orders import epoch_order as epoch_order
from tlkeras.data.pipeline import batches_of_blocks as batches_of_blocks
from tlkeras.data.pipeline import effective_batch_size as effective_batch_size
from tlkeras.data.pipeline import evaluation_batches as evaluation_batches
from tlkeras.data.pipeline import training_batches as training_batches
from tlkeras.data.pipeline import view_pair_batches as view_pair_batches
from tlkeras.data.reading import PixelSpec as PixelSpec
from tlkeras.data.reading import read_image as read_image
from tlkeras.data.rows import Rows as Rows
from tlkeras.data.sources import SOURCES as SOURCES
