"""Pictures, texts and columns from Python: dicts of arrays, DataFrames and npz files, as a list has them."""

import csv

import numpy as np
import pandas
import pytest
from PIL import Image

import tlkeras
from tlkeras import load_config, run_experiment
from tlkeras.config.data import DataConfig
from tlkeras.data.domains import load_domain
from tlkeras.data.python_data import source_or_arrays
from tlkeras.data.sources.arrays import with_arrays
from tlkeras.errors import UserError
from tlkeras.export import export_run

pytestmark = pytest.mark.usefixtures("without_reports")

tokenizers = pytest.importorskip("tokenizers")

SIDE = 8
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "plain", "film")
BERT = {"width": 8, "depth": 1, "heads": 2, "hidden": 16, "words": len(WORDS), "positions": 16}
SMALL = {
    "backbone": "small_cnn", "model__weights": None, "model__backbone_options": {"filters": [4, 8]},
    "model__beside__text__backbone": "bert_base", "model__beside__text__weights": None,
    "model__beside__text__backbone_options": BERT, "data__max_length": 8, "data__image_size": SIDE,
    "data__batch_size": 16, "runtime__strategy": "none", "epochs": 1, "tensorboard__images": False,
    "stages__1__train": "image=last:1,text=last:1",
}  # fmt: skip


def made_up(count, seed=0):
    """Returns pixels, texts, ages and cities, and labels that follow from pixels and text."""
    rng = np.random.default_rng(seed)
    bright, good = rng.integers(2, size=(2, count))
    pixels = (rng.integers(1, 90, (count, SIDE, SIDE, 3)) + 150 * bright[:, None, None, None]).astype("uint8")
    texts = [f"{rng.choice(['plain', 'film'])} {('bad', 'good')[g]}" for g in good]
    ages = rng.normal(40, 10, count).round(1)
    cities = list(rng.choice(["Rome", "Oslo"], count))
    return pixels, texts, ages, cities, [("no", "yes")[b & g] for b, g in zip(bright, good, strict=True)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Rows as a CSV file, as a DataFrame and as a dict of lists. Every ninth row lacks one of its parts."""
    folder = tmp_path_factory.mktemp("named")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    pixels, texts, ages, cities, labels = made_up(90)
    paths = [folder / f"{i}.png" for i in range(len(labels))]
    for path, picture in zip(paths, pixels, strict=True):
        Image.fromarray(picture).save(path)
    rows = {
        "photo": [None if i % 9 == 1 else str(path) for i, path in enumerate(paths)],
        "title": [None if i % 9 == 4 else text for i, text in enumerate(texts)],
        "age": [None if i % 9 == 7 else float(age) for i, age in enumerate(ages)],
        "city": cities,
    }
    with open(folder / "rows.csv", "w", newline="") as file:
        columns = [["" if cell is None else cell for cell in column] for column in rows.values()]
        csv.writer(file).writerows([(*rows, "label"), *zip(*columns, labels, strict=True)])
    frame = pandas.DataFrame(rows).assign(label=labels)
    return folder, frame, rows, labels


def data(place, source="arrays", **more):
    names = {"picture": "photo", "text": "title", "columns": ["age", "city"]}
    config = {"source": source, "tokenizer": str(place[0]), "max_length": 8, "image_size": SIDE}
    return DataConfig(**(config | names | more))


def same_rows(one, other):
    assert one.modality.name == other.modality.name and one.input_shape == other.input_shape
    assert one.config.columns == other.config.columns and set(one.splits) == set(other.splits)
    for split, rows in one.splits.items():
        theirs = other.splits[split]
        assert (rows.labels == theirs.labels).all()
        for name in rows.inputs.dtype.names:
            found, wanted = rows.inputs[name], theirs.inputs[name]
            if found.dtype == object:
                assert list(map(str, found)) == list(map(str, wanted))
            else:
                np.testing.assert_array_equal(found, wanted)


def test_a_frame_a_dict_and_a_list_of_the_same_rows_are_the_same_domain(place):
    folder, frame, rows, labels = place
    listed = load_domain(data(place, f"csv:{folder}/rows.csv"), seed=0)
    assert listed.modality.name == "image_text_columns"
    names = {"picture": "photo", "text": "title", "columns": ["age", "city"]}
    given = source_or_arrays(frame, named=names)
    assert given.settings == {**names, "columns": {"age": {}, "city": {}}}
    for arrays in (given.arrays, {"all": (rows, labels)}):
        same_rows(listed, load_domain(data(place), seed=0, arrays=arrays))
    nested = {"photo": rows["photo"], "title": rows["title"], "columns": frame[["age", "city"]]}
    same_rows(listed, load_domain(data(place), seed=0, arrays={"all": (nested, labels)}))


def test_named_arrays_of_a_file_are_the_same_domain_as_those_from_python(tmp_path):
    pixels, _, ages, cities, labels = made_up(40)
    np.savez(tmp_path / "a.npz", photo=pixels, age=ages, city=cities, y=labels)
    np.savez(tmp_path / "b.npz", photo_train=pixels, age_train=ages, city_train=cities, y_train=labels,
             photo_test=pixels[:5], age_test=ages[:5], city_test=cities[:5], y_test=labels[:5])  # fmt: skip
    config = DataConfig(source=f"npz:{tmp_path}/a.npz", picture="photo", columns=["age", "city"])
    held = load_domain(config, seed=0)
    given = {"photo": pixels, "age": ages, "city": cities}
    same_rows(held, load_domain(config, seed=0, arrays={"all": (given, labels)}))
    parts = load_domain(config.model_copy(update={"source": f"npz:{tmp_path}/b.npz"}), seed=0)
    assert len(parts.splits["test"]) == 5 and held.modality.name == "image_columns"
    np.testing.assert_array_equal(parts.splits["test"].inputs["image"], pixels[:5])


def test_the_names_of_a_dict_say_which_part_they_are():
    config = load_config({"data": {"source": ""}, "stages": [{"name": "a"}]})
    x = {"image": np.zeros((2, 4, 4, 3)), "text": ["a", "b"], "age": [1, 2]}
    named = with_arrays(config, {"train": (x, [0, 1])}).data
    assert (named.picture, named.text, list(named.columns)) == ("image", "text", ["age"])
    whole = with_arrays(config, {"train": ({"columns": {"age": [1], "zip": ["2"]}}, [0])}).data
    assert (whole.picture, whole.text, list(whole.columns)) == (None, None, ["age", "zip"])


@pytest.fixture(scope="module")
def finished(place):
    folder, frame, _, _ = place
    inputs = {"data__picture": "photo", "data__text": "title", "data__columns": ["age", "city"]}
    more = {"data__tokenizer": str(folder), "cache__dir": f"{folder}/cache"}
    return tlkeras.fine_tune(frame, workdir=folder / "run", **SMALL, **inputs, **more)


def test_a_frame_trains_the_networks_of_all_its_parts(finished):
    assert finished.modality.name == "image_text_columns"
    assert list(finished.config.model.beside) == ["text", "columns"]
    names = [variable.path for variable in finished.model.trainable_variables]
    assert any("columns_" in name for name in names) and any("text_" in name for name in names)
    assert sum(values["rows"] for values in finished.metrics["source"].values()) == 90


def test_it_answers_for_rows_under_the_names_of_the_training(finished, place):
    _, frame, rows, _ = place
    of_frame = finished.predict(frame.head(20)).logits
    assert np.array_equal(finished.predict({n: x[:20] for n, x in rows.items()}).logits, of_frame)
    by_part = {
        "image": rows["photo"][:20],
        "text": rows["title"][:20],
        "columns": frame[["age", "city"]][:20],
    }
    assert np.array_equal(finished.predict(by_part).logits, of_frame)
    gone = finished.predict(
        {"photo": [None] * 20, "title": rows["title"][:20], "columns": by_part["columns"]}
    )
    there = np.array([path is not None for path in rows["photo"][:20]])
    assert (gone.logits != of_frame).any(axis=1)[there].all()
    assert np.array_equal(gone.logits[~there], of_frame[~there])


def test_its_export_needs_neither_the_frame_nor_the_pictures(finished, place):
    held = {path: path.read_bytes() for path in place[0].glob("*.png")}
    for path in held:
        path.unlink()
    compared = export_run(finished.path, ["keras"], rows=8)
    for path, content in held.items():
        path.write_bytes(content)
    assert compared["keras"].relative < 1e-5


def test_labels_stand_beside_a_dict_or_a_frame(place, tmp_path):
    pixels, _, ages, cities, labels = made_up(48)
    x = {"image": pixels, "age": ages, "city": cities}
    settings = {name: value for name, value in SMALL.items() if "text" not in name}
    run = tlkeras.fine_tune(
        x, labels, workdir=tmp_path / "run", stages__1__train="image=last:1", verdict=True,
        stages__1__steps=1, **{n: v for n, v in settings.items() if n != "stages__1__train"},
    )  # fmt: skip
    assert run.modality.name == "image_columns" and run.config.verdict.twins == (
        "image_alone",
        "columns_alone",
    )
    assert run.predict({**x, "image": pixels.tolist()[:0] or pixels}).logits.shape == (48, 2)
    frame = pandas.DataFrame({"age": ages, "city": pandas.Categorical(cities), "old": ages > 40})
    table = tlkeras.fine_tune(frame, labels, workdir=tmp_path / "table", epochs=2, runtime__strategy="none")
    kinds = {name: column.kind for name, column in table.modality.columns.items()}
    assert kinds == {"age": "number", "city": "category", "old": "category"}
    assert table.predict(frame.assign(more=1)).logits.shape == (48, 2)


def test_columns_of_a_frame_that_are_not_used_are_said(capsys):
    frame = pandas.DataFrame({"path": ["a", "b"], "age": [1, 2], "label": [0, 1]})
    assert source_or_arrays(frame).arrays["all"][0] == ["a", "b"]
    said = " ".join(capsys.readouterr().out.split())
    assert "columns age of the DataFrame are not used" in said and "data__columns=['age']" in said


@pytest.mark.parametrize(
    ("x", "named"),
    [
        (
            {"image": np.zeros((2, 4, 4, 3)), "age": [1, 2, 3]},
            "same number of rows. Received: image 2, columns 3",
        ),
        ({"image": [None, None], "age": [None, 1]}, r"\(all\), row 0: image and columns are empty"),
        (
            {"image": ["a.png", np.zeros((4, 4, 3))], "age": [1, 2]},
            "only paths, or only arrays of one shape. Received: both",
        ),
        ({"text": ["a", 3], "age": [1, 2]}, "text must hold texts. Received: int"),
        ({"text": ["a", None]}, "row 1: text is empty"),
        ({}, "has no inputs"),
    ],
)
def test_rows_that_do_not_fit_are_named(x, named):
    arrays = {"all": (x, [0, 1])}
    config = with_arrays(load_config({"data": {"source": ""}, "stages": [{"name": "a"}]}), arrays)
    with pytest.raises(UserError, match=named):
        load_domain(config.data, seed=0, arrays=arrays)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"data": {"image": [1], "age": [2]}}, "or inputs and needs labels.*Received: a dict of image, age"),
        ({"data": "digits", "labels": [1]}, "labels belong to an array.*Received: labels for str"),
        ({"data": pandas.DataFrame({"age": [1], "y": [0]}), "named": {"columns": ["agee"]}}, "mean 'age'"),
        ({"data": pandas.DataFrame({"age": [1, 2]}), "labels": [0]}, "labels needs 2 values.*Received: 1"),
        ({"data": pandas.DataFrame({"text": ["a"], "review": ["b"], "y": [0]})}, "column of texts: name it"),
        (
            {"data": ({"sound": [None, "a.WAV"], "age": [1, 2]}, [0, 1])},
            r"input 'sound' holds sounds, which need data\.seconds.*Received: data\.seconds=none",
        ),
        ({"data": ({"sound": np.zeros((2, 8)), "age": [1, 2]}, [0, 1])}, r"which need data\.seconds"),
        ({"data": {"train": ({"sound": [b"RIFF"], "text": ["a"]}, [0])}}, r"which need data\.seconds"),
        (
            {"data": ({"sound": ["a.wav"], "image": ["a.png"]}, [0]), "named": {"seconds": 1.5}},
            r"input 'image' holds images, but data\.seconds.*Received: data\.seconds=1\.5",
        ),
        (
            {"data": ({"photo": ["a.png"], "image": ["b.png"]}, [0]), "named": {"picture": "photo"}},
            r"input 'image' holds images, but data\.picture names another.*Received: data\.picture=photo",
        ),
        (
            {"data": ({"clip": ["a.wav"], "sound": ["b.wav"]}, [0]),
             "named": {"picture": "clip", "seconds": 2.0}},
            r"input 'sound' holds sounds, but data\.picture names another.*Received: data\.picture=clip",
        ),
    ],
)  # fmt: skip
def test_mistakes_in_data_from_python_are_named(given, named):
    with pytest.raises(UserError, match=named):
        source_or_arrays(**given)


def test_a_column_called_sound_may_hold_words():
    given = source_or_arrays(({"sound": ["loud", "low"], "age": [1, 2]}, [0, 1]))
    assert given.settings["columns"] == {"sound": {}, "age": {}}


@pytest.mark.parametrize("of", ["list", "dict"])
def test_sounds_that_are_read_as_pictures_are_named(tmp_path, of):
    paths = [str(tmp_path / f"{i}.wav") for i in range(4)]
    for path in paths:
        with open(path, "wb") as file:
            file.write(b"RIFF")
    x = paths if of == "list" else {"clip": paths, "age": [1, 2, 3, 4]}
    named = {} if of == "list" else {"data__picture": "clip", "model__beside__columns__backbone": "mlp",
                                     "model__beside__columns__weights": None}  # fmt: skip
    with pytest.raises(UserError, match=r"If they are sounds, set data\.seconds.*Received: 4 unreadable"):
        tlkeras.fine_tune(
            x, [0, 1, 0, 1], backbone="small_cnn", workdir=tmp_path / "run", model__weights=None, **named
        )


@pytest.mark.parametrize("with_test", [False, True])
def test_rows_without_a_group_are_divided_alike_in_a_frame_and_in_lists(tmp_path, with_test):
    rng = np.random.default_rng(0)
    rows = {
        "age": rng.integers(20, 60, 90),
        "title": [f"row {i}\nof two lines" for i in range(90)],
        "label": rng.integers(3, size=90),
        "group": ["" if i % 3 else f"g{i // 6}" for i in range(90)],
    }
    if with_test:
        rows["split"] = ["test" if i % 6 == 5 else "train" for i in range(90)]
    frame = pandas.DataFrame(rows)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    given = source_or_arrays(frame, named={"columns": ["age"]})
    found = {
        name: load_domain(DataConfig(source=source, columns=["age"]), seed=3, arrays=arrays)
        for name, source, arrays in (
            ("frame", "arrays", given.arrays),
            ("csv", f"csv:{tmp_path}/rows.csv", None),
            ("jsonl", f"jsonl:{tmp_path}/rows.jsonl", None),
        )
    }
    for domain in found.values():
        assert set(domain.splits) == {"train", "val", "test"} and 3 < len(domain.splits["val"]) < 30
        for split, of_frame in found["frame"].splits.items():
            same = domain.splits[split]
            np.testing.assert_array_equal(same.inputs, of_frame.inputs)
            np.testing.assert_array_equal(same.labels, of_frame.labels)


def test_groups_that_are_numbers_have_one_name_in_frames_and_lists(tmp_path):
    table = "age,title,label,group\n" + "".join(
        f"{i},row {i},{i % 2},{'' if i % 3 else i // 6}\n" for i in range(60)
    )
    (tmp_path / "rows.csv").write_text(table)
    frame = pandas.read_csv(tmp_path / "rows.csv")  # its groups are floats
    given = source_or_arrays(frame, named={"columns": ["age"]})
    of_frame = load_domain(DataConfig(source="arrays", columns=["age"]), seed=3, arrays=given.arrays)
    of_list = load_domain(DataConfig(source=f"csv:{tmp_path}/rows.csv", columns=["age"]), seed=3)
    for split, rows in of_list.splits.items():
        np.testing.assert_array_equal(rows.inputs, of_frame.splits[split].inputs)


def test_a_file_that_lacks_a_named_array_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", photo=np.zeros((4, 8, 8, 3), np.uint8), y=[0, 1, 0, 1])
    with pytest.raises(UserError, match=r"lacks the input 'age'.*Received: photo"):
        run_experiment(
            load_config({"data": {"source": f"npz:{tmp_path}/a.npz", "picture": "photo", "columns": ["age"]},
                         "model": {"backbone": "small_cnn", "weights": None}, "stages": [{"name": "a"}]}),
            tmp_path / "run",
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_frame_of_paths_trains_and_is_predicted(place, tmp_path):
    _, frame, _, _ = place
    frame = frame.dropna(subset="photo").rename(columns={"photo": "file"})[["file", "label"]]
    settings = {name: value for name, value in SMALL.items() if "text" not in name}
    run = tlkeras.fine_tune(frame, workdir=tmp_path / "run", **settings | {"stages__1__train": "last:1"})
    assert run.config.data.picture == "file" and run.modality.name == "image"
    answers = run.predict(frame[["file"]]).logits
    np.testing.assert_allclose(answers, run.predict_files(list(frame["file"]))[0].logits, atol=1e-6)
    assert np.array_equal(run.predict({"file": list(frame["file"])}).logits, answers)
    with pytest.raises(UserError, match=r"lacks the input 'file'.*Received: photo"):
        run.predict(frame[["file"]].rename(columns={"file": "photo"}))
    with pytest.raises(UserError, match="row 1: image is empty"):
        run.predict(pandas.DataFrame({"file": [frame["file"].iloc[0], None]}))


def test_a_frame_of_pairs_of_texts_trains_and_is_predicted(place, tmp_path):
    folder, _, _, _ = place
    _, texts, _, _, labels = made_up(60)
    frame = pandas.DataFrame({"premise": texts, "hypothesis": texts[::-1], "label": labels})
    run = tlkeras.fine_tune(
        frame, workdir=tmp_path / "run", backbone="bert_base", model__backbone_options=BERT, epochs=1,
        model__weights=None, data__text=("premise", "hypothesis"), data__tokenizer=str(folder),
        data__max_length=12, runtime__strategy="none", stages__1__train="last:1",
    )  # fmt: skip
    pairs = list(zip(frame["premise"], frame["hypothesis"], strict=True))
    answers = run.predict(frame.drop(columns="label")).logits
    assert np.array_equal(answers, run.predict(pairs).logits)
    assert np.array_equal(answers, run.predict({n: list(frame[n]) for n in ("premise", "hypothesis")}).logits)
    with pytest.raises(UserError, match=r"lacks the input 'hypothesis'.*Received: premise"):
        run.predict(frame[["premise"]])


def test_a_dict_of_sounds_and_columns_trains_and_is_predicted(tmp_path):
    rng = np.random.default_rng(0)
    high = rng.integers(2, size=48)
    time = np.arange(2000) / 8000
    sounds = 0.3 * np.sin(2 * np.pi * np.where(high, 1200, 300)[:, None] * time)
    x = {"sound": sounds.astype("float32"), "age": rng.normal(40, 9, 48)}
    settings = {
        "backbone": "small_cnn", "model__weights": None, "model__backbone_options": {"filters": [4, 8]},
        "model__front_end": {"bands": 16, "hop": 0.02, "window": 0.03}, "data__seconds": 0.25,
        "data__sample_rate": 8000, "runtime__strategy": "none", "epochs": 1, "tensorboard__images": False,
        "stages__1__train": "sound=last:1",
    }  # fmt: skip
    run = tlkeras.fine_tune(x, high, workdir=tmp_path / "run", **settings)
    assert run.modality.name == "sound_columns" and run.config.data.picture == "sound"
    assert list(run.config.data.columns) == ["age"] and run.config.data.seconds == 0.25
    answers = run.predict(x).logits
    assert answers.shape == (48, 2)
    assert (run.predict(x | {"sound": sounds[::-1].astype("float32")}).logits != answers).any()


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"cache__dir": object()}, r"cache\.dir must be a value of a config.*Received: object"),
        (
            {"stages__0__augment": {"flip": [object()]}},
            r"stages\.0\.augment\.flip\.0 must .*Received: object",
        ),
    ],
)
def test_settings_that_are_no_values_are_refused(tmp_path, setting, named):
    with pytest.raises(UserError, match=named):
        tlkeras.fine_tune(np.zeros((4, 2)), [0, 1, 0, 1], workdir=tmp_path / "run", **setting)
    assert not (tmp_path / "run").exists()


def test_keys_of_settings_may_be_numbers_of_numpy(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(UserError, match=r"data\.limit.*Received: {'0': 5}"):
        tlkeras.fine_tune(x, x[:, 0] > 0, workdir=tmp_path / "run", data__limit={np.int64(0): 5})
