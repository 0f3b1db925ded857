"""DataFrames: which columns are inputs, which rows belong to which split, and what is refused."""

import numpy as np
import pandas
import pytest

import tlkeras
from tlkeras.config.data import DataConfig
from tlkeras.data.domains import load_domain
from tlkeras.data.python_data import source_or_arrays
from tlkeras.errors import UserError

AGES = pandas.DataFrame({"age": [31.0, 40.5, 52.0, 38.0], "label": [0, 1, 1, 0]})
NAN, NA = float("nan"), pandas.NA


def inputs_of(*given, **more):
    return list(source_or_arrays(*given, **more).settings["columns"])


def test_labels_are_never_inputs(capsys):
    assert inputs_of(AGES) == ["age"]
    assert inputs_of(AGES, labels=AGES["label"]) == inputs_of((AGES, AGES["label"])) == ["age"]
    assert inputs_of(AGES, labels=AGES["label"].to_numpy()) == ["age"]
    prices = pandas.DataFrame({"rooms": [2, 3, 4, 3], "price": [1.5, 2.5, 9.0, 2.0]})
    assert inputs_of(prices, labels=prices["price"]) == ["rooms"]
    assert "no inputs" not in capsys.readouterr().out
    assert inputs_of(prices, labels=list(prices["price"])) == ["rooms"]
    assert "columns price of the DataFrame are no inputs" in " ".join(capsys.readouterr().out.split())
    # labels that are made from a column leave it an input
    assert inputs_of(prices, labels=prices["price"] > 2) == ["rooms", "price"]


def test_a_column_with_a_name_of_labels_can_be_named_as_an_input(capsys):
    ships = pandas.DataFrame({"age": [1.0, 2.0, 3.0], "class": ["1st", "2nd", "1st"]})
    survived = [0, 1, 1]
    assert inputs_of(ships, labels=survived) == ["age"]
    assert "columns class of the DataFrame are no inputs" in " ".join(capsys.readouterr().out.split())
    assert inputs_of(ships, labels=survived, named={"columns": ["age", "class"]}) == ["age", "class"]


@pytest.mark.parametrize("name", ["label", "Split", "group", "w"])
def test_inputs_that_are_answers_are_refused(name):
    frame = AGES.assign(Split="train", group="a", w=1.0)
    with pytest.raises(UserError, match=f"leave out label, split, group and weights. Received: '{name}'"):
        source_or_arrays(frame, sample_weights="w", named={"columns": ["age", name]})
    with pytest.raises(UserError, match="Received: 'label'"):
        source_or_arrays(AGES, labels=AGES["label"], named={"columns": "age,label"})


def numbers(count=60):
    rng = np.random.default_rng(0)
    return pandas.DataFrame(
        {"age": rng.normal(40, 9, count).round(2), "group": rng.integers(0, 12, count), "label": "no"}
    ).assign(label=lambda rows: np.where(rows["age"] > 40, "yes", "no"))


def ages_by_split(domain):
    return {split: rows.inputs[:, 0].tolist() for split, rows in domain.splits.items()}


@pytest.mark.parametrize("group", ["group", "Group"])
def test_groups_of_a_frame_are_split_as_those_of_a_list(tmp_path, group):
    frame = numbers().rename(columns={"group": group})
    numbers().to_csv(tmp_path / "rows.csv", index=False)
    listed = load_domain(DataConfig(source=f"csv:{tmp_path}/rows.csv", columns=["age"]), seed=3)
    given = source_or_arrays(frame)
    assert list(given.settings["columns"]) == ["age"]
    domain = load_domain(DataConfig(source="arrays", columns=["age"]), seed=3, arrays=given.arrays)
    assert ages_by_split(domain) == ages_by_split(listed)
    groups = [set(rows.groups) for rows in domain.splits.values()]
    assert len(groups) == 3 and sum(map(len, groups)) == len(set.union(*groups)) == 12


def test_rows_of_a_frame_are_divided_as_those_of_its_file_if_some_have_no_group(tmp_path):
    """pandas writes the numbers of a column with an empty cell as floats."""
    frame = numbers().assign(group=lambda rows: rows["group"].where(rows["group"] != 4))
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    frame.astype({"group": "Int64"}).to_parquet(tmp_path / "rows.parquet")
    assert ",3.0," in (tmp_path / "rows.csv").read_text()
    how = {"columns": ["age"]}
    given = source_or_arrays(frame).arrays
    domain = load_domain(DataConfig(source="arrays", **how), seed=3, arrays=given)
    for kind in ("csv", "jsonl", "parquet"):
        listed = load_domain(DataConfig(source=f"{kind}:{tmp_path}/rows.{kind}", **how), seed=3)
        assert ages_by_split(domain) == ages_by_split(listed)
        for split, rows in domain.splits.items():
            assert list(rows.groups) == list(listed.splits[split].groups)


@pytest.mark.parametrize("task", ["multiclass", "binary"])
@pytest.mark.parametrize("dtype", [bool, object, "boolean"])
def test_booleans_are_the_same_classes_in_a_frame_and_in_its_file(tmp_path, dtype, task):
    frame = numbers().assign(label=lambda rows: (rows["age"] > 40).astype(dtype))
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "rows.parquet")
    given = source_or_arrays(frame).arrays
    how = {"columns": ["age"], "task": task}
    domain = load_domain(DataConfig(source="arrays", **how), seed=3, arrays=given)
    assert domain.class_names == ("False", "True")
    for kind in ("csv", "jsonl", "parquet"):
        listed = load_domain(DataConfig(source=f"{kind}:{tmp_path}/rows.{kind}", **how), seed=3)
        assert listed.class_names == domain.class_names
        for split, rows in domain.splits.items():
            np.testing.assert_array_equal(rows.labels, listed.splits[split].labels)
            assert (rows.labels == (rows.inputs[:, 0] > 40)).all()


def test_booleans_number_the_classes_that_a_user_names():
    given = {"train": (np.arange(40.0)[:, None], np.arange(40) % 4 == 0)}
    domain = load_domain(DataConfig(source="arrays", class_names=("no", "yes")), seed=0, arrays=given)
    assert domain.class_names == ("no", "yes")
    like = load_domain(DataConfig(source="arrays"), seed=0, arrays=given, class_names=("no", "yes"))
    turned = load_domain(DataConfig(source="arrays"), seed=0, arrays=given, class_names=("True", "False"))
    for found, true in ((domain, 1), (like, 1), (turned, 0)):
        rows = found.splits["train"]
        np.testing.assert_array_equal(rows.labels == true, rows.inputs[:, 0] % 4 == 0)


def test_weights_and_groups_stand_beside_each_other():
    frame = numbers().assign(w=2.0)
    weighted = source_or_arrays(frame, sample_weights="w").arrays
    split = source_or_arrays({"train": frame.drop(columns="w")}, np.full(60, 2.0)).arrays
    for arrays in (weighted, {"all": split["train"]}):
        domain = load_domain(DataConfig(source="arrays", columns=["age"]), seed=0, arrays=arrays)
        train = domain.splits["train"]
        assert (train.weights == 2).all() and len(set(train.groups)) < len(train)


def test_rows_without_a_group_are_groups_of_their_own():
    frame = numbers(30).assign(group=[None] * 10 + ["a"] * 10 + [NA] * 10)
    given = source_or_arrays(frame)
    domain = load_domain(DataConfig(source="arrays", columns=["age"]), seed=0, arrays=given.arrays)
    groups = [group for rows in domain.splits.values() for group in rows.groups]
    assert len(set(groups)) == 21 and groups.count("a") == 10


@pytest.mark.parametrize("missing", [None, NAN, NA, ""])
def test_a_split_that_is_missing_in_some_rows_is_refused(missing):
    frame = numbers(4).drop(columns="group").assign(split=["train", missing, "test", missing])
    with pytest.raises(UserError, match=r"'split'.*filled only in some rows. Received: 2 empty"):
        source_or_arrays(frame)


def test_the_column_split_divides_the_rows():
    frame = numbers(6).drop(columns="group")
    names = pandas.Categorical(["train", "test"] * 3, categories=["test", "train", "val"])
    for column in ("split", "Split"):
        arrays = source_or_arrays(frame.assign(**{column: names})).arrays
        assert {split: len(rows[1]) for split, rows in arrays.items()} == {"train": 3, "test": 3}
        assert arrays["test"][0]["age"] == frame["age"].tolist()[1::2]
    assert list(source_or_arrays(frame.assign(split=None)).arrays) == ["all"]
    half = frame.assign(Split="train")
    assert list(source_or_arrays({"train": half, "test": half[:2]}).arrays) == ["train", "test"]


@pytest.mark.parametrize("missing", [None, NAN, NA])
@pytest.mark.parametrize("name", ["path", "text"])
def test_a_missing_path_or_text_is_refused(name, missing):
    frame = pandas.DataFrame({name: ["a", "b", missing, "c"], "label": [0, 1, 0, 1]})
    given = source_or_arrays(frame)
    with pytest.raises(UserError, match=r"\(all\), row 2: x must hold"):
        load_domain(DataConfig(source="arrays"), seed=0, arrays=given.arrays)


def test_a_missing_text_of_a_pair_is_refused():
    pairs = [("a", "b"), ("c", NAN)]
    with pytest.raises(UserError, match=r"\(all\), row 1: x must hold"):
        load_domain(DataConfig(source="arrays"), seed=0, arrays={"all": (pairs, [0, 1])})
    frame = pandas.DataFrame({"first": ["a", "c"], "second": ["b", NAN], "label": [0, 1]})
    given = source_or_arrays(frame, named={"text": ("first", "second")})
    with pytest.raises(UserError, match=r"\(all\), row 1: both texts of each pair are needed"):
        load_domain(DataConfig(source="arrays", text=("first", "second")), seed=0, arrays=given.arrays)


def test_a_missing_label_of_a_frame_is_refused():
    frame = pandas.DataFrame({"age": [1.0, 2.0, 3.0], "label": ["a", NAN, "b"]})
    for data in (frame, (frame[["age"]], frame["label"].tolist())):
        with pytest.raises(UserError, match=r"row 1: the label is missing.*Received: 1 rows"):
            load_domain(
                DataConfig(source="arrays", columns=["age"]), seed=0, arrays=source_or_arrays(data).arrays
            )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"data": pandas.DataFrame([[1, 2]], columns=["age", "age"])}, "a column twice.*age, age"),
        ({"data": pandas.DataFrame([[1, 2, 0]], columns=[1, "1", "label"])}, "a column twice"),
        ({"data": AGES.assign(split="train", Split="test")}, "one column 'split'. Received: split, Split"),
        ({"data": AGES, "named": {"columns": 5}}, "columns.*Received.*5"),
        ({"data": {"age": [1]}, "labels": [0], "named": {"columns": 5}}, "columns.*Received.*5"),
        ({"data": AGES, "named": {"picture": 5}}, "picture.*5"),
    ],
)  # fmt: skip
def test_mistakes_in_a_frame_are_named_in_one_line(given, named):
    with pytest.raises(UserError, match=named) as caught:
        source_or_arrays(**given)
    assert "\n" not in str(caught.value)


def test_columns_with_numbers_as_names_are_inputs(tmp_path):
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(rng.normal(size=(40, 2)))
    labels = (frame[0] > 0).astype(int)
    run = tlkeras.fine_tune(
        frame, labels, workdir=tmp_path / "run", epochs=1, runtime__strategy="none", data__columns=[0, 1]
    )
    assert list(run.modality.columns) == ["0", "1"]
    assert run.predict(frame).logits.shape == (40, 2)
