"""Weights named hf://ORG/NAME: from the cache of the hub's client, with licence and checksum."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from random_tensors import random_tensor

from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, StageConfig
from tlkeras.errors import UserError
from tlkeras.models import BACKBONES
from tlkeras.models.weights.hub import local_path, stated_licence
from tlkeras.models.weights.load import load_backbone
from tlkeras.prepare import prepare
from tlkeras.runs.manifest import manifest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OPTIONS = {"width": 12, "depth": 2, "heads": 3, "patch": 8}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Returns a folder in the layout of the hub's cache, which the client reads without a network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def snapshot(cache, name="org/small", card="", parts=1):
    """Writes a tiny ViT of transformers into the cache, in several files where `parts` says so."""
    from safetensors.numpy import save_file

    root = cache / f"models--{name.replace('/', '--')}"
    folder = root / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    originals = json.loads((Path(__file__).parent / "tiny_originals.json").read_text("utf-8"))
    wanted = ("transformers", "vit_tiny")
    shapes = next(x["shapes"] for x in originals if (x["library"], x["backbone"]) == wanted)
    arrays = {k: random_tensor(k, tuple(v)) for k, v in shapes.items()}
    names = [f"model-{i:05}-of-{parts:05}.safetensors" for i in range(parts)]
    for i, file in enumerate(names if parts > 1 else ["model.safetensors"]):
        save_file({k: arrays[k] for k in list(arrays)[i::parts]}, folder / file)
    if parts > 1:
        places = {k: names[i % parts] for i, k in enumerate(arrays)}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "config.json").write_text(json.dumps({"layer_norm_eps": 1e-3}))
    if card:
        (folder / "README.md").write_text(card)
    return arrays, folder


@pytest.mark.parametrize("parts", [1, 2])
def test_weights_come_from_the_cache_of_the_hub_without_a_network(cache, parts):
    arrays, folder = snapshot(cache, parts=parts)
    for name in ("hf://org/small", "hf://org/small@main", f"hf://org/small@{COMMIT}"):
        assert local_path(name) == folder
    model, report = load_backbone(BACKBONES.get("vit_tiny"), "hf://org/small", (32, 32, 3), OPTIONS)
    np.testing.assert_array_equal(model.get_layer("norm").gamma, arrays["layernorm.weight"])
    assert model.get_layer("norm").epsilon == 1e-3  # of the config.json
    assert not report.unmatched and len(report.files) == parts and report.licence == "Apache-2.0"


def test_a_run_keeps_the_checksums_of_its_weights_and_shows_a_licence_that_is_not_free(cache, capfd):
    _, folder = snapshot(cache, card="---\nlicense: other\nlicense_name: dinov3-license\n---\n# Small\n")
    x, y = np.zeros((12, 32, 32, 3), np.uint8), np.arange(12) % 2
    config = ExperimentConfig(
        data=DataConfig(source="npz:memory", image_size=32, batch_size=4),
        model=ModelConfig(backbone="vit_tiny", weights="hf://org/small", backbone_options=OPTIONS),
        stages=[StageConfig(name="a", train="head")],
    )
    written = manifest(prepare(config, {"train": (x, y), "val": (x, y), "test": (x, y)}))
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert written["weights_files"] == {"model.safetensors": digest}
    assert written["weights_licence"] == "dinov3-license"
    said = capfd.readouterr().out
    assert "The licence of hf://org/small is dinov3-license, which is not a free one" in said


def test_the_licence_is_that_of_the_model_card(tmp_path):
    for card, licence in (("---\nlicense: 'mit'\n---", "mit"), ("# license: mit", ""), ("", "")):
        (tmp_path / "README.md").write_text(card)
        assert stated_licence(tmp_path) == licence


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "hf://small",
            r"or hf://ORG/NAME@REVISION\. Received: model\.weights='hf://small'",
        ),
        (
            "hf://org/other",
            "org/other is neither in the cache of the hub's client nor can it be downloaded: ",
        ),
        ("hf://org/small@v2", "org/small is neither in the cache"),
        ("hf://org/empty", "org/empty has neither best.keras"),
    ],
)
def test_names_of_the_hub_that_lead_nowhere_are_refused(cache, name, message):
    snapshot(cache)
    _, empty = snapshot(cache, "org/empty")
    (empty / "model.safetensors").unlink()
    with pytest.raises(UserError, match=message):
        load_backbone(BACKBONES.get("vit_tiny"), name, (32, 32, 3), OPTIONS)
