"""Publishing a run: the folder, the way to the Hub and back, and what is said when something is missing."""

import json
import shutil

import numpy as np
import pytest
from hub_server import TOKEN, Hub, mistakes_in_card
from PIL import Image

from tlkeras import load_run
from tlkeras.cli.main import main
from tlkeras.config import apply_overrides
from tlkeras.models import build_model
from tlkeras.publish.folder import portable, write_folder

# the client passes raw bytes to its HTTP library in an older way
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    """A copy of a finished run in which only the files of the run itself are left."""
    folder = tmp_path_factory.mktemp("own") / "run"
    return shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("stages", "tensorboard", "export"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The server, to which the client of this process talks."""
    constants = pytest.importorskip("huggingface_hub.constants")
    with Hub().running() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def same(one, other):
    return one.shape == other.shape and np.array_equal(one, other)


def refused(capsys, words, code=2):
    assert main(words) == code
    said = capsys.readouterr().err.strip()
    assert said.startswith("tlkeras: ") and "\n" not in said
    return said


def test_a_pushed_run_comes_back_as_a_run_and_as_weights(run, hub, tmp_path, capsys):
    assert main(["push", str(run), "--to=hf://me/shapes", "--license=mit", "--create=private"]) == 0
    assert capsys.readouterr().out.strip() == f"{hub.address}/me/shapes"
    files = hub.models["me/shapes"]
    assert hub.private["me/shapes"] and files["best.keras"] == (run / "best.keras").read_bytes()
    assert not mistakes_in_card(files["README.md"].decode())

    x = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    original, back = load_run(run), load_run("hf://me/shapes")
    found, expected = back.predict(x), original.predict(x)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)  # with the temperature
    np.testing.assert_array_equal(found.unlike_training, expected.unlike_training)
    np.testing.assert_array_equal(back.conformal_sets(found), original.conformal_sets(expected))
    assert back.metrics == original.metrics and "accuracy" in repr(back)

    Image.fromarray(x[0]).save(tmp_path / "one.png")
    assert main(["predict", "hf://me/shapes", str(tmp_path / "one.png")]) == 0
    answer = original.class_names[original.predict(x[:1]).predicted[0]]
    assert capsys.readouterr().out.splitlines()[1].split(",")[1] == answer

    config = apply_overrides(original.config, ["model.weights=hf://me/shapes"])
    model = build_model(config.model, input_shape=(32, 32, 3), num_outputs=2)
    kernels = [weight for weight in model.backbone.weights if weight.path.endswith("kernel")]
    assert kernels and all(any(same(kernel, one) for one in original.model.weights) for kernel in kernels)
    assert model.weights_report.licence == "mit"


def test_what_is_missing_is_said_in_one_line(run, hub, monkeypatch, capsys):
    push = ["push", str(run), "--to=hf://me/shapes"]
    assert "The Hub has no model me/shapes" in refused(capsys, push)
    hub.models["me/shapes"] = {}
    hub.refused = "me/shapes"
    assert "refuses your token for me/shapes" in refused(capsys, push)
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    assert "refuses your token" in refused(capsys, push)
    monkeypatch.delenv("HF_TOKEN")
    assert "The Hub needs a token" in refused(capsys, push)
    assert hub.models["me/shapes"] == {}


def test_without_a_network_the_folder_stays(run, hub, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    said = refused(capsys, ["push", str(run), "--to=hf://me/shapes"], code=1)
    assert "The upload to me/shapes failed" in said and "start the same command again" in said
    assert (run / "card/README.md").is_file()


def test_a_card_that_the_hub_refuses_is_named(run, hub, capsys):
    hub.models["me/shapes"] = {}
    write_folder(run, license="my own")
    said = refused(capsys, ["push", str(run), "--to=hf://me/shapes"])
    assert "refuses" in said and '"license" must be one of' in said and hub.models["me/shapes"] == {}
    write_folder(run, license="mit")


def test_an_edited_card_is_published_as_it_is(run, tmp_path, capsys):
    card = write_folder(run, license="mit")
    card.write_text(card.read_text("utf-8") + "\nFor my cats.\n", "utf-8")
    assert main(["push", str(run), f"--to={tmp_path / 'there'}"]) == 0
    assert (tmp_path / "there/README.md").read_text("utf-8").endswith("For my cats.\n")
    said = refused(capsys, ["push", str(run), f"--to={tmp_path / 'there'}", "--license=apache-2.0"])
    assert "states the licence 'mit'" in said


def test_a_folder_with_something_else_is_left_alone(run, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert "holds no published model (it holds 'notes.txt')" in refused(
        capsys, ["push", str(run), f"--to={tmp_path}"]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    before = (run / "best.keras").stat().st_mtime_ns
    assert "holds no published model" in refused(capsys, ["push", str(run), f"--to={run}"])
    assert (run / "best.keras").stat().st_mtime_ns == before and not (run / "README.md").exists()
    for words, expected in (
        ([], "Name the place with --to"),
        (["--to=hf://shapes"], "named hf://ORG/NAME"),
        (["--to=hf://me/shapes@v2"], "leave out @v2"),
    ):
        assert expected in refused(capsys, ["push", str(run), *words])


def test_nothing_that_is_published_names_a_path_of_this_machine(run, tmp_path):
    config = json.loads((run / "config.json").read_text())
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("card"))
    config["data"]["source"], config["model"]["weights"] = "folder:/home/me/private/shapes", "~/runs/mine"
    (copy / "config.json").write_text(json.dumps(config))
    folder = write_folder(copy).parent
    for path in (path for path in folder.rglob("*") if path.suffix in (".json", ".md", ".txt", ".py")):
        text = path.read_text("utf-8")
        assert "/home/me" not in text and str(tmp_path) not in text and "~/runs" not in text, path
    back = load_run(folder).config
    assert back.data.source == "folder:shapes" and back.model.weights == "mine"
    assert "command" not in json.loads((folder / "manifest.json").read_text())
    assert all(name.startswith("row:") for name in load_run(folder).validation.ids)
    kept = {"weights": "hf://org/name", "loss": "a/b", "list": ["C:\\Users\\me\\x.csv"]}
    assert portable(kept) == kept | {"list": ["x.csv"]}
