"""Functions to open models of earlier runs and `.keras` files."""

from pathlib import Path

import keras

from tlkeras.errors import UserError

# Models that were passed from Python, by the path of the file in which their run keeps them.
PASSED: dict[str, keras.Model] = {}


def open_source(value: str, field: str) -> keras.Model:
    """Returns the model that a config names by the directory of a run or a `.keras` file.

    Args:
        value: Value in the config.
        field: Name of the field in messages.

    Raises:
        UserError: There is no such model, or Keras cannot read it.
    """
    path = Path(value).expanduser()
    if path.is_dir():
        return best_model(path, field)
    if path.is_file() and path.suffix == ".keras":
        return read_model(path)
    what = "Its name must end in .keras" if path.is_file() else "There is no such file or directory"
    raise UserError(
        f"{field} must be the directory of an earlier run or a .keras file. {what}. "
        f"Received: {field}={value!r}"
    )


def best_model(run: Path, field: str) -> keras.Model:
    """Returns the best model of a run directory. Raises `UserError` if there is none."""
    file = run / "best.keras"
    if not file.is_file():
        raise UserError(
            f"{run} holds no best.keras: it is not a run directory, or its run has not finished an epoch. "
            f"Received: {field}={str(run)!r}"
        )
    return read_model(file)


def read_model(file: Path) -> keras.Model:
    """Returns the model in a `.keras` file, without running code from the file, or raises `UserError`.

    A model that was passed from Python is returned itself, because its file is written later.
    """
    if str(file) in PASSED:
        return PASSED[str(file)]
    try:
        return keras.models.load_model(file, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"Keras cannot read {file}: {reason}") from error
