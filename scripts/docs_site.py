"""Makes the pages of the documentation site that are not files of docs/: reference, tutorials, changelog.

MkDocs loads this file as a hook (`mkdocs.yml`). A page of the reference holds only directives for
mkdocstrings, which say nothing outside the site. Therefore it is no file.
"""

import importlib
import json
import re
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parents[1]

CHART = "How config, data, model, stages and the run directory are connected"

# The public names by page. `module` stands for all names in its `__all__`, and `module:NAME` for one name.
REFERENCE = {
    "training": (
        "Training and building blocks",
        "What `import tlkeras` offers: training in one call or from a config, and parts for plain Keras.",
        ("tlkeras",),
    ),
    "finished_runs": (
        "Finished runs and errors",
        "What training returns, functions that work with it, and the errors that tlkeras raises.",
        (
            "tlkeras.studies.finished_run:FinishedRun",
            "tlkeras.runs.saved_run:SavedRun",
            "tlkeras.evaluation:Predictions",
            "tlkeras.evaluation:Verdict",
            "tlkeras.evaluation.explain:grad_cam",
            "tlkeras.evaluation.explain:integrated_gradients",
            "tlkeras.evaluation.explain:occlusion",
            "tlkeras.evaluation.explain:heat_of",
            "tlkeras.evaluation.clusters:cluster",
            "tlkeras.evaluation.clusters:Clusters",
            "tlkeras.export:export_run",
            "tlkeras.export:Parity",
            "tlkeras.export:ExportRefused",
            "tlkeras.report:write_report",
            "tlkeras.report:write_comparison",
            "tlkeras.errors:UserError",
            "tlkeras.errors:RunError",
            "tlkeras.errors:Interrupted",
        ),
    ),
    "adaptation": (
        "Adaptation in plain Keras",
        "Layers and losses for your own training loop. `from tlkeras import adaptation` imports them.",
        ("tlkeras.adaptation",),
    ),
    "config": (
        "Config classes",
        "The classes and functions of `tlkeras.config`. [The config](../config.md) lists all fields by path.",
        ("tlkeras.config",),
    ),
    "extending": (
        "Registries and parts of your own",
        "A registry holds the names that a config can use. `register` adds a part of your own.",
        (
            "tlkeras.registry:Registry",
            "tlkeras.models:BACKBONES",
            "tlkeras.models:Backbone",
            "tlkeras.models:Family",
            "tlkeras.models:HEADS",
            "tlkeras.models.heads:Head",
            "tlkeras.data:SOURCES",
            "tlkeras.data.sources:Source",
            "tlkeras.data.sources:Table",
            "tlkeras.data:Rows",
            "tlkeras.data.rows:row_ids",
            "tlkeras.data.modalities:MODALITIES",
            "tlkeras.data.modalities:Modality",
            "tlkeras.methods.adapt:METHODS",
            "tlkeras.methods.adapt:Method",
            "tlkeras.methods.adapt.validators:VALIDATORS",
            "tlkeras.methods.regularize:REGULARIZERS",
            "tlkeras.methods.regularize:Regularizer",
            "tlkeras.methods.probe.probes:PROBES",
            "tlkeras.methods.probe.feature_mapping:MAPPINGS",
            "tlkeras.training.optimizers:OPTIMIZERS",
            "tlkeras.tracking:TRACKERS",
            "tlkeras.tracking:Tracker",
            "tlkeras.tracking:TrackerKind",
            "tlkeras.tracking:Facts",
            "tlkeras.tracking:report_run",
            "tlkeras.training.schedules:SCHEDULES",
            "tlkeras.training.losses:LOSSES",
            "tlkeras.evaluation.named_metrics:METRICS",
            "tlkeras.evaluation.transfer_scores:SCORES",
            "tlkeras.export:FORMATS",
        ),
    ),
}


def public_names(entries: tuple[str, ...]) -> dict[str, str]:
    """Returns the names of a page, each with the path of the module that defines it.

    Args:
        entries: Modules and `module:NAME`, as in `REFERENCE`.
    """
    found = {}
    for entry in entries:
        module, _, name = entry.partition(":")
        homes = getattr(importlib.import_module(module), "_HOMES", {})
        for one in [name] if name else importlib.import_module(module).__all__:
            if not one.startswith("_"):
                home = f"{module}.{homes[one]}" if one in homes else module
                found[f"{module}.{one}"] = f"{home}.{one}"
    return found


def reference_pages() -> dict[str, str]:
    """Returns the Markdown of the API reference by page. A name stands on the first page that has it."""
    pages, done = {}, set()
    for page, (title, text, entries) in REFERENCE.items():
        parts = [f"# {title}", text]
        for name, home in public_names(entries).items():
            if home not in done:
                label = name.rpartition(".")[2]
                parts.append(f"::: {home}\n    options:\n      heading: {name}\n      toc_label: {label}")
                done.add(home)
        pages[f"reference/{page}.md"] = "\n\n".join(parts) + "\n"
    return pages


def notebook_page(path: Path) -> str:
    """Returns a notebook as Markdown: its texts, its code, and what the code printed."""
    parts = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            text = "".join(output.get("text", output.get("data", {}).get("text/plain", "")))
            parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + f"\n\n[This page as a notebook]({path.name})\n"


class Examples(griffe.Extension):
    """Lets griffe read `Example:` in docstrings, as Keras writes it, like its own `Examples:`."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")


def on_files(files, config):
    """Adds the made pages."""
    from mkdocs.structure.files import File

    pages = reference_pages()
    for name in ("CHANGELOG", "CONTRIBUTING"):
        text = (ROOT / f"{name}.md").read_text("utf-8")
        text = text.replace("](docs/README.md", "](README.md").replace("](docs/", "](")
        pages[f"{name.lower()}.md"] = text.replace("](CHANGELOG.md", "](changelog.md")
    # its long list has every word, and would be the first that a search finds
    pages["changelog.md"] = "---\nsearch: {boost: 0.1}\n---\n" + pages["changelog.md"]
    for notebook in sorted((ROOT / "docs/tutorials").glob("*.ipynb")):
        pages[f"tutorials/{notebook.stem}.md"] = notebook_page(notebook)
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links to notebooks and to files beside docs/ into links to their pages, and shows a drawn chart.

    The library that draws charts in the browser would come from another host.
    """
    if page.file.src_uri == "design.md":
        markdown = re.sub(
            r"^```mermaid\n.*?^```", f"![{CHART}](images/design.svg)", markdown, flags=re.M | re.S
        )
    if not page.file.src_uri.startswith("tutorials/") or page.file.src_uri == "tutorials/README.md":
        markdown = re.sub(r"(\]\([^):]*)\.ipynb\)", r"\1.md)", markdown)
    return re.sub(
        r"\]\((?:\.\./)+(CONTRIBUTING|CHANGELOG)\.md", lambda found: f"]({found[1].lower()}.md", markdown
    )
