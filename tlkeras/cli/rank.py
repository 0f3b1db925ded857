"""Ranks source models (backbones with weights, earlier runs) for transfer, without fine-tuning any."""

from pathlib import Path

from absl import flags as absl_flags

from tlkeras import messages, studies
from tlkeras.backend import start
from tlkeras.cli.common import config_from, define_config_flags, no_arguments
from tlkeras.cli.tables import print_table
from tlkeras.errors import UserError

# scores that the printed table leaves out, so that it fits into a line
ONLY_IN_FILE = ("h_score", "regularized_h_score", "transrate")
USAGE = "tlkeras rank --config=FILE|NAME --candidates=NAME[:WEIGHTS],... [--workdir=DIR] [--rows=N]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    define_config_flags(flags)
    absl_flags.DEFINE_string(
        "candidates", None,
        "Candidates NAME[:WEIGHTS],...: backbones, run directories or wildcards. WEIGHTS is imagenet, "
        "none, a file or a run.", flag_values=flags,
    )  # fmt: skip
    absl_flags.DEFINE_string(
        "workdir", None,
        "Output folder. Processes with the same folder divide the candidates. The default is runs/NAME.rank.",
        flag_values=flags,
    )  # fmt: skip
    absl_flags.DEFINE_integer("rows", 2000, "Largest number of training rows to use.", lower_bound=20,
                              flag_values=flags)  # fmt: skip


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    no_arguments(flags, arguments)
    if not flags.candidates:
        raise UserError("--candidates is missing, e.g. --candidates='mobilenet_v2,*lite*,runs/old'")
    config = config_from(flags)
    start(config.runtime, config.seed)
    workdir = Path(flags.workdir or f"runs/{config.name}.rank")
    table = studies.rank.rank(config, flags.candidates, workdir, rows=flags.rows)
    hidden = {
        *ONLY_IN_FILE,
        *(name for name in table[0] if all(row[name] == "" for row in table)),
    }
    print_table([{k: v for k, v in row.items() if k not in hidden} for row in table])
    messages.result((workdir / "recommendation.txt").read_text("utf-8").rstrip())
    messages.result(f"Written to {workdir / studies.rank.TABLE} (all scores) and {workdir / 'ranking.png'}.")
