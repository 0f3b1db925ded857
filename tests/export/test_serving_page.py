"""The web service of docs/serving.md, as a process without tlkeras and TensorFlow."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from free_ports import free_ports
from PIL import Image

from tlkeras import load_run
from tlkeras.export import export_run

PAGE = Path(__file__).parents[2] / "docs/serving.md"
# none of them can be imported
ALONE = "import sys\nsys.modules.update(dict.fromkeys(['tlkeras', 'tensorflow', 'keras']))\n"


@pytest.fixture(scope="module")
def service(finished_run, tmp_path_factory):
    """The address of the running service."""
    pytest.importorskip("onnxruntime")
    export_run(finished_run, ["onnx"])
    folder = tmp_path_factory.mktemp("server") / "export"
    shutil.copytree(finished_run / "export", folder)
    code = re.search(r"^```py\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)[1]
    (folder / "service.py").write_text(ALONE + code)
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, folder / "service.py", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(3000):  # it imports, which takes long where other tests run
        with socket.socket() as wanted:
            if wanted.connect_ex(("127.0.0.1", port)) == 0 or process.poll() is not None:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(300)


def ask(address: str, content: bytes) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(address, data=content, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_the_service_answers_as_predict_does(service, finished_run, tmp_path):
    rng = np.random.default_rng(0)
    for number, size in enumerate([(50, 70, 3), (32, 32, 3), (90, 20, 4)]):  # also a transparent one
        file = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(file)
        expected = load_run(finished_run).predict_files(file)[0]
        status, said = ask(service, file.read_bytes())
        assert status == 200 and tuple(said) == expected.class_names
        np.testing.assert_allclose(list(said.values()), expected.probabilities[0], atol=1e-4)


def test_the_service_says_what_it_cannot_read_and_goes_on(service):
    status, said = ask(service, b"<html>")
    assert status == 400 and "not a readable picture" in said["error"]
    assert ask(service, b"")[0] == 413
    with socket.create_connection(("127.0.0.1", int(service.rpartition(":")[2])), timeout=30) as line:
        line.sendall(b"POST / HTTP/1.1\r\nContent-Length: 30000000\r\n\r\n")
        assert b" 413 " in line.recv(100)
    assert ask(service, b"<html>")[0] == 400
