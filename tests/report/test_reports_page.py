"""The code of docs/reports.md runs as it stands, in a folder where `runs/smoke` is a finished run."""

import re
import shlex
from pathlib import Path

from PIL import Image

from tlkeras.cli.main import main

PAGE = Path(__file__).parents[2] / "docs" / "reports.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def test_the_page(trained, run_copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    run_copy.rename(tmp_path / "runs/smoke")
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (40, 30), "red").save(tmp_path / "pictures/red.png")
    commands = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
    assert [words[1] for words in commands] == ["train", "report", "compare", "embed", "embed"]
    for program, *words in commands[1:]:  # the first made `trained`
        assert program == "tlkeras" and main(words) == 0
    assert (tmp_path / "compare.html").is_file() and (tmp_path / "features.npz").is_file()
    (code,) = blocks("python")
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    assert names["maps"].shape == names["pixels"].shape == names["lost"].shape == (2, 32, 32)
    for name in re.findall(r"\]\((images/.*?)\)", PAGE.read_text()):
        assert (PAGE.parent / name).is_file(), name
