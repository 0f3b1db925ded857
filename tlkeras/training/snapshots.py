"""Everything that a run's future depends on, as named arrays: taken and put back bit for bit."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from keras import ops

from tlkeras.errors import RunError

_OF_REPLICA = re.compile(r"@\d+$")


def named_variables(model) -> dict[str, object]:
    """Returns all variables of a model by a name that is unique and the same in every process.

    The states of random generators are among them: Keras keeps them in `model.variables`, but in no
    checkpoint of its own. So are a model's `further_variables`, which Keras does not track.
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
        prefix: Stands before each name.
        replicas: Whether the values on each replica are taken too, as `NAME@0`, `NAME@1`, ..., where they
            differ: those of metrics, and statistics of BatchNormalization that are not synchronised.
    """
    arrays = {prefix + name: ops.convert_to_numpy(variable) for name, variable in named.items()}
    for name, variable in named.items() if replicas else ():
        values = [part.numpy() for part in _parts(variable)]
        if any(value.tobytes() != values[0].tobytes() for value in values[1:]):
            arrays |= {f"{prefix}{name}@{i}": value for i, value in enumerate(values)}
    return arrays


def capture_list(variables: Iterable, prefix: str, *, replicas: bool = False) -> dict[str, np.ndarray]:
    """Returns the values of variables that have no lasting name, by their position."""
    return capture({f"{i:05d}": variable for i, variable in enumerate(variables)}, prefix, replicas=replicas)


def restore(
    named: Mapping[str, object], arrays: Mapping[str, np.ndarray], prefix: str = "", *, replicas: bool = True
) -> None:
    """Puts back what `capture` took; arrays without the prefix are left alone.

    Args:
        named: Variables by name.
        arrays: What `capture` returned.
        prefix: As there.
        replicas: Whether each replica gets its own values back, where there are such, or all get the same.

    Raises:
        RunError: An array that fits no variable by name and shape.
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
    """Puts back what `capture_list` took."""
    restore({f"{i:05d}": variable for i, variable in enumerate(variables)}, arrays, prefix)


def base_name(name: str) -> str:
    """Returns the name of the variable that an array of `capture` belongs to."""
    return name.rpartition("@")[0] if _OF_REPLICA.search(name) else name


def _parts(variable) -> tuple:
    """Returns a variable's copies on this process's replicas; empty where it has but one."""
    return tuple(getattr(getattr(variable, "value", variable), "values", ()))
