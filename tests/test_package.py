"""What is built from the checkout: a wheel that has every file and trains where the checkout is not."""

import ast
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tlkeras.cli.main import main

ROOT = Path(__file__).parent.parent
LAZY = [path for path in sorted((ROOT / "tlkeras").rglob("__init__.py")) if "lazy_names(" in path.read_text()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel that is built from a source distribution, as an index would get both."""
    folder = tmp_path_factory.mktemp("dist")
    build(f"build_sdist({str(folder)!r})", copy_of_checkout(folder / "copy"))
    (sdist,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(sdist, folder, filter="data")
    build(f"build_wheel({str(folder)!r})", folder / sdist.name.removesuffix(".tar.gz"))
    return next(folder.glob("*.whl"))


def copy_of_checkout(copy: Path) -> Path:
    """Copies what is built, because setuptools leaves build/ and an egg-info beside it."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("tlkeras", "experiments"):
        shutil.copytree(ROOT / name, copy / name, ignore=unwanted, symlinks=True)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


def build(call: str, folder: Path) -> None:
    program = f"from setuptools import build_meta; build_meta.{call}"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_wheel_has_every_file(wheel):
    paths = [
        path for name in ("tlkeras", "experiments") for path in (ROOT / name).rglob("*") if path.is_file()
    ]
    names = {str(path.relative_to(ROOT)) for path in paths if path.suffix not in (".pyc", ".ipynb")}
    wanted = {f"tlkeras/{name}" if name.startswith("experiments/") else name for name in names}
    assert wanted == {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_an_editable_install_is_a_path_that_editors_follow(tmp_path):
    """Neither jedi nor pyright follows an import hook."""
    copy = copy_of_checkout(tmp_path / "copy")
    build(f"build_editable({str(tmp_path)!r})", copy)
    archive = zipfile.ZipFile(next(tmp_path.glob("*.whl")))
    code = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert len(code) == 1 and code[0].endswith(".pth")
    assert archive.read(code[0]).decode().strip() == str(copy)


def test_the_wheel_trains_where_the_checkout_is_not(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    (packages,) = (tmp_path / "env/lib").glob("python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    homes = {str(metadata.distribution(name).locate_file("")) for name in ("keras", "tensorflow", "numpy")}
    (packages / "what_it_requires.pth").write_text("\n".join(homes))
    words = ["-m", "tlkeras", "train", "--config=synthetic_smoke", "--workdir=run", "--set", "data.limit=64"]
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [tmp_path / "env/bin/python", *words], cwd=tmp_path, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/report.html").exists()


@pytest.mark.parametrize("path", LAZY, ids=lambda path: path.parent.name)
def test_a_stub_names_what_a_package_exports(path):
    package = ".".join(path.parent.relative_to(ROOT).parts)
    stub = ast.parse(path.with_suffix(".pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    named = {alias.asname: node.module for node in imports for alias in node.names if node.module != package}
    # a type checker finds the modules of a package with a stub only if the stub names them
    modules = {alias.name for node in imports for alias in node.names if node.module == package}
    assert modules <= {one.name for one in pkgutil.iter_modules([path.parent])}
    module = importlib.import_module(package)
    assert named == {name: f"{package}.{home}" for name, home in module._HOMES.items()}
    assert {name for name in dir(module) if not name.startswith("__")} == set(named)


def test_doctor_says_what_keeps_tlkeras_from_training(monkeypatch, capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "tlkeras can train here." in out and metadata.version("keras") in out
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "pydantic" else real(name))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert main(["doctor"]) == 1
    problems = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Problem: ")]
    assert len(problems) == 3
    for words in ("requires pydantic>=2.7 (installed: 0.1)", "KERAS_BACKEND='jax'", "/proc/nowhere"):
        assert any(words in problem for problem in problems)
