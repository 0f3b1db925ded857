"""Generated mistakes in configs and flags: exit code 2, one clear line, the workdir untouched."""

import contextlib
import io
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tlkeras.cli.main import main
from tlkeras.config import dump_config, load_config

# examples of every kind of mistake; the long part asks for more through the environment
EXAMPLES = int(os.environ.get("TLKERAS_FAULT_EXAMPLES", "220"))
PROCESSES = int(os.environ.get("TLKERAS_FAULT_PROCESSES", "20"))

names = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=3, max_size=12).map(lambda text: f"zz{text}")
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
below_zero = st.integers(max_value=-1) | st.floats(max_value=-1e-9, allow_infinity=False)
no_number = st.sampled_from(["", "abc", "1e", "0x", "nan nan", "[1", "{}", "--", "'; import os; os.abort()"])

NUMBERS = [
    "seed", "data.batch_size", "data.image_size", "stages.0.epochs", "stages.1.optimizer.learning_rate",
    "checkpoint.every_steps", "checkpoint.keep", "model.neck.bottleneck", "model.neck.dropout",
    "stages.1.augment.crop", "data.val_fraction", "stages.1.optimizer.ema_momentum", "cache.memory_mb",
]  # fmt: skip
CHOICES = [
    "data.task", "data.on_error", "data.resize", "model.backbone", "model.head.name", "stages.0.train",
    "stages.1.bn", "stages.1.optimizer.name", "stages.1.optimizer.schedule.name", "runtime.strategy",
    "runtime.precision", "cache.dtype",
]  # fmt: skip
PATHS = [
    "seed",
    "data",
    "data.source",
    "model",
    "stages",
    "stages.0",
    "stages.0.optimizer",
    "runtime",
    "cache",
]
SOURCES = ["folder", "csv", "npz", "synthetic", "nothing"]


def config_text() -> str:
    return dump_config(load_config("synthetic_full", []))


@st.composite
def broken_configs(draw):
    """A resolved config as JSON with one thing wrong."""
    tree = json.loads(config_text())
    kind = draw(st.sampled_from(["key", "value", "gone", "text", "list"]))
    stages = tree["stages"]
    node = draw(st.sampled_from([tree, tree["data"], tree["model"], stages[0], stages[1]["optimizer"]]))
    if kind == "key":
        node[draw(names)] = draw(st.none() | st.integers() | texts)
    elif kind == "value":
        node[draw(st.sampled_from(sorted(node)))] = draw(st.just({"zz": 1}) | st.just([{"zz": []}]))
    elif kind == "gone":
        tree["stages"] = draw(st.sampled_from([[], None, {}, "head", [{"train": "head"}] * 2]))
    elif kind == "text":
        text = json.dumps(tree)
        return text[: draw(st.integers(0, len(text) - 2))]
    else:
        return json.dumps(draw(st.lists(st.integers()) | texts | st.none() | st.booleans()))
    return json.dumps(tree)


BASE = "--config=synthetic_full"


def setting(template: str, **parts) -> st.SearchStrategy:
    """Draws a `--set` flag from a template such as `"{path}={value}"`."""
    return st.fixed_dictionaries(parts).map(lambda drawn: [BASE, "--set", template.format(**drawn)])


# each draws words after `train`, of which something is wrong; after CONFIG stands the text of a file
mistakes = st.one_of(
    names.map(lambda name: [BASE, f"--{name}=1"]),
    names.map(lambda name: [f"--config={name}"]),
    names.map(lambda name: [f"--config=/nowhere/{name}.json"]),
    names.map(lambda name: [BASE, name]),
    names.map(lambda name: [BASE, f"--strategy={name}"]),
    setting("{path}.{name}=1", path=st.sampled_from(PATHS), name=names),
    setting("{path}={value}", path=st.sampled_from(NUMBERS), value=no_number | below_zero.map(str)),
    setting("{path}={value}", path=st.sampled_from(CHOICES), value=names),
    setting("data.source={kind}:/nowhere/{name}", kind=st.sampled_from(SOURCES), name=names),
    setting("{text}", text=texts.filter(lambda text: "=" not in text)),
    setting("stages.{index}.epochs=1", index=st.integers(2, 10**9)),
    broken_configs().map(lambda text: ["CONFIG", text]),
)


def words_of(mistake, folder):
    """Returns the words of a mistake, with its config written to a file."""
    if mistake[0] != "CONFIG":
        return mistake
    (folder / "config.json").write_text(mistake[1])
    return [f"--config={folder / 'config.json'}"]


def check_refusal(code: int, error: str, workdir, words) -> None:
    lines = [line for line in error.splitlines() if line.startswith("tlkeras: ")]
    assert code == 2, (code, words, error)
    assert len(lines) == 1 and len(lines[0]) > 25, (words, error)
    assert "Traceback" not in error and "(--debug" not in error, (words, error)
    assert not workdir.exists(), words


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mistakes")


@settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(mistake=mistakes, dry=st.booleans())
def test_every_mistake_is_one_clear_line(folder, mistake, dry):
    workdir = folder / "run"
    words = words_of(mistake, folder) + ["--dry_run"] * dry
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        code = main(["train", *words, f"--workdir={workdir}"])
    check_refusal(code, error.getvalue(), workdir, words)


@settings(max_examples=PROCESSES, deadline=None, database=None, derandomize=True,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(mistake=mistakes)
def test_and_so_in_processes(server, folder, mistake):
    words = words_of(mistake, folder)
    ended = server.run("train", *words, f"--workdir={folder / 'run'}")
    check_refusal(ended.code, ended.output, folder / "run", words)
