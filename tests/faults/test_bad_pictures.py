"""A folder with every kind of bad picture: all named before training, or all left out and listed."""

import csv
import io

import pytest
from bad_pictures import bad_pictures, encoded, odd_pictures, picture

from tlkeras.config import DataConfig
from tlkeras.data import check_files, load_domain
from tlkeras.data.pipeline import evaluation_batches
from tlkeras.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Two classes of good pictures, all odd ones in the first, all bad ones in the second."""
    root = tmp_path / "pictures"
    for label in ("cat", "<b>dog</b>".replace("/", "\u2215")):
        (root / label).mkdir(parents=True)
        for i in range(6):
            (root / label / f"{i}.png").write_bytes(encoded(picture(100 + i + len(label)), "PNG"))
    for name, content in odd_pictures().items():
        (root / "cat" / name).write_bytes(content)
    for name, content in bad_pictures().items():
        (root / "cat" / f"bad {name}"[:250]).write_bytes(content)
    (root / "cat" / "nowhere.png").symlink_to(tmp_path / "gone.png")
    return root


def load(folder, **how):
    config = DataConfig(source=f"folder:{folder}", image_size=16, val_fraction=0, test_fraction=0, **how)
    return load_domain(config, seed=0, default_image_size=None)


def test_corpus_is_large():
    assert len(bad_pictures()) >= 40


def test_every_bad_picture_is_named_and_every_good_one_used(folder):
    domain, skipped = check_files(load(folder, on_error="skip"))
    wanted = {f"cat/bad {name}"[:254] for name in bad_pictures()} | {"cat/nowhere.png"}
    assert {str(name) for name, _ in skipped} == wanted
    assert all(reason and "\n" not in reason for _, reason in skipped)
    rows = domain.splits["train"]
    assert len(rows) == 12 + len(odd_pictures())
    assert sum(len(x) for x, *_ in evaluation_batches(rows, domain, batch_size=8)) == len(rows)


def test_fail_names_files_before_anything_is_trained(folder):
    with pytest.raises(
        UserError, match=r"Unreadable images in .*cat/bad .*and [0-9]+ more.*on_error=skip"
    ) as raised:
        check_files(load(folder))
    assert f"Received: {len(bad_pictures()) + 1} unreadable" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_order_is_the_same_in_every_run(folder):
    one, two = (check_files(load(folder, on_error="skip"))[0] for _ in range(2))
    assert one.splits["train"].ids.tolist() == two.splits["train"].ids.tolist()
    # and what is left is in the order that it has without the bad ones
    for name in bad_pictures():
        (folder / "cat" / f"bad {name}"[:250]).unlink()
    (folder / "cat" / "nowhere.png").unlink()
    clean = load(folder)
    assert one.splits["train"].ids.tolist() == clean.splits["train"].ids.tolist()
    assert one.fingerprint() == clean.fingerprint()


def test_skipped_files_are_counted_and_listed(server, folder, tmp_path):
    words = ["train", "--config=synthetic_full", f"--workdir={tmp_path / 'run'}"]
    for setting in (f"data.source=folder:{folder}", "data.batch_size=4", f"cache.dir={tmp_path / 'cache'}"):
        words += ["--set", setting]
    refused = server.run(*words)
    assert refused.code == 2 and "unreadable" in refused.error and "Traceback" not in refused.output
    assert not (tmp_path / "run").exists()
    ended = server.run(
        *words, "--set", "data.on_error=skip", within=str(tmp_path), at_event=1, path="00_head/start"
    )
    assert f"{len(bad_pictures()) + 1} unreadable files are left out" in ended.output, ended.output
    listed = list(csv.DictReader(io.StringIO((tmp_path / "run/evaluation/skipped.csv").read_text())))
    assert len(listed) == len(bad_pictures()) + 1
    assert not any(row["file"].startswith(("=", "+", "-", "@")) for row in listed)
