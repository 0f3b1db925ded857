"""Report and comparison in a real browser: no error on the console, nothing wider than a phone."""

import contextlib
import fcntl
import json
import os
import select
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from chromium import BROWSER, needs_browser

from tlkeras.evaluation import Predictions, compute_metrics
from tlkeras.report import write_comparison, write_report

pytestmark = needs_browser

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--enable-logging=stderr", "--v=0", "--allow-file-access-from-files",
]  # fmt: skip


def browse(page: Path, tmp_path: Path, *flags: str) -> tuple[str, str]:
    """Opens a page in a browser that ends; returns its document and the messages of its console."""
    profile = tmp_path / "profile"
    shutil.rmtree(profile, ignore_errors=True)
    done = subprocess.run(
        [BROWSER, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()],
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def probe(page: Path, tmp_path: Path, script: str, width: int) -> str:
    """Loads a page in a frame of the given width and returns what a script says about it."""
    # the policy of our pages lets no other script run, so the question is asked from a page around it
    around = tmp_path / "around.html"
    frame = f'<iframe id="f" src="{page.as_uri()}" style="width:{width}px;height:800px;border:0"></iframe>'
    around.write_text(
        f"<body style='margin:0'>{frame}<p id='said'></p><script>"
        f"document.getElementById('f').onload = function () {{ var d = this.contentDocument;"
        f"document.getElementById('said').textContent = 'SAID ' + ({script}) + ' END'; }}</script></body>"
    )
    document, _ = browse(around, tmp_path, "--dump-dom", f"--window-size={max(width, 600)},900")
    return document.partition("SAID ")[2].partition(" END")[0]


class OpenPage:
    """A page in a browser that stays open, asked over the pipe of the DevTools protocol.

    Only here do pictures load, and pages scroll, in the time that they take for a person.
    """

    def __init__(self, page: Path, tmp_path: Path, width: int):
        pipes = os.pipe(), os.pipe()
        (_, self._asks), (self._answers, _) = pipes
        # the browser reads from 3 and writes to 4, which must not be taken before they are given to it
        its_input, its_output = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (pipes[0][0], pipes[1][1]))
        words = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'open'}", "--remote-debugging-pipe"]
        words += [f"--window-size={width},900", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {shlex.join(words)} 3<&{its_input} 4>&{its_output}"],
            pass_fds=(its_input, its_output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for fd in (its_input, its_output, pipes[0][0], pipes[1][1]):
            os.close(fd)
        self._page, self._read, self._number, self._session = page, b"", 0, {}

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.push(self)  # also where the page does not open
            self._open()
            stack.pop_all()
        return self

    def _open(self):
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        self._ask("Page.navigate", url=self._page.as_uri())
        # first there is an empty page, which is complete too
        self.settled("location.protocol === 'file:' && document.readyState === 'complete'")

    def __exit__(self, *error):
        self._process.terminate()
        self._process.wait(30)
        os.close(self._asks), os.close(self._answers)

    def _ask(self, method: str, **values):
        self._number += 1
        question = {"id": self._number, "method": method, "params": values} | self._session
        os.write(self._asks, json.dumps(question).encode() + b"\0")
        while True:
            while b"\0" not in self._read:
                assert select.select([self._answers], [], [], 60)[0], f"no answer to {method}"
                more = os.read(self._answers, 1 << 16)
                assert more, "the browser has gone"
                self._read += more
            text, _, self._read = self._read.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == self._number:
                return answer.get("result", {})

    def run(self, script: str):
        """Returns the value of a script."""
        return self._ask("Runtime.evaluate", expression=script).get("result", {}).get("value")

    def settled(self, script: str):
        """Returns the value of a script once it is there, not false, and the same as half a second ago."""
        before = None
        for _ in range(120):
            value = self.run(script)
            if value is not None and value is not False and value == before:
                return value
            before = value
            time.sleep(0.5)
        raise AssertionError(f"{script} still moves: {value}")


def test_the_report_loads_without_a_complaint(trained, tmp_path):
    picture = tmp_path / "page.png"
    _, console = browse(
        trained / "report.html", tmp_path, f"--screenshot={picture}", "--window-size=1200,2000"
    )
    assert console == ""
    assert picture.stat().st_size > 50_000
    broken = probe(trained / "report.html", tmp_path, "[...d.images].filter(i => !i.complete).length", 1200)
    assert broken == "0"


@pytest.mark.parametrize("width", [360, 1200])
def test_the_report_fits_the_screen(trained, tmp_path, width):
    said = probe(trained / "report.html", tmp_path, "d.documentElement.scrollWidth", width)
    assert int(said) <= width


@pytest.mark.parametrize("width", [500, 1200])
def test_a_jump_to_a_section_lands_on_it(trained, tmp_path, width):
    with OpenPage(trained / "report.html", tmp_path, width) as page:
        page.run("document.querySelector('nav [href$=embedding]').click()")
        top = page.settled(
            "Math.round(document.getElementById('embedding').getBoundingClientRect().top) || 0"
        )
    assert abs(top) <= 1


def test_a_large_table_fits_on_paper(run_copy, tmp_path):
    classes = 16
    names = [f"a kind with a long name {i}" for i in range(classes)]
    labels = np.arange(40 * classes) % classes
    logits = np.random.default_rng(0).normal(size=(len(labels), classes))
    found = Predictions.from_logits(logits, task="multiclass", labels=labels, class_names=names)
    found.save(run_copy / "evaluation/predictions_test.npz")
    metrics = json.loads((run_copy / "evaluation/metrics.json").read_text())
    metrics["source"]["test"] = compute_metrics(found)
    (run_copy / "evaluation/metrics.json").write_text(json.dumps(metrics))
    page = write_report(run_copy)
    paper = page.with_name("paper.html")  # what holds on paper, on a screen that can be measured
    paper.write_text(page.read_text().replace("@media print", "@media all"))
    widest = "Math.max(...[...d.querySelectorAll('table, pre')].map(e => e.getBoundingClientRect().right))"
    a4 = round((210 - 2 * 10) / 25.4 * 96)
    assert float(probe(paper, tmp_path, widest, a4)) <= a4
    assert "hidden" not in probe(
        paper, tmp_path, "getComputedStyle(d.querySelector('.confusion').parentNode).overflow", a4
    )


def test_a_click_sorts_the_comparison(trained, run_copy, tmp_path):
    page = tmp_path / "compare.html"
    write_comparison([trained, run_copy], page)
    _, console = browse(page, tmp_path, f"--screenshot={tmp_path / 'page.png'}")
    assert console == ""
    order = "[...d.querySelectorAll('tbody')[0].rows].map(r => r.cells[0].dataset.value).join()"
    click = "d.querySelectorAll('th button')[0].click()"
    said = probe(page, tmp_path, f"[{order}, {click}, {order}, {click}, {order}].join(' ')", 1200)
    assert said.split() == ["smoke,copy", "smoke,copy", "copy,smoke"]
    state = "d.querySelector('th').getAttribute('aria-sort')"
    assert probe(page, tmp_path, f"[{click}, {state}].join('')", 1200) == "descending"
