"""Writes report.html: everything about one run on a single self-contained page."""

import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.data.input_shapes import shape_from_json, shape_in_words
from tlkeras.data.roles import judged_first
from tlkeras.evaluation.intervals import few_rows_note, headline, score_interval
from tlkeras.report import figures
from tlkeras.report.domain_section import domain_section
from tlkeras.report.reading import RunRecord, as_json, read_run
from tlkeras.report.rendering import number, render
from tlkeras.report.suspects_page import read_suspects

# These curves come first, in this order. Other metrics follow.
_CURVES = ("loss", "accuracy", "learning_rate")
_CARDS = (("macro F1", "macro_f1"), ("calibration error", "expected_calibration_error"), ("R²", "r2"))
_BADGES = {"helped": "good", "hurt": "bad", "no_difference": "neutral"}


def write_report(run: str | os.PathLike, output: str | os.PathLike | None = None) -> Path:
    """Writes the report of a run from the files in its directory.

    Args:
        run: Run directory.
        output: Path of the page. None uses `RUN/report.html`.

    Returns:
        Path of the written page.

    Raises:
        UserError: The path is not a run directory, or a file in it is damaged.
    """
    record = read_run(run)
    if not record.run_dir.manifest.is_file():  # the run of several folds has a manifest for all of them
        record.run_dir.require_one_run()
    return render(
        "report.html",
        output or record.run_dir.report,
        title=f"{record.name} – tlkeras report",
        name=record.name,
        status="complete" if record.is_complete else "not finished yet",
        facts=_facts(record),
        cards=_cards(record),
        few_rows=few_rows_note(record.metrics),
        verdict=verdict_of(record),
        curves=curves({"": record}),
        kept=bool(record.chosen and record.chosen["step"] is not None),
        domains=[domain_section(record, domain) for domain in record.metrics],
        embeddings=_embeddings(record),
        distances=record.distances,
        class_shares=record.class_shares,
        shares_of_epochs=record.class_shares_while_training,
        health=record.health,
        suspects=read_suspects(record.run_dir.evaluation / "suspects"),
        stages=stage_rows(record),
        config=as_json(record.config),
        environment=_environment(record),
        reproduce=_reproduce(record),
    )


def curves(records: dict[str, RunRecord]) -> list[dict[str, Any]]:
    """Returns one panel per metric, with training and validation in one: `name`, `svg`, `label`, `rows`.

    Args:
        records: Runs by the name for their lines. For a single run, the lines are called training and
            validation, and the beginning of each stage is drawn.
    """
    measured = [key for r in records.values() for s in r.stages for row in s.epochs for key in row]
    bare = dict.fromkeys(key.removeprefix("val_") for key in measured)
    names = [n for n in (*_CURVES, *bare) if n in bare and n not in ("epoch", "step")]
    return [panel for name in dict.fromkeys(names) if (panel := _panel(records, name))]


def _panel(records: dict[str, RunRecord], name: str) -> dict[str, Any]:
    lines = []
    for run, record in records.items():
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            points = [(row["step"], row[key]) for s in record.stages for row in s.epochs if key in row]
            points = [point for point in points if np.isfinite(point[1])]
            if points and (not run or key.startswith("val_") or len(records) == 1):
                lines.append((run or label, *map(list, zip(*points, strict=True))))
    if not lines:
        return {}
    boundaries = _boundaries(next(iter(records.values()))) if len(records) == 1 else []
    if name == "learning_rate":
        lines = [("", steps, values) for _, steps, values in lines]
    kept = next(iter(records.values())).chosen if len(records) == 1 else None
    svg = figures.curves_figure(
        [(label if label in ("training", "validation") else "", *rest) for label, *rest in lines],
        f"curve {name}", boundaries, kept["step"] if kept else None, log=name == "learning_rate",
    )  # fmt: skip
    return {"name": name.replace("_", " "), "svg": svg, "label": _spoken(name, lines), "lines": lines}


def _spoken(name: str, lines) -> str:
    """Returns a text description of the curves for screen readers."""
    said = [f"{label or name} from {values[0]:.3g} to {values[-1]:.3g}" for label, _, values in lines]
    return f"{name.replace('_', ' ')} over {int(lines[0][1][-1])} steps: {'; '.join(said)}"


def _boundaries(record: RunRecord) -> list[tuple[str, float]]:
    begin, found = 0.0, []
    for stage in record.stages:
        found.append((stage.name, begin))
        begin = stage.epochs[-1]["step"] if stage.epochs else begin
    return found


def _facts(record: RunRecord) -> list[tuple[str, Any]]:
    model = record.config.get("model", {})
    weights = model.get("weights")
    facts = [
        ("backbone", f"{model.get('backbone')}, {'random weights' if weights is None else weights}"),
        ("data", _source(record)),
        ("started", record.manifest.get("created")),
        ("training took", record.training_seconds),
    ]
    if chosen := record.chosen:
        by = f"{chosen['monitor'].replace('_', ' ')} {number(chosen['value'])}"
        facts.append(("kept", f"epoch {chosen['epoch']} of {chosen['stage']}, by {by}"))
    if adaptation := record.config.get("adaptation"):
        facts.insert(2, ("adapted to", f"{adaptation['target']['source']} by {adaptation['method']}"))
    return facts


def _source(record: RunRecord) -> str | None:
    """Returns the source of the labelled data, or a description of arrays from Python."""
    source, rows = record.config.get("data", {}).get("source"), record.manifest.get("rows", {}).get("source")
    if source != "arrays" or not rows:
        return source
    shape = shape_in_words(shape_from_json(record.manifest["input_shape"]))
    return f"arrays from Python, {shape}: {', '.join(f'{n:,} {split}' for split, n in rows.items())}"


def headline_scores(record: RunRecord) -> list[dict[str, Any]]:
    """Returns `data`, `domain`, `metric`, `value`, `rows` and `interval` (or None) of each domain."""
    found = []
    for domain in judged_first(record.metrics):
        split = record.shown_split(domain)
        if split is None:
            continue
        values = record.metrics[domain][split]
        metric = headline(values, record.judged_by)
        predictions = record.predictions(domain, split)
        score = {"data": f"{domain} {split}", "domain": domain, "metric": metric, "value": values[metric]}
        interval = values.get("interval", {}).get(metric)
        if metric == "accuracy" and predictions is not None:
            interval = score_interval(predictions)[1:]
        found.append(score | {"rows": values["rows"], "interval": interval})
    return found


def headline_cards(record: RunRecord) -> list[dict[str, Any]]:
    """Returns the headline scores with `name`, `share` (whether in per cent) and `note` for a reader."""
    found = []
    for score in headline_scores(record):
        share = score["metric"] == "accuracy"
        ends = [f"{100 * end:.1f}" if share else number(end) for end in score["interval"] or ()]
        note = [f"95 % interval {' to '.join(ends)}"] * bool(ends) + [f"{score['rows']:,} rows"]
        name = f"{score['data']} {score['metric'].replace('_', ' ')}"
        found.append(score | {"name": name, "share": share, "note": ", ".join(note)})
    return found


def _cards(record: RunRecord) -> list[dict[str, Any]]:
    """Returns the most important metrics."""
    cards = []
    for card in headline_cards(record):
        cards.append(card)
        domain = card["domain"]
        values = record.metrics[domain][record.shown_split(domain)]
        others = [("accuracy", "accuracy"), *_CARDS]
        cards += [
            {"name": f"{domain} {label}", "value": values[key], "share": key == "accuracy", "note": ""}
            for label, key in others
            if values.get(key) is not None and key != card["metric"]
        ]
    return cards


def verdict_of(record: RunRecord) -> dict[str, Any] | None:
    """Returns the verdict with `words` and `badge` for a reader, or None where there is none.

    `others` holds the verdicts against further twins in the same form.
    """
    verdict = record.verdict
    if verdict is None:
        return None
    further = list(verdict.get("twins", {}).values())[1:]
    return _in_words(verdict) | {"others": [_in_words(other) for other in further]}


def _in_words(verdict: dict[str, Any]) -> dict[str, Any]:
    words = verdict["verdict"].replace("_", " ")
    verdict = {"log_loss": None} | verdict  # runs of earlier versions have none
    return verdict | {"words": words, "badge": _BADGES.get(verdict["verdict"], "neutral")}


def _embeddings(record: RunRecord) -> list[dict[str, Any]]:
    panels = []
    for when in ("before", "after"):
        found = record.embedding(when)
        if found is None:
            continue
        several = len(found["domain_names"]) > 1
        group = found["domain"] if several else found["label"]
        names = found["domain_names"] if several else found["class_names"]
        svg = figures.scatter_figure(found["coordinates"], group, found["domain"], f"embedding {when}")
        legend = [(int(n), names[n]) for n in np.unique(group) if 0 <= n < len(names)]
        panels.append({"when": when, "svg": svg, "legend": legend[:10], "more": max(len(legend) - 10, 0),
                       "rows": len(group), "what": "domain" if several else "class"})  # fmt: skip
    return panels


def stage_rows(record: RunRecord) -> list[dict[str, Any]]:
    """Returns what each stage trained, for how long, and how many parameters."""
    trains = {stage["name"]: stage.get("train", "head") for stage in record.config.get("stages", [])}
    return [
        {
            "name": stage.name,
            "trains": trains.get(stage.name),
            "epochs": stage.facts.get("epochs"),
            "steps": stage.facts.get("steps"),
            "trainable": stage.facts.get("trainable_parameters"),
            "extraction": stage.facts.get("extraction_seconds"),
            "seconds": stage.facts.get("training_seconds"),
        }
        for stage in record.stages
    ]


def _environment(record: RunRecord) -> list[tuple[str, Any]]:
    manifest = record.manifest
    runtime, machine = manifest.get("runtime", {}), manifest.get("machine", {})
    git = manifest.get("git") or {}
    rows = [(package, version) for package, version in manifest.get("versions", {}).items()]
    rows += [("platform", machine.get("platform")), ("python", machine.get("python"))]
    keys = ("strategy", "replicas", "devices", "precision", "deterministic")
    rows += [(key, runtime[key]) for key in keys if key in runtime]
    if git:
        rows.append(("commit", git["commit"] + (" with uncommitted changes" if git.get("changed") else "")))
    rows.append(("seed", manifest.get("seed")))
    prints = manifest.get("data_fingerprint", {})
    rows += [(f"data fingerprint, {domain}", fingerprint) for domain, fingerprint in prints.items()]
    return [(name, number(value)) for name, value in rows if value is not None]


def _reproduce(record: RunRecord) -> dict[str, str]:
    run = shlex.quote(str(record.path))
    first = record.manifest.get("command") or []
    return {
        "first": shlex.join(["tlkeras", *first[1:]]) if first and "tlkeras" in first[0] else "",
        "check": f"tlkeras reproduce {run}",
        "again": f"tlkeras train --config={run}/config.json --workdir={run}-again",
        "predict": f"tlkeras predict {run} PICTURES",
    }
