"""Every code block of README.md, CONTRIBUTING.md and docs/ runs, or is at least a command that would.

Python blocks of one page share a namespace and run in a folder that has what the pages speak of. Of the
shell's blocks every `tlkeras` command is parsed: its flags exist, its config loads, every `--set` fits. Each
is also run, as it stands (`EXECUTED`), made smaller (`SMALLER`) or by another test (`ELSEWHERE`); a command
that stands in none of the three fails. Scripts that are named must exist.
"""

import ast
import importlib
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags as absl_flags
from PIL import Image
from variants import all_but

import tlkeras
from tlkeras.cli.main import COMMANDS, main
from tlkeras.config import ExperimentConfig, apply_overrides, load_config
from tlkeras.models import BACKBONES, HEADS
from tlkeras.registry import Registry

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {str(page.relative_to(ROOT)): page for page in PAGES if page.is_file()}

# Each command of each page stands in one of these three, so that none is skipped without a word.
SHARDS = "tlkeras shards --config=image_folder --set data.source=folder:PICTURES --output=shards"
EXECUTED = {  # as it stands
    "tlkeras inspect --config=image_folder --set data.source=folder:PICTURES",
    SHARDS,
    "tlkeras predict runs/mine ONE.jpg A_FOLDER",
    "tlkeras embed runs/mine PICTURES --clusters=3",
    "tlkeras embed runs/mine PICTURES --clusters=3 --mixture --output=mixture.csv",
    "tlkeras report runs/quickstart",
    "tlkeras card runs/mine --license=apache-2.0",
    "tlkeras push runs/mine --to=published",
    "tlkeras export runs/quickstart --format=saved_model",
    "tlkeras export runs/quickstart --format=onnx,litert_float16",
    "tlkeras plan --config=quickstart --set 'verdict.twins=[\"scratch\"]'",
    "tlkeras plan --config=quickstart --set stages.1.train=all --set stages.1.optimizer.learning_rate=1e-4",
    "tlkeras list heads",
    "tlkeras list sources",
    "tlkeras list methods",
    "tlkeras list optimizers",
    "tlkeras sweep --config=heads.py --dry_run",
    "tlkeras sweep --config=heads.py --workdir=runs/heads",
    "tlkeras compare runs/heads --output=compare.html",
    "bash scripts/launch_tpu_vm.sh --name=cats --zone=us-central1-b --dry_run -- --config=vgg16_cats_vs_dogs",
}
_TINY = "model.backbone=small_cnn model.weights=none model.fallback=none data.image_size=16 data.batch_size=4"
_SHORT = f"{_TINY} stages.0.epochs=1 stages.1.epochs=1"
SMALLER = {  # with these words of `--set` added: a tiny network of random weights, one epoch
    "tlkeras train --config=image_folder --set data.source=folder:PICTURES --workdir=runs/mine":
        f"{_SHORT} stages.1.train=last:1 stages.1.optimizer.schedule.warmup_steps=0",
    "tlkeras train --config=hospital_to_hospital --set data.source=folder:HERE "
    "--set adaptation.target.source=folder:THERE":
        f"{_SHORT} adaptation.seeds=1 stages.1.train=all",
    "tlkeras train --config=image_folder --set data.source=tfrecords:shards --workdir=runs/shards":
        f"{_SHORT} stages.1.train=last:1",
    "tlkeras train --config=moons_dann --workdir=runs/moons": "stages.0.steps=40",
}  # fmt: skip
ELSEWHERE = {  # what runs it, or checks it where it needs a cluster or a network
    "bash scripts/quickstart.sh": "tests/test_launch_scripts.py",
    "bash scripts/test.sh": "scripts/test.sh",
    "bash scripts/release.sh release": "scripts/release.sh",
    "source .venv/bin/activate": "scripts/_environment.sh",
    "ruff check . '&&' ruff format .": "scripts/test.sh",
    "python -m pytest tests/data -q": "scripts/test.sh",
    "pyright": "tests/test_types.py",
    "python -W error -m pytest tests/test_docs.py -q": "scripts/test.sh",
    "tensorboard --logdir runs/quickstart/tensorboard": "tests/report/test_tensorboard.py",
    "tlkeras evaluate runs/stripes": "tests/test_registry.py",
    "tlkeras train --config=synthetic_smoke --strategy=mirrored --set runtime.devices=2 "
    "--workdir=runs/mirrored": "tests/distributed/test_whole_runs.py",
    "bash scripts/launch_multi_worker.sh --workers=2 -- --config=synthetic_smoke --workdir=runs/two":
        "tests/test_launch_scripts.py",
    "sbatch scripts/slurm.sbatch --config=synthetic_smoke --workdir=/shared/runs/smoke":
        "tests/test_launch_scripts.py",
    "kubectl apply -f scripts/kubernetes.yaml": "tests/test_launch_scripts.py",
    "sbatch --array=0-7 scripts/slurm_search.sbatch sweep --config=heads.py --workdir=/shared/runs/heads":
        "tests/test_launch_scripts.py",
    "kubectl apply -f scripts/kubernetes_search.yaml": "tests/test_launch_scripts.py",
    "tlkeras auto --config=image_folder --set data.source=folder:PICTURES --budget=20m "
    "--storage=mysql://USER:PASSWORD@HOST/NAME --workdir=/shared/runs/search": "tests/studies/test_auto.py",
    "tlkeras train --config=synthetic_smoke --workers=host-a:22220,host-b:22220 --worker_index=0 --dry_run":
        "tests/cli/test_train_workers.py",
    "tlkeras rank --config=image_folder --set data.source=folder:PICTURES --candidates='*lite*'":
        "tests/studies/test_rank.py",
    "tlkeras auto --config=image_folder --set data.source=folder:PICTURES --budget=20m":
        "tests/studies/test_auto.py",
    "tlkeras extract --config=synthetic_smoke --set cache.dir=/shared/cache": "tests/studies/test_extract.py",
    "tlkeras reproduce runs/mine": "tests/studies/test_reproduce.py",
    "tlkeras train --config=zero_shot --set data.source=folder:PICTURES --workdir=runs/zero_shot":
        "tests/models/test_zero_shot.py",
    "tlkeras train --config=image_folder --set data.source=folder:PICTURES --set judged_by=macro_f1 "
    "--workdir=runs/by_f1": "tests/training/test_own_parts.py",
    "tlkeras predict runs/mine A_FOLDER --coverage=.9": "tests/runs/test_trusted_answers.py",
    "tlkeras demo runs/mine": "tests/demo/test_demo_page.py",
    "tlkeras push runs/mine --to=hf://me/mine --create=private": "tests/publish/test_push.py",
    "tlkeras merge runs/heads/heads_0 runs/heads/heads_1 --workdir=runs/soup": "tests/studies/test_merge.py",
    "tlkeras train --config=synthetic_smoke --workdir=runs/tracked --set 'tracking=[\"mlflow\"]'":
        "tests/faults/test_mlflow_server.py",
    "tlkeras inspect --config=image_folder --set data.source=folder:PICTURES --features --workdir=suspects":
        "tests/studies/test_inspect_features.py",
    "tlkeras train --config=image_folder --set data.source=folder:PICTURES "
    "--set data.exclude=suspects/suspects.csv --workdir=runs/mine": "tests/studies/test_inspect_features.py",
    "tlkeras inspect --config=runs/mine/config.json --features --workdir=runs/mine/evaluation/suspects":
        "tests/studies/test_inspect_features.py",
    "tlkeras report runs/mine": "tests/studies/test_inspect_features.py",
    "tlkeras adapt runs/mine --target=folder:A_FOLDER": "tests/studies/test_source_free.py",
    "tlkeras adapt runs/mine --target=folder:A_FOLDER --method=shot --epochs=5 --workdir=runs/mine_there":
        "tests/studies/test_source_free.py",
}  # fmt: skip
ELSEWHERE_PAGES = {"docs/reports.md": "tests/report/test_reports_page.py"}
LANGUAGES = {"bash", "sh", "python", "py", "mermaid", ""}  # py: code that does not run here
OTHER_PROGRAMS = (
    "bash", "git", "kubectl", "pip", "pyright", "python", "ruff", "sbatch", "source", "tensorboard",
)  # fmt: skip
TEN_LINES = tuple(
    f"adding_{what}.md" for what in ("a_backbone", "a_head", "a_source", "a_method", "an_optimizer")
)


def blocks(page: Path, *languages: str) -> list[str]:
    words = "|".join(languages)
    return re.findall(rf"^```(?:{words})\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """Returns the commands of a page as words, without comments and assignments to the environment."""
    found = []
    for block in blocks(page, "bash", "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            found += [words] if words else []
    return found


def picture(path: Path, number: int, label: int) -> None:
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 60, (24, 30, 3)) + np.eye(3, dtype=int)[label] * 150
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path, trained, monkeypatch) -> Path:
    """The folder in which a reader stands: pictures of three kinds, and finished runs."""
    for label, kind in enumerate(("apples", "leaves", "skies")):
        for number in range(10):
            picture(tmp_path / "PICTURES" / kind / f"no {number}.png", number, label)  # names may have spaces
    for name in ("pictures", "HERE", "THERE"):
        shutil.copytree(tmp_path / "PICTURES", tmp_path / name)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "heads.py").write_text(blocks(PAGES["docs/many_runs.md"], "python")[0])
    shutil.copytree(tmp_path / "PICTURES/leaves", tmp_path / "A_FOLDER")
    picture(tmp_path / "ONE.jpg", 99, 2)
    for name in ("smoke", "mine", "quickstart"):
        shutil.copytree(trained, tmp_path / "runs" / name)
    shutil.copytree(trained, tmp_path / "published", ignore=shutil.ignore_patterns("ledger.jsonl"))
    (tmp_path / "published/README.md").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def shipped_names():
    """Takes back what a page registers, because other tests in this process count on the shipped names."""
    for module in pkgutil.walk_packages(tlkeras.__path__, "tlkeras."):
        if module.name != "tlkeras.__main__" and ".experiments" not in module.name:
            importlib.import_module(module.name)  # what registers late would seem to come from the page
    modules = [module for name, module in sys.modules.items() if name.startswith("tlkeras")]
    found = {value for module in modules for value in vars(module).values() if type(value) is Registry}
    before = {registry: dict(registry._entries) for registry in found}
    yield
    for registry, entries in before.items():
        registry._entries.clear()
        registry._entries.update(entries)


def parsed(command: str, words: list[str]) -> tuple[absl_flags.FlagValues, list[str]]:
    module = importlib.import_module(f"tlkeras.cli.{command}")
    flags = absl_flags.FlagValues()
    module.define_flags(flags)
    absl_flags.DEFINE_boolean("debug", False, "", flag_values=flags)
    return flags, flags([command, *words])[1:]


def check(words: list[str]) -> None:
    """Raises where a `tlkeras` command of a page could not be started."""
    command, *rest = words
    assert command in COMMANDS, f"no command {command!r}"
    flags, _ = parsed(command, rest)
    if "config" in flags and flags.config is not None:
        config = load_config(flags.config, flags.set)
        BACKBONES.get(config.model.backbone)
        HEADS.get(config.model.head.name)
    elif "set" in flags and flags.set:
        apply_overrides(load_config("synthetic_smoke"), flags.set)


def python_pages() -> list[str]:
    return [name for name, page in PAGES.items() if blocks(page, "python") and name != "docs/reports.md"]


@pytest.mark.parametrize("name", python_pages())  # tests/report/test_reports_page.py runs that of reports.md
def test_python_of_a_page_runs(name, folder, shipped_names, capsys):
    names = {"__name__": "page"}
    for number, code in enumerate(blocks(PAGES[name], "python")):
        exec(compile(code, f"{name}, block {number}", "exec"), names)
    assert "Broken twin" not in capsys.readouterr().out
    if "get_config" in names:
        config = names["get_config"]()
        assert isinstance(config, ExperimentConfig)
        rates = [stage.optimizer.learning_rate for stage in config.stages]
        # at the head's rate, pretrained blocks forget what they knew
        assert rates == sorted(rates, reverse=True) and len(set(rates)) == len(rates)
    if "run" in names:
        assert (names["run"].path / "report.html").is_file()


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if commands(page)])
def test_commands_of_a_page_could_be_started(name, folder):
    for program, *words in commands(PAGES[name]):
        if program == "tlkeras":
            check(words)
            continue
        assert program in OTHER_PROGRAMS, f"{program} is neither tlkeras nor a program that pages may name"
        for word in words:
            if re.match(r"(scripts|benchmarks|tests|experiments)/", word):
                assert (ROOT / word).exists(), word
        if any(word.startswith("--config=") for word in words):  # a launcher: what it hands to train
            check(["train", *words[words.index("--") + 1 if "--" in words else 1 :]])


def standing() -> set[str]:
    """Returns all commands of all pages."""
    return {
        shlex.join(words)
        for name, page in PAGES.items()
        if name not in ELSEWHERE_PAGES
        for words in commands(page)
    }


def test_no_command_is_left_out_in_silence():
    known = [shlex.join(shlex.split(c)) for c in (*EXECUTED, *SMALLER, *ELSEWHERE)]
    assert sorted(known) == sorted(standing())
    for path in (*ELSEWHERE.values(), *ELSEWHERE_PAGES.values()):
        assert (ROOT / path).is_file(), path
    for name, page in PAGES.items():
        fences = re.findall(r"^```(.*)$", page.read_text("utf-8"), re.MULTILINE)
        assert len(fences) % 2 == 0 and set(fences) <= LANGUAGES, name


@pytest.mark.parametrize("command", sorted(EXECUTED))
def test_commands_of_the_pages_run(command, folder, capsys):
    program, *words = shlex.split(command)
    if command.startswith("tlkeras compare runs/heads"):
        for name in ("heads_0", "heads_1"):
            shutil.copytree(folder / "runs/smoke", folder / "runs/heads" / name)
    if program == "tlkeras":
        assert main(words) == 0, capsys.readouterr().err
    else:
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stdout, done.stderr


@pytest.mark.parametrize(
    "command", all_but([c for c in sorted(SMALLER) if "hospital" not in c], sorted(SMALLER))
)
def test_long_commands_of_the_pages_run_when_made_smaller(command, folder, capsys):
    shutil.rmtree(folder / "runs")
    if "tfrecords:shards" in command:
        assert main(shlex.split(SHARDS)[1:]) == 0
    changes = [word for change in SMALLER[command].split() for word in ("--set", change)]
    assert main([*shlex.split(command)[1:], *changes]) == 0, capsys.readouterr().err
    (report,) = folder.glob("runs/*/report.html")
    assert report.stat().st_size > 10_000


@pytest.mark.parametrize("name", PAGES)
def test_commands_named_in_sentences_exist(name):
    text = re.sub(r"^```.*?^```", "", PAGES[name].read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for command in re.findall(r"`tlkeras ([a-z_]+)", text):
        assert command in COMMANDS


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    page = PAGES[name]
    for target in re.findall(r"\]\((?!https?:)([^)#]*)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert not target or (page.parent / target).exists(), target


@pytest.mark.parametrize("name", TEN_LINES)
def test_what_is_added_takes_at_most_ten_lines(name):
    first = blocks(PAGES[f"docs/{name}"], "python")[0]
    assert len([line for line in first.splitlines() if line.strip()]) <= 12  # imports included
    code = [node for node in ast.parse(first).body if not isinstance(node, ast.Import | ast.ImportFrom)]
    assert sum(node.end_lineno - node.lineno + 1 for node in code) <= 10


def test_the_page_on_the_design_shows_the_floors():
    from test_architecture import FLOORS

    rows = re.findall(r"^\| (`.*?`) \|", (ROOT / "docs/design.md").read_text("utf-8"), re.MULTILINE)
    assert [tuple(re.findall(r"`(\w+)`", row)) for row in rows] == list(FLOORS)


def test_the_readme_is_short():
    assert len(PAGES["README.md"].read_text("utf-8").splitlines()) <= 120


def test_the_index_names_every_page():
    index = (ROOT / "docs/README.md").read_text("utf-8")
    missing = [p.name for p in (ROOT / "docs").glob("*.md") if p.name != "README.md" and p.name not in index]
    assert not missing


def test_a_wrong_command_is_found(folder):
    for words in (
        ["trian"],
        ["train", "--confg=digits"],
        ["train", "--config=digits", "--set", "data.sorce=x"],
    ):
        with pytest.raises(Exception, match=r"trian|confg|sorce"):
            check(words)


def test_the_citation_says_version_and_licence():
    import yaml

    from tlkeras import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert str(citation["version"]) == __version__ and citation["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors", "type"} <= citation.keys()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_nothing_promises_a_package_index():
    """tlkeras is on none: whoever is told to install it is told to do so from a clone."""
    texts = [*PAGES.values(), *(ROOT / "tlkeras").rglob("*.py"), *(ROOT / "experiments").glob("*")]
    for path in (path for path in texts if path.is_file()):
        found = re.findall(r"pip install [^\n]{0,20}tlkeras", path.read_text("utf-8"))
        assert not found, path
