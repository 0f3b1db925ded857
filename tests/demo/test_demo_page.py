"""The page of `tlkeras demo`: its answers, what it refuses, and how a person sees it in a browser."""

import base64
import http.client
import io
import json
import signal
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from chromium import BROWSER, needs_browser
from PIL import Image, ImageDraw

from tlkeras import load_run
from tlkeras.cli.main import main
from tlkeras.demo.answers import Answers
from tlkeras.demo.uploads import MAX_BYTES

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")


def encoded(image, format="PNG", **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **settings)
    return file.getvalue()


def circle() -> bytes:
    image = Image.new("RGB", (64, 64), (40, 60, 90))
    ImageDraw.Draw(image).ellipse((14, 14, 50, 50), fill=(230, 200, 60))
    return encoded(image)


def noise() -> bytes:
    return encoded(Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)))


def bomb() -> bytes:
    """Returns a PNG of few bytes that claims 3.6 thousand million pixels."""

    def chunk(kind, content):
        rest = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + rest

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def film(frames: int) -> bytes:
    """Returns a GIF of many different frames."""
    images = [Image.new("P", (8, 8), color) for color in (1, 2)]
    palette = bytes(range(256)) * 3
    for image in images:
        image.putpalette(palette)
    content = encoded(images[0], "GIF", save_all=True, append_images=images[1:], loop=0)
    second = content[content.rindex(b"\x21\xf9") : -1]
    return content[:-1] + second * (frames - 2) + b";"


HOSTILE = {
    "nothing": (b"", "The file is empty."),
    "HTML": (b"<html><script>alert(1)</script></html>", "is not a JPEG, PNG, BMP, GIF, WebP or TIFF image"),
    "truncated": (circle()[:-20], "is truncated"),
    "half a JPEG": (encoded(Image.new("RGB", (200, 200), "red"), "JPEG")[:600], "truncated"),
    "a bomb": (bomb(), "has more than 50,000,000 pixels"),
    "too many bytes": (b"\xff\xd8\xff" + bytes(MAX_BYTES), "has more than 20 MB"),
    "TIFF": (b"II*\0" + b"\xff" * 50, "damaged or truncated"),
    "WebP": (b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(10), "damaged or truncated"),
}


class Page:
    """The command in a process of its own, as a person starts it."""

    def __init__(self, run):
        program = "from tlkeras.cli.main import entry; entry()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "demo", str(run), "--nobrowser"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        lines = iter(self.process.stdout.readline, "")
        line = next((line for line in lines if line.startswith("The page is at ")), None)
        assert line, self.process.stderr.read()
        self.address = line.split()[4]
        self.host = self.address.split("/")[2]

    def ask(self, content=None, **headers):
        """Returns the status and the text of an answer."""
        connection = http.client.HTTPConnection(self.host, timeout=60)
        method, path = ("GET", "/") if content is None else ("POST", "/answer")
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, content, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text


@pytest.fixture(scope="module")
def page(trained):
    page = Page(trained)
    yield page
    page.process.kill()
    page.process.communicate()


def test_the_answer_is_that_of_predict_with_map_and_neighbours(trained, tmp_path):
    run = load_run(trained)
    (tmp_path / "circle.png").write_bytes(circle())
    predictions, _ = run.predict_files(tmp_path / "circle.png")
    answer = json.loads(json.dumps(Answers(run).of(circle())))
    assert answer["prediction"] == "circle" == predictions.class_names[predictions.predicted[0]]
    shown = {row["name"]: row["probability"] for row in answer["classes"]}
    assert shown == dict(zip(predictions.class_names, predictions.probabilities[0], strict=True))
    assert list(shown.values()) == sorted(shown.values(), reverse=True)
    members = run.conformal_sets(predictions, 0.9)[0]
    assert set(answer["set"]) == {name for name, m in zip(run.class_names, members, strict=True) if m}
    assert answer["coverage"] == 0.9 and answer["unlike"] == predictions.unlike_training[0] < 1
    assert answer["explanation"] == "Grad-CAM" and answer["overlay"].startswith("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(answer["image"].partition(",")[2]))) as seen:
        np.testing.assert_array_equal(np.asarray(seen), next(run.file_batches(tmp_path / "circle.png"))[0][0])
    near = answer["near"]
    assert len(near) == 6 and near[0]["label"] == "circle"
    assert [row["similarity"] for row in near] == sorted((row["similarity"] for row in near), reverse=True)
    assert str(tmp_path) not in json.dumps(answer) and "/tmp" not in json.dumps(answer)


def test_without_the_training_data_the_rest_is_shown(run_copy):
    config = json.loads((run_copy / "config.json").read_text())
    config["data"]["source"] = "folder:/gone"
    (run_copy / "config.json").write_text(json.dumps(config))
    answers = Answers(load_run(run_copy))
    answer = answers.of(circle())
    assert answer["prediction"] == "circle" and answer["near"] == []
    assert "/gone" in answers.training


def test_a_run_on_vectors_has_no_page(run_copy, capsys):
    manifest = json.loads((run_copy / "manifest.json").read_text())
    (run_copy / "manifest.json").write_text(json.dumps(manifest | {"modality": "vector"}))
    assert main(["demo", str(run_copy), "--nobrowser"]) == 2
    assert "The page takes pictures, sounds and texts. Received: " in capsys.readouterr().err


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_a_message(page, name):
    content, reason = HOSTILE[name]
    status, text = page.ask(content)
    assert status == 422 and reason in json.loads(text)["error"]


def test_of_ten_thousand_frames_the_first_is_read(page):
    status, text = page.ask(film(10_000))
    answer = json.loads(text)
    assert status == 200 and answer["notes"] == ["Only the first frame of the animation is read."]


def test_other_pages_can_neither_ask_nor_frame_it(page):
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"},
    ):
        assert page.ask(circle(), **headers)[0] == 403, headers
    assert page.ask(circle(), Origin=page.address.rstrip("/"))[0] == 200
    assert page.ask(Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200
    connection = http.client.HTTPConnection(page.host)
    connection.request("GET", "/")
    assert "frame-ancestors 'none'" in connection.getresponse().headers["Content-Security-Policy"]
    connection.close()


def test_a_port_that_is_taken_and_a_host_that_is_elsewhere_are_refused(trained, page, capsys):
    port = page.host.partition(":")[2]
    assert main(["demo", str(trained), f"--port={port}", "--nobrowser"]) == 2
    assert f"Port {port} is taken" in capsys.readouterr().err
    assert main(["demo", str(trained), "--host=192.0.2.1", "--nobrowser"]) == 2
    assert "This machine has no address 192.0.2.1" in capsys.readouterr().err


@needs_browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 390)])
def test_a_person_drops_a_picture_and_reads_the_answer(page, scheme, width):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        browser = started.chromium.launch(executable_path=BROWSER, args=flags)
        sheet = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
        mistakes = []
        sheet.on("pageerror", lambda error: mistakes.append(str(error)))
        sheet.goto(page.address)
        hand_over(sheet, "drop", circle(), "circle.png", "image/png")
        playwright.expect(sheet.locator(".answer h2").first).to_have_text("circle", timeout=60_000)
        assert sheet.locator(".classes li").count() == 4 and sheet.locator(".near img").count() == 6
        assert sheet.locator(".views img").evaluate_all("all => all.every(one => one.naturalWidth === 32)")
        assert "Plausible classes: circle. " in sheet.locator(".said").first.text_content()
        hand_over(sheet, "drop", noise(), "noise.png", "image/png")
        warning = sheet.locator(".answer").first.locator(".warning")
        playwright.expect(warning).to_contain_text("Unlike the training data.", timeout=60_000)
        hand_over(sheet, "paste", b"<html>", "<b>page</b>.png", "image/png")
        said = sheet.locator(".answer.refused").first
        playwright.expect(said).to_have_text(
            "<b>page</b>.png: The file is not a JPEG, PNG, BMP, GIF, WebP or TIFF image.", timeout=60_000
        )
        sheet.click("#camera")
        sheet.wait_for_selector("#booth:not([hidden])")
        sheet.locator("#film").evaluate("film => film.videoWidth || new Promise(r => film.onplaying = r)")
        sheet.click("#shoot")
        playwright.expect(sheet.locator(".file").first).to_have_text("camera picture", timeout=60_000)
        assert sheet.evaluate("document.documentElement.scrollWidth") <= width and not mistakes
        browser.close()


def hand_over(sheet, kind, content, name, type):
    """Drops a file on a page, or pastes it there."""
    script = """([kind, bytes, name, type]) => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))], name, { type }));
      const traits = { bubbles: true, cancelable: true };
      document.dispatchEvent(kind === "drop" ? new DragEvent("drop", { ...traits, dataTransfer: data })
        : new ClipboardEvent("paste", { ...traits, clipboardData: data }));
    }"""
    sheet.evaluate(script, [kind, base64.b64encode(content).decode(), name, type])


def test_ctrl_c_ends_it_with_one_line(page):
    page.process.send_signal(signal.SIGINT)
    out, err = page.process.communicate(timeout=60)
    assert (page.process.returncode, out, err) == (0, "The page has ended.\n", "")
