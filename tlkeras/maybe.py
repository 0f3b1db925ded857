"""A type for what may be None only where nobody looks at it."""

from typing import TYPE_CHECKING, Any, TypeAlias

# `AdaptationConfig | MaybeNone` is an `AdaptationConfig` or None. Whoever reads it knows which of them, for
# example because only a run with a target comes there. As in typeshed, type checkers then ask for no test.
if TYPE_CHECKING:
    MaybeNone: TypeAlias = Any
else:
    MaybeNone = None
