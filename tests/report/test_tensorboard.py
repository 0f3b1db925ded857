"""What a real TensorBoard server answers about a run."""

import contextlib
import io
import json
import re
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from csv import DictReader

import numpy as np
import pytest


@pytest.fixture(scope="module")
def server(trained):
    """A function that asks a TensorBoard of the run's parent folder for JSON or bytes."""
    program = "import sys; from tensorboard.main import run_main; sys.exit(run_main())"
    words = ["--logdir", trained.parent, "--port", "0", "--host", "127.0.0.1", "--load_fast=false"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words), "--reload_multifile=true"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        address = _address(process)

        def ask(path, **query):
            with urllib.request.urlopen(
                f"{address}{path}?{urllib.parse.urlencode(query)}", timeout=20
            ) as answer:
                body = answer.read()
            return json.loads(body) if "json" in answer.headers["Content-Type"] else body

        _wait_until_loaded(ask)
        yield ask
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        process.stderr.close()


def _address(process) -> str:
    found: list[str] = []

    def read():
        for line in process.stderr:
            found.extend(re.findall(r"http://127\.0\.0\.1:\d+", line))

    threading.Thread(target=read, daemon=True).start()
    deadline = time.monotonic() + 90
    while not found and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found, "TensorBoard did not start"
    return f"{found[0]}/data"


def _wait_until_loaded(ask):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        # what is written last is read last
        if any("evaluation/source_test_accuracy" in tags for tags in ask("/plugin/scalars/tags").values()):
            return
        time.sleep(0.5)
    raise AssertionError("TensorBoard did not read the run")


RUN = "smoke/tensorboard"


def test_scalars_equal_the_metrics(server, trained):
    points, stages = {}, []
    for index, path in enumerate(sorted(trained.glob("stages/*/metrics.csv"))):
        for row in DictReader(io.StringIO(path.read_text())):
            stages.append([int(row["step"]), index])
            for name in set(row) - {"epoch", "step"}:
                points.setdefault(name, []).append([int(row["step"]), float(row[name])])
    assert {"loss", "val_accuracy", "learning_rate"} <= set(points)
    for name, expected in points.items():
        answer = server("/plugin/scalars/scalars", run=RUN, tag=f"epoch/{name}")
        np.testing.assert_allclose([point[1:] for point in answer], expected, rtol=0, atol=1e-6)
    answer = server("/plugin/scalars/scalars", run=RUN, tag="epoch/stage")
    assert [point[1:] for point in answer] == stages


def test_each_block_has_its_learning_rate(server):
    tags = server("/plugin/scalars/tags")[RUN]
    assert {t for t in tags if t.startswith("learning_rate/")} == {
        f"learning_rate/{block}" for block in ("conv_1", "conv_2", "conv_3", "head")
    }
    head = server("/plugin/scalars/scalars", run=RUN, tag="learning_rate/head")
    cosine = 5e-3 * (1 + np.cos(np.pi * np.arange(1, 9) / 8)) / 2
    np.testing.assert_allclose([value for *_, value in head], [1e-3] * 2 + [*cosine], rtol=1e-5, atol=1e-9)


def test_pictures(server):
    tags = server("/plugin/images/tags")[RUN]
    expected = {"inputs/head/source": 16, "inputs/all/source": 16, "confusion/source": 1, "worst/source": 8,
                "best/source": 4}  # fmt: skip
    assert {tag: facts["samples"] for tag, facts in tags.items()} == expected
    for tag in tags:
        (*_, last) = server("/plugin/images/images", run=RUN, tag=tag, sample=0)
        png = server(f"/plugin/images/individualImage?{last['query']}&x=")
        assert png.startswith(b"\x89PNG")


def test_text(server, trained):
    tags = server("/plugin/text/tags")[RUN]
    assert {"config", "stage/head", "stage/all"} <= set(tags)
    (answer,) = server("/plugin/text/text", run=RUN, tag="config")
    assert "synthetic:shapes" in answer["text"] and "<code>" in answer["text"]


def test_hyperparameters(server):
    statuses = ["STATUS_SUCCESS", "STATUS_UNKNOWN", "STATUS_RUNNING"]
    request = {"experimentName": "", "allowedStatuses": statuses, "colParams": [], "startIndex": 0}
    request["sliceSize"] = 10
    answer = server("/plugin/hparams/session_groups", request=json.dumps(request))
    (group,) = answer["sessionGroups"]
    assert group["name"] == "smoke"
    assert group["hparams"]["data.source"] == "synthetic:shapes?n=1024"
    assert group["hparams"]["stages.1.optimizer.learning_rate"] == 5e-3


def test_histograms(server):
    tags = server("/plugin/histograms/tags")[RUN]
    assert any(tag.startswith("weights/") and "conv_1" in tag for tag in tags)


def test_projector(server):
    assert RUN in server("/plugin/projector/runs")
    (info,) = server("/plugin/projector/info", run=RUN)["embeddings"]
    assert info["tensorShape"] == [250, 2048] and info["sprite"]["singleImageDim"] == [32, 32]
    tensors = np.frombuffer(server("/plugin/projector/tensor", run=RUN, name="embedding"), np.float32)
    assert tensors.shape == (250 * 2048,) and np.isfinite(tensors).all()
    metadata = server("/plugin/projector/metadata", run=RUN, name="embedding").decode().splitlines()
    assert metadata[0] == "label\tdomain\tid" and len(metadata) == 251
    assert {line.split("\t")[0] for line in metadata[1:]} == {"circle", "square", "triangle", "cross"}
    sprite = server("/plugin/projector/sprite_image", run=RUN, name="embedding")
    assert sprite.startswith(b"\x89PNG")
