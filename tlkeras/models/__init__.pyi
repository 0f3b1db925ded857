"""The public names of the package for editors and type checkers, which do not see lazy imports."""

from tlkeras.models import backbones as backbones
from tlkeras.models import batch_size as batch_size
from tlkeras.models import nearest_neighbors as nearest_neighbors
from tlkeras.models.backbones import BACKBONES as BACKBONES
from tlkeras.models.backbones import Backbone as Backbone
from tlkeras.models.backbones import Family as Family
from tlkeras.models.build import build_model as build_model
from tlkeras.models.heads import HEADS as HEADS
from tlkeras.models.transfer_model import TransferModel as TransferModel
from tlkeras.models.weights.files import summary_rows as summary_rows
from tlkeras.models.weights.files import weights_at_hand as weights_at_hand
