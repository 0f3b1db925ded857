"""The tensors of a checkpoint, renamed to the layers of tlkeras."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from tlkeras.maybe import MaybeNone


class Tensors(dict[str, np.ndarray]):
    """Arrays by their names in tlkeras, such as `block_0_norm_1.weight`.

    A tensor whose name matches no pattern does not belong to the backbone. It is for example part of a
    classifier. `unused` lists such names. A prefix that transformers adds to the
    names of timm's networks is ignored.

    Args:
        arrays: Arrays of the checkpoint by name.
        names: Pairs (pattern, template) for `re.sub`. The first pattern that matches a name translates it.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], names: Sequence[tuple[str, str]]):
        super().__init__()
        self.unused: list[str] = []
        self._origins: dict[str, str] = {}
        for name, array in arrays.items():
            bare = name.removeprefix("timm_model.")
            found = next((pair for pair in names if re.search(pair[0], bare)), None)
            if found is None:
                self.unused.append(name)
            else:
                self.put(re.sub(*found, bare), array, name)

    def origin(self, name: str) -> str:
        """Returns the name of a tensor in the checkpoint."""
        return self._origins.get(name, name)

    def put(self, name: str, array: np.ndarray, origin: str) -> None:
        """Adds a tensor.

        Args:
            name: Name of the tensor in tlkeras.
            array: Values of the tensor.
            origin: Name of the tensor from which it was computed, in tlkeras or in the checkpoint.
        """
        self[name] = array
        self._origins[name] = self.origin(origin)

    def take(self, name: str, default: np.ndarray | None = None) -> np.ndarray | MaybeNone:
        """Removes a tensor and returns it. Returns `default` if there is no such tensor."""
        return self.pop(name, default)

    def split(self, name: str, parts: Sequence[str]) -> None:
        """Replaces a tensor by equal parts along its first axis.

        Args:
            name: Name of the tensor.
            parts: Names of the parts, in their order.
        """
        for part, array in zip(parts, np.split(self.pop(name), len(parts)), strict=True):
            self.put(part, array, name)
