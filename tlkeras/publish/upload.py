"""Uploads a folder to the Hugging Face Hub, by the Hub's own client."""

from pathlib import Path
from typing import Any

from tlkeras.errors import RunError, UserError
from tlkeras.models.weights.hub import CARD, client, client_errors, name_on_hub, said

TOKEN_ADVICE = "log in with `hf auth login`, or set the environment variable HF_TOKEN"


def check_upload(to: str) -> None:
    """Checks what an upload needs, before anything is written.

    Args:
        to: Place on the Hub, `hf://USER/NAME`.

    Raises:
        UserError: The name has another form, the client is not installed, or there is no token.
    """
    _name(to)
    if client(f"--to={to}").get_token() is None:
        raise UserError(f"The Hub needs a token that may write: {TOKEN_ADVICE}. Received: no token")


def upload(folder: Path, to: str, create: str | None = None) -> str:
    """Uploads the files of a folder as one version of a model and returns its address.

    Args:
        folder: Folder to upload.
        to: Place on the Hub, `hf://USER/NAME`.
        create: `"private"` or `"public"` to create the repository if it is missing. None refuses a missing
            one.

    Raises:
        UserError: The repository is missing, or the Hub refuses the token or the card.
        RunError: The Hub cannot be reached, or it failed.
    """
    check_upload(to)
    hub, name = client(f"--to={to}"), _name(to)
    api = hub.HfApi()
    try:
        if create:
            api.create_repo(name, private=create == "private", exist_ok=True)
        # the client first has the Hub judge the card
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Publish with tlkeras push")
    except client_errors(hub) as error:
        raise _described(error, name, to, folder) from error
    except RuntimeError as error:  # names the file whose upload failed, and has the reason as its cause
        raise _described(error.__cause__ or error, name, to, folder) from error
    return f"{api.endpoint}/{name}"


def _name(to: str) -> str:
    name, revision = name_on_hub(to, "--to")
    if revision:
        raise UserError(f"A model is pushed to the main branch: leave out @{revision}. Received: --to={to}")
    return name


def _described(error: Any, name: str, to: str, folder: Path) -> Exception:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if type(error).__name__ == "RepositoryNotFoundError":
        return UserError(
            f"The Hub has no model {name}, or your token may not see it: add --create=private or "
            f"--create=public to create it. Received: --to={to}"
        )
    if status in (401, 403):
        return UserError(
            f"The Hub refuses your token for {name}: {TOKEN_ADVICE} with the right to write there. "
            f"Received: {said(error)}"
        )
    if isinstance(error, ValueError) and status is None:
        return UserError(f"The Hub refuses {folder / CARD}: {said(error)}. Received: --to={to}")
    return RunError(
        f"The upload to {name} failed: {said(error)}. {folder} is complete: start the same command again to "
        f"upload it. Received: --to={to}"
    )
