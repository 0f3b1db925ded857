"""Report and comparison in a real browser: no error on the console, nothing wider than a phone."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tlkeras.report import write_comparison

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium binary on the PATH")

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
