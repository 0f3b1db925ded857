"""The tensors of a checkpoint under the names of this project's layers."""

import re
from collections.abc import Mapping, Sequence

import numpy as np


class Tensors(dict[str, np.ndarray]):
    """Arrays by the name that they have here, such as `block_0_norm_1.weight`.

    A tensor whose name no pattern knows is none of the backbone's, a classifier for example; `unused` names
    them. The prefix under which transformers saves a network of timm does not count.

    Args:
        arrays: Arrays of the checkpoint by name.
        names: (pattern, template) for `re.sub`; the first pattern that is found in a name translates it.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], names: Sequence[tuple[str, str]]):
        super().__init__()
        self.unused: list[str] = []
        self._origins: dict[str, str] = {}
        for name, array in arrays.items():
            bare = name.removeprefix("timm_model.")
            pattern, template = next((pair for pair in names if re.search(pair[0], bare)), (None, None))
            if pattern is None:
                self.unused.append(name)
            else:
                self.put(re.sub(pattern, template, bare), array, name)

    def origin(self, name: str) -> str:
        """Returns what the checkpoint calls a tensor."""
        return self._origins.get(name, name)

    def put(self, name: str, array: np.ndarray, origin: str) -> None:
        """Adds a tensor that was made of the one called `origin`, here or in the checkpoint."""
        self[name] = array
        self._origins[name] = self.origin(origin)

    def take(self, name: str, default: np.ndarray | None = None) -> np.ndarray | None:
        """Removes a tensor and returns it; `default` where there is none."""
        return self.pop(name, default)

    def split(self, name: str, parts: Sequence[str]) -> None:
        """Cuts a tensor into equal parts along its first axis."""
        for part, array in zip(parts, np.split(self.pop(name), len(parts)), strict=True):
            self.put(part, array, name)
