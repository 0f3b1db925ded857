"""The public names of the package for editors and type checkers, which do not see lazy imports."""

from tlkeras.features.cache import FeatureCache as FeatureCache
from tlkeras.features.extractors import EXTRACTORS as EXTRACTORS
from tlkeras.features.identity import Request as Request
from tlkeras.features.stage_features import StageFeatures as StageFeatures
from tlkeras.features.store import EntryInfo as EntryInfo
from tlkeras.features.store import FeatureStore as FeatureStore
from tlkeras.features.unfinished import unfinished_entries as unfinished_entries
