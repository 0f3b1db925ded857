"""Everything that a run's future depends on, as named arrays: taken and put back bit for bit."""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from keras import ops

from tlkeras.errors import RunError


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


def capture(named: Mapping[str, object], prefix: str = "") -> dict[str, np.ndarray]:
    """Returns the values of named variables as numpy arrays."""
    return {prefix + name: ops.convert_to_numpy(variable) for name, variable in named.items()}


def capture_list(variables: Iterable, prefix: str) -> dict[str, np.ndarray]:
    """Returns the values of variables that have no lasting name, by their position."""
    return {f"{prefix}{i:05d}": ops.convert_to_numpy(v) for i, v in enumerate(variables)}


def restore(named: Mapping[str, object], arrays: Mapping[str, np.ndarray], prefix: str = "") -> None:
    """Puts back what `capture` took; arrays without the prefix are left alone.

    Raises:
        RunError: An array that fits no variable by name and shape.
    """
    for name, values in arrays.items():
        if not name.startswith(prefix):
            continue
        variable = named.get(name[len(prefix) :])
        if variable is None or tuple(variable.shape) != values.shape:
            raise RunError(
                f"The checkpoint does not fit the model: {name} has shape {values.shape} there, "
                f"{'no such variable' if variable is None else tuple(variable.shape)} here."
            )
        variable.assign(values)


def restore_list(variables: Iterable, arrays: Mapping[str, np.ndarray], prefix: str) -> None:
    """Puts back what `capture_list` took."""
    restore({f"{i:05d}": variable for i, variable in enumerate(variables)}, _with(arrays, prefix), prefix)


def _with(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name: values for name, values in arrays.items() if name.startswith(prefix)}
