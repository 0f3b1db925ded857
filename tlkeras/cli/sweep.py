"""Runs a config for each item of its sweep() and each seed, and compares. Resumes an unfinished sweep."""

from pathlib import Path

from absl import flags as absl_flags

from tlkeras import messages, studies
from tlkeras.cli.common import define_config_flags, no_arguments
from tlkeras.cli.tables import print_table
from tlkeras.errors import RunError, UserError

USAGE = "tlkeras sweep --config=FILE --workdir=DIR [--processes=N] [--seeds=K] [--set path=value ...]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    define_config_flags(flags)
    absl_flags.DEFINE_string(
        "workdir", None,
        "Folder of the runs. Processes with the same folder divide the runs. The default is runs/NAME.sweep.",
        flag_values=flags,
    )  # fmt: skip
    absl_flags.DEFINE_integer("processes", 1, "Number of parallel runs.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_integer("seeds", 1, "Number of seeds for each item of the sweep.", lower_bound=1,
                              flag_values=flags)  # fmt: skip
    absl_flags.DEFINE_boolean("dry_run", False, "Check everything and list the runs, without training.",
                              flag_values=flags)  # fmt: skip


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    no_arguments(flags, arguments)
    if not flags.config:
        raise UserError("--config is missing: give a .py file with get_config() and, for a sweep, sweep().")
    overrides = list(flags.set)
    if flags.strategy is not None:
        overrides.append(f"runtime.strategy={flags.strategy}")
    runs = studies.sweep_plan.plan_sweep(flags.config, overrides, flags.seeds)
    workdir = Path(flags.workdir or f"runs/{runs[0].name.rpartition('_')[0]}.sweep")
    if flags.dry_run:
        studies.sweep.rehearse_sweep(runs, workdir)
        print_table([{"run": r.name, "seed": r.seed, "overrides": " ".join(r.overrides)} for r in runs])
        messages.result(f"Dry run: nothing was trained, and {workdir} was not changed.")
        return
    rows = studies.sweep.run_sweep(runs, workdir, flags.processes)
    if flags.seeds > 1:
        print_table(studies.sweep_results.means_over_seeds(rows), title=f"Means over {flags.seeds} seeds")
    print_table(rows)
    messages.result(
        f"Written to {workdir / 'sweep.csv'}; the runs are compared in {workdir / studies.sweep.PAGE}."
    )
    failed = [row["run"] for row in rows if row["error"]]
    if failed:
        raise RunError(
            f"{len(failed)} of {len(rows)} runs failed: {', '.join(failed)}. The reasons are in "
            f"{workdir / 'sweep.csv'}. The same command tries them again."
        )
