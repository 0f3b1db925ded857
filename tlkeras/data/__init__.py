"""Data: sources -> domains -> batches.

Names are looked up on first use, since only the pipeline needs TensorFlow.
"""

from tlkeras.lazy import lazy_names

_HOMES = {
    "Domain": "domains",
    "load_domain": "domains",
    "Rows": "rows",
    "SOURCES": "sources",
    "PixelSpec": "reading",
    "read_image": "reading",
    "effective_batch_size": "pipeline",
    "epoch_order": "orders",
    "training_batches": "pipeline",
    "evaluation_batches": "pipeline",
    "batches_of_blocks": "pipeline",
    "view_pair_batches": "pipeline",
    "check_files": "check",
    "Inspection": "inspection",
    "inspect_domain": "inspection",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
