"""Rows as columns: texts in one buffer, facts about files that are kept between runs."""

import os
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tlkeras.config import DataConfig
from tlkeras.data import check_files, fact_store, load_domain
from tlkeras.data import scan as scan_module
from tlkeras.data.fact_store import FOLDER
from tlkeras.data.inspection import leak_note
from tlkeras.data.rows import Rows
from tlkeras.data.scan import scan
from tlkeras.data.sources.listed import _files
from tlkeras.data.text_column import TextColumn, joined_columns
from tlkeras.features import FeatureStore

LONG_AGO = 1_600_000_000


@pytest.fixture
def pictures(tmp_path):
    """Six pictures, of which two have the same content, that are older than the store asks for."""
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (8, 6), (40 * min(number, 4), 0, 0)).save(path)
        os.utime(path, (LONG_AGO, LONG_AGO))
    return tmp_path


@pytest.fixture
def looked_at(monkeypatch):
    """The files whose content `scan` reads."""
    seen, contents = [], scan_module.contents
    monkeypatch.setattr(scan_module, "contents", lambda item: seen.append(item) or contents(item))
    return seen


def test_a_text_column_is_used_like_an_array():
    texts = ["b", "ä", "", "b", "\udcff.png"]  # the last is a name of a file that is not valid UTF-8
    column, array = TextColumn.of(texts), np.array(texts, object)
    assert column.tolist() == texts and len(column) == 5 and column[-1] == texts[-1]
    mask = np.array([True, False, True, True, False])
    for index in (slice(1, 4), mask, np.array([3, 0, 0])):
        assert column[index].tolist() == array[index].tolist()
        assert column[index].content is column.content
    assert column.prefixed("x/").tolist() == [f"x/{text}" for text in texts]
    assert (column == array).all() and (column == "b").tolist() == [True, False, False, True, False]
    assert column.distinct()[0] == ["b", "ä", "", "\udcff.png"]
    assert column.distinct()[1].tolist() == [0, 1, 2, 0, 3]
    assert joined_columns([column[:2], column[3:]]).tolist() == texts[:2] + texts[3:]
    assert joined_columns([column, column.prefixed("x")]).tolist() == texts + [f"x{text}" for text in texts]


def test_equal_texts_are_one_also_where_the_builder_no_longer_recognises_them(monkeypatch):
    monkeypatch.setattr("tlkeras.data.text_column._RECOGNISED", 1)
    column = TextColumn.of(["a", "b", "a", "b"])
    assert len(column.content) == 3 and column.distinct()[0] == ["a", "b"]
    assert column.distinct()[1].tolist() == [0, 1, 0, 1]


def test_paths_are_spelled_as_before_and_stored_once(tmp_path):
    plain = TextColumn.of(["a/b.png", "c..png"])
    assert _files(tmp_path, plain).content is plain.content
    for odd in ("./a.png", "a//b.png", "a/./b.png", "/a.png", "a/", "a/.", "../a.png"):
        assert _files(tmp_path, TextColumn.of([odd])).tolist() == [str(tmp_path / odd)]


def test_a_row_of_a_list_takes_less_than_300_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("tlkeras.data.text_column._RECOGNISED", 1000)  # what does not grow with the rows
    count = 20_000
    lines = "".join(f"folder_{i % 7}/picture_{i:09}.jpg,class_{i % 5}\n" for i in range(count))
    (tmp_path / "rows.csv").write_text("path,label\n" + lines)
    config = DataConfig(source=f"csv:{tmp_path / 'rows.csv'}", image_size=8)
    load_domain(config, seed=0)  # imports
    tracemalloc.start()
    domain = load_domain(config, seed=0)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    facts = 48 * count  # size, digest, width and height
    assert held + facts < 150 * count and peak + facts < 300 * count
    assert {rows.ids.content for rows in domain.splits.values()} == {domain.splits["test"].inputs.content}


def test_a_file_that_many_rows_name_is_looked_at_once(pictures, looked_at):
    files = [str(pictures / f"{number}.png") for number in (0, 1, 0, 0, 1)]
    facts = Rows(np.array(files, object), None, np.array(files, object)).facts
    assert sorted(looked_at) == files[:2] and len(facts) == 5
    assert facts["digest"].tolist() == scan(files)["digest"].tolist()


def test_a_second_start_looks_at_no_picture_and_finds_the_same(pictures, tmp_path, looked_at):
    files = [str(pictures / f"{number}.png") for number in range(6)]
    (pictures / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    os.utime(pictures / "bad.png", (LONG_AGO, LONG_AGO))
    first = scan([*files, str(pictures / "bad.png")], kept_in=tmp_path / "cache")
    assert len(looked_at) == 7 and list(first.reasons) == [6]
    looked_at.clear()
    again = scan([str(pictures / "bad.png"), *files[::-1]], kept_in=tmp_path / "cache")
    assert looked_at == [str(pictures / "bad.png")] and list(again.reasons) == [0]
    assert (again.table[:0:-1] == first.table[:6]).all()
    looked_at.clear()
    scan(files, kept_in=tmp_path / "cache", full=True)
    assert len(looked_at) == 6  # `tlkeras inspect` looks again
    scan(files, kept_in=tmp_path / "cache", max_pixels=10**6)
    assert len(looked_at) == 12  # the limit is part of what was checked


def test_processes_that_look_at_the_same_files_divide_them(pictures, tmp_path, looked_at, monkeypatch):
    files = [str(pictures / f"{number}.png") for number in range(6)]
    alone = scan(files).table
    looked_at.clear()
    slowly = scan_module.contents
    monkeypatch.setattr(scan_module, "contents", lambda item: time.sleep(0.05) or slowly(item))
    monkeypatch.setattr(fact_store, "_LEAST_GROUP", 1)
    with ThreadPoolExecutor() as pool:  # a lock is held by an open file, so threads are like processes here
        found = list(pool.map(lambda _: scan(files, kept_in=tmp_path / "cache").table, range(3)))
    assert sorted(looked_at) == files
    for table in found:
        assert (table == alone).all()
    assert not list((tmp_path / "cache").rglob("locks/*"))


def test_a_look_that_ends_early_keeps_what_it_has_found(pictures, tmp_path, looked_at, monkeypatch):
    files, seen = [str(pictures / f"{number}.png") for number in range(6)], scan_module.contents

    def ends_at_the_fifth(item):
        if item == files[4]:
            raise KeyboardInterrupt
        return seen(item)

    monkeypatch.setattr(fact_store, "_LEAST_GROUP", 2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(scan_module, "contents", ends_at_the_fifth)
        scan(files, kept_in=tmp_path / "cache")
    looked_at.clear()
    scan(files, kept_in=tmp_path / "cache")
    assert sorted(looked_at) == files[4:]


def test_a_changed_or_a_young_file_is_looked_at_again(pictures, tmp_path, looked_at):
    files = [str(pictures / f"{number}.png") for number in range(6)]
    scan(files, kept_in=tmp_path / "cache")
    Image.new("RGB", (8, 6), (7, 7, 7)).save(files[2])  # its time is new
    os.utime(files[3], (LONG_AGO, LONG_AGO + 1))
    for _ in range(2):
        looked_at.clear()
        found = scan(files, kept_in=tmp_path / "cache")
        assert found["digest"].tolist() == scan(files)["digest"].tolist()
    # the young file may still change without a change of its time, so it was not kept
    assert looked_at[:1] == files[2:3] and files[3] not in looked_at[:1] and len(looked_at) == 1 + 6


def test_damaged_files_of_the_store_are_ignored_and_many_are_merged(pictures, tmp_path, looked_at):
    files = [str(pictures / f"{number}.png") for number in range(6)]
    for number in range(6):
        scan(files[number : number + 1], kept_in=tmp_path / "cache")
        scan(files[number : number + 1], kept_in=tmp_path / "cache", max_pixels=10**6)
    parts = list((tmp_path / "cache" / FOLDER / "images").glob("*.npy"))
    assert 0 < len(parts) < 8
    looked_at.clear()
    scan(files, kept_in=tmp_path / "cache")
    scan(files, kept_in=tmp_path / "cache", max_pixels=10**6)
    assert not looked_at
    for part in parts:
        content = bytearray(part.read_bytes())
        content[-1] ^= 1
        part.write_bytes(content)
    looked_at.clear()
    found = scan(files, kept_in=tmp_path / "cache")
    assert len(looked_at) == 6 and found["width"].tolist() == [8] * 6


def test_a_cache_that_cannot_be_written_is_no_error(pictures):
    assert len(scan([str(pictures / "0.png")], kept_in=pictures / "1.png")) == 1


def test_a_domain_keeps_the_facts_in_the_cache_directory(pictures, tmp_path, looked_at):
    lines = [f"{i}.png,{i % 2},{'train' if i < 4 else 'test'}" for i in range(6)]
    (pictures / "rows.csv").write_text("\n".join(["path,label,split", *lines]))
    config, digests = DataConfig(source=f"csv:{pictures / 'rows.csv'}", image_size=8, val_fraction=0), set()
    for kept_in in (None, tmp_path / "cache", tmp_path / "cache"):
        looked_at.clear()
        domain, _ = check_files(load_domain(config, seed=0, kept_in=kept_in))
        digests.add(domain.fingerprint())
    assert not looked_at and len(digests) == 1


def test_the_first_leak_is_named_and_all_are_counted(pictures):
    domain = load_domain(DataConfig(source="digits", limit=40), seed=0)
    rows = domain.splits["train"]
    splits = {"train": rows.take(np.arange(10)), "test": rows.take(np.array([20, 7, 3, 7]))}
    assert "The first of 3 is test " + rows.ids[3] in leak_note(replace(domain, splits=splits))
    assert leak_note(replace(domain, splits={"train": rows, "test": domain.splits["test"]})) == ""


def test_clearing_the_cache_removes_what_is_kept_about_files(pictures, tmp_path, looked_at):
    files = [str(pictures / f"{number}.png") for number in range(6)]
    scan(files, kept_in=tmp_path / "cache")
    freed, _ = FeatureStore(tmp_path / "cache").clear()
    looked_at.clear()
    scan(files, kept_in=tmp_path / "cache")
    assert freed > 300 and looked_at
