"""Texts: token ids and a mask."""

from tlkeras.data.modalities.base import Modality


class Text(Modality):
    """Token ids and mask (1 for tokens, 0 for padding), both int32 `(max_length,)`."""

    name = "text"
    plural = "texts"
    dtypes = {"ids": "int32", "mask": "int32"}
    augmentations = ()

    def assumed_shape(self, config, default_size=None):
        return dict.fromkeys(self.dtypes, (config.max_length,))

    def fits(self, shape):
        return isinstance(shape, dict) and set(shape) == set(self.dtypes)
