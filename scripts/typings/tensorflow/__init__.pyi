"""TensorFlow without types for pyright, whose own stubs of it describe only a part, of an earlier version."""

from typing import Any

def __getattr__(name: str) -> Any: ...
