"""Publishes a finished run on the Hugging Face Hub, or in a folder: its model, its card and what it needs.

A card in RUN/card, which `tlkeras card` wrote and a person may have edited, is published as it is.
"""

import shutil
from pathlib import Path

from absl import flags as absl_flags

from tlkeras import messages, publish
from tlkeras.cli.common import one_run
from tlkeras.errors import UserError

USAGE = "tlkeras push RUN --to=hf://USER/NAME|FOLDER [--license=NAME] [--create=private|public]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_string("to", None, "Place: hf://USER/NAME on the Hub, or a folder.", flag_values=flags)
    absl_flags.DEFINE_string(
        "license", None, "Licence in a new card, as the Hugging Face Hub names it, e.g. apache-2.0.",
        flag_values=flags,
    )  # fmt: skip
    absl_flags.DEFINE_enum("create", None, ["private", "public"], "Create the repository if it is missing.",
                           flag_values=flags)  # fmt: skip


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    run_dir = one_run(arguments)
    if not flags.to:
        raise UserError("Name the place with --to=hf://USER/NAME or --to=FOLDER. Received: no --to")
    on_hub = flags.to.startswith("hf://")
    if on_hub:
        publish.upload.check_upload(flags.to)
    else:
        publish.folder.refuse_other_content(flags.to)
    folder = publish.folder.write_folder(run_dir, None, flags.license, keep_card=True).parent
    if on_hub:
        messages.result(publish.upload.upload(folder, flags.to, flags.create))
    else:
        messages.result(shutil.copytree(folder, Path(flags.to).expanduser(), dirs_exist_ok=True))
