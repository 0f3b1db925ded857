"""The complete state of a run as named arrays, saved and restored bit by bit."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from tlkeras.errors import RunError

_OF_REPLICA = re.compile(r"@\d+$")


def named_variables(model) -> dict[str, keras.Variable]:
    """Returns all variables of a model by a name that is unique and the same in every process.

    They include the states of random generators, which are in `model.variables` but not in Keras' own
    checkpoints, and the model's `further_variables`, which Keras does not track.
    """
    seen: Counter[str] = Counter()
    named = {}
    for variable in model.variables:
        count = seen[variable.path]
        seen[variable.path] += 1
        named[f"{variable.path}#{count}" if count else variable.path] = variable
    further = enumerate(getattr(model, "further_variables", ()))
    return named | {f"further/{i:05d}": variable for i, variable in further}


def capture(
    named: Mapping[str, object], prefix: str = "", *, replicas: bool = False
) -> dict[str, np.ndarray]:
    """Returns the values of named variables as numpy arrays.

    Args:
        named: Variables by name.
        prefix: Text before each name.
        replicas: Whether the values of each replica are included as `NAME@0`, `NAME@1`, ... if they differ.
            These are metrics, and BatchNormalization statistics that are not synchronised.
    """
    arrays = {prefix + name: ops.convert_to_numpy(variable) for name, variable in named.items()}
    for name, variable in named.items() if replicas else ():
        values = [part.numpy() for part in _parts(variable)]
        if any(value.tobytes() != values[0].tobytes() for value in values[1:]):
            arrays |= {f"{prefix}{name}@{i}": value for i, value in enumerate(values)}
    return arrays


def capture_list(variables: Iterable, prefix: str, *, replicas: bool = False) -> dict[str, np.ndarray]:
    """Returns the values of variables without a stable name, by their position.

    Args:
        variables: Variables in a fixed order.
        prefix: Start of the names of the values.
        replicas: Whether the values of all replicas are returned.
    """
    return capture({f"{i:05d}": variable for i, variable in enumerate(variables)}, prefix, replicas=replicas)


def restore(
    named: Mapping[str, Any], arrays: Mapping[str, np.ndarray], prefix: str = "", *, replicas: bool = True
) -> None:
    """Restores the values that `capture` returned. Arrays without the prefix are ignored.

    Args:
        named: Variables by name.
        arrays: Arrays that `capture` returned.
        prefix: Text before each name.
        replicas: Whether each replica gets its own values, if there are any. Otherwise all get the same.

    Raises:
        RunError: An array fits no variable by name and shape.
    """
    arrays = {name[len(prefix) :]: values for name, values in arrays.items() if name.startswith(prefix)}
    for name, values in sorted(arrays.items()):  # NAME@0 after NAME
        variable = named.get(base_name(name))
        if variable is None or tuple(variable.shape) != values.shape:
            raise RunError(
                f"The checkpoint does not fit the model: {name} has shape {values.shape} there, "
                f"{'no such variable' if variable is None else tuple(variable.shape)} here."
            )
        if name == base_name(name):
            variable.assign(values)
        elif replicas and f"{base_name(name)}@{len(_parts(variable)) - 1}" in arrays:
            _parts(variable)[int(name.rpartition("@")[2])].assign(values)


def restore_list(variables: Iterable, arrays: Mapping[str, np.ndarray], prefix: str) -> None:
    """Restores the values that `capture_list` returned.

    Args:
        variables: Variables in the same order.
        arrays: Values by name.
        prefix: Start of the names of the values.
    """
    restore({f"{i:05d}": variable for i, variable in enumerate(variables)}, arrays, prefix)


def base_name(name: str) -> str:
    """Returns the name of the variable that an array of `capture` belongs to."""
    return name.rpartition("@")[0] if _OF_REPLICA.search(name) else name


def _parts(variable) -> tuple:
    """Returns the copies of a variable on the replicas of this process. Empty if there is only one."""
    return tuple(getattr(getattr(variable, "value", variable), "values", ()))
