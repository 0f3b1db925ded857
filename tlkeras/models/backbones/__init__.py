"""Every backbone that a config can name: its facts as data, its builder, its preprocessing.

Nothing here imports Keras until a backbone is built.
"""

from tlkeras.models.backbones.registry import BACKBONES, Backbone

__all__ = ["BACKBONES", "Backbone"]
