"""What a run keeps for its report: pictures, embeddings, the health of its data."""

import json

import numpy as np
import pytest
from PIL import Image

from tlkeras.cli.main import main
from tlkeras.evaluation import Predictions
from tlkeras.evaluation.embedding import nearest, plane
from tlkeras.evaluation.embedding_file import read_embedding
from tlkeras.evaluation.gallery import choose
from tlkeras.evaluation.predictions import cross_entropy
from tlkeras.evaluation.shown_rows import save_png


def predictions(count=60, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    logits = rng.normal(size=(count, classes)) + 2 * np.eye(classes)[labels]
    return Predictions.from_logits(logits, task="multiclass", labels=labels)


def test_the_worst_are_those_with_the_largest_loss():
    found = predictions()
    worst, best = choose(found)
    losses = cross_entropy(found)
    assert len(worst) == 8 and sorted(losses[worst], reverse=True) == sorted(losses, reverse=True)[:8]
    assert len(best) == 4 and not set(worst) & set(best)
    assert len(set(found.predicted[best])) == 4  # one of each class before two of any
    assert losses[best[0]] == losses.min()


def test_a_loss_that_is_no_number_is_among_the_worst():
    found = predictions()
    found.logits[17] = np.nan
    assert choose(found)[0][0] == 17


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_rows_are_divided(count):
    worst, best = choose(predictions(count))
    assert len(worst) + len(best) <= count and len(worst) >= 1
    assert not set(worst) & set(best)


def test_large_pictures_are_made_smaller(tmp_path):
    save_png(tmp_path / "a.png", np.full((400, 800, 3), 300.0))
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (320, 160) and image.getpixel((0, 0)) == (255, 255, 255)


def test_the_gallery_shows_the_rows_it_names(trained):
    from tlkeras.config import load_config
    from tlkeras.prepare import read_domains

    index = json.loads((trained / "evaluation/gallery/index.json").read_text())
    assert [entry["kind"] for entry in index] == ["worst"] * 8 + ["best"] * 4
    assert {entry["method"] for entry in index} == {"Grad-CAM"}
    domain = read_domains(load_config(str(trained / "config.json")))["source"]
    rows = domain.splits["test"]
    for entry in index[::5]:
        i = list(rows.ids).index(entry["id"])
        assert entry["label"] == domain.class_names[rows.labels[i]]
        with Image.open(trained / "evaluation/gallery" / entry["picture"]) as image:
            np.testing.assert_array_equal(np.asarray(image), rows.inputs[i])
        with Image.open(trained / "evaluation/gallery" / entry["heat"]) as heat:
            assert heat.mode == "L" and np.asarray(heat).max() in (0, 255)


def test_the_gallery_has_the_probabilities_of_predict(trained):
    from tlkeras.config import load_config
    from tlkeras.prepare import read_domains
    from tlkeras.runs.saved_run import load_run

    evaluation = trained / "evaluation"
    index = json.loads((evaluation / "gallery/index.json").read_text())
    raw = Predictions.load(evaluation / "predictions_test.npz")
    rows = [list(raw.ids).index(entry["id"]) for entry in index]
    pictures = read_domains(load_config(str(trained / "config.json")))["source"].splits["test"].inputs
    found = load_run(trained).predict(pictures[rows]).probabilities
    shown = [entry["probability"] for entry in index]
    assert shown == pytest.approx(found.max(axis=1), abs=1e-4)
    assert shown != pytest.approx(raw.probabilities[rows].max(axis=1), abs=1e-2)
    of_label = found[np.arange(len(rows)), raw.labels[rows]]
    assert [entry["loss"] for entry in index] == pytest.approx(-np.log(of_label), abs=1e-3)


def test_the_worst_have_their_nearest_training_rows(trained):
    from tlkeras.config import load_config
    from tlkeras.evaluation.embedding import features_of
    from tlkeras.prepare import read_domains
    from tlkeras.runs.saved_run import load_run

    index = json.loads((trained / "evaluation/gallery/index.json").read_text())
    assert [len(entry["neighbors"]) for entry in index] == [3] * 8 + [0] * 4
    domain = read_domains(load_config(str(trained / "config.json")))["source"]
    train, model = domain.splits["train"], load_run(trained).model
    known = features_of(model, train, domain)
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    for entry in index[:8:3]:
        row = domain.splits["test"].take(np.array([list(domain.splits["test"].ids).index(entry["id"])]))
        query = features_of(model, row, domain)[0]
        cosines = known @ query / np.linalg.norm(query)
        for near in entry["neighbors"]:
            i = list(train.ids).index(near["id"])
            assert near["similarity"] == pytest.approx(cosines[i], abs=1e-3)
            assert near["label"] == domain.class_names[train.labels[i]]
            with Image.open(trained / "evaluation/gallery" / near["picture"]) as image:
                np.testing.assert_array_equal(np.asarray(image), train.inputs[i])
        assert entry["neighbors"][-1]["similarity"] >= np.sort(cosines)[-3] - 1e-3


def test_the_embedding_holds_features_of_the_saved_model(trained):
    from tlkeras.config import load_config
    from tlkeras.evaluation.embedding import features_of
    from tlkeras.prepare import read_domains
    from tlkeras.runs.saved_run import load_run

    found = read_embedding(trained / "evaluation/embedding_after.npz")
    assert found["coordinates"].shape == (250, 2) and found["thumbnails"].shape == (250, 32, 32, 3)
    assert found["domain_names"] == ["source"] and len(found["ids"]) == 250
    domain = read_domains(load_config(str(trained / "config.json")))["source"]
    rows = domain.splits["test"]
    chosen = rows.take(np.array([list(rows.ids).index(name) for name in found["ids"][:9]]))
    np.testing.assert_array_equal(found["label"][:9], chosen.labels)
    features = features_of(load_run(trained).model, chosen, domain)
    np.testing.assert_allclose(found["features"][:9], features, rtol=2e-3, atol=1e-3)


def test_clusters_stay_apart_in_the_plane():
    rng = np.random.default_rng(0)
    group = np.arange(90) % 3
    places = plane(rng.normal(size=(90, 20)) + 8 * np.eye(20)[group])
    centres = np.array([places[group == i].mean(axis=0) for i in range(3)])
    own = np.linalg.norm(places[:, None] - centres, axis=2).argmin(axis=1)
    assert (own == group).all()
    for odd in (np.zeros((7, 3)), np.ones((1, 3)), np.full((6, 1), np.nan), np.arange(3.0)[:, None]):
        assert plane(odd).shape == (len(odd), 2)


def test_nearest_is_by_angle():
    known = np.array([[1.0, 0.0], [0.0, 5.0], [0.0, 0.0], [3.0, 3.0]])
    indices, similarity = nearest(np.array([[0.0, 2.0]]), known, 2)
    assert indices.tolist() == [[1, 3]]
    np.testing.assert_allclose(similarity, [[1, np.sqrt(0.5)]], rtol=1e-6)
    assert nearest(known, known, 9)[0].shape == (4, 4)
    assert nearest(known[:0], known, 2)[1].shape == (0, 2)


def test_the_nearest_others_of_many_rows():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2300, 5)) * rng.uniform(0.1, 9, (2300, 1))
    rows[1700] = 4 * rows[3]
    indices, similarity = nearest(rows, rows, 4, among_others=True)
    assert indices[3, 0] == 1700 and indices[1700, 0] == 3
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    np.testing.assert_allclose(similarity, -np.sort(-cosines, axis=1)[:, :4], atol=1e-6)
    np.testing.assert_allclose(similarity, np.take_along_axis(cosines, indices, axis=1), atol=1e-6)
    few = nearest(rows[:3], rows[:3], 9, among_others=True)[0]
    assert np.sort(few, axis=1).tolist() == [[1, 2], [0, 2], [0, 1]]


def test_data_health_counts_what_is_wrong(tmp_path):
    from tlkeras.config import DataConfig
    from tlkeras.data import check_files, load_domain
    from tlkeras.evaluation.evidence import data_health

    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(4):
                Image.fromarray(rng.integers(0, 255, (9, 12, 3), np.uint8)).save(
                    tmp_path / split / name / f"{i}.png"
                )
    same = (tmp_path / "train/cat/0.png").read_bytes()
    (tmp_path / "test/cat/again.png").write_bytes(same)
    (tmp_path / "train/dog/other.png").write_bytes(same)
    (tmp_path / "train/dog/broken.png").write_bytes(same[:40])
    config = DataConfig(source=f"folder:{tmp_path}", image_size=8, on_error="skip", val_fraction=0.0)
    facts = data_health(check_files(load_domain(config, seed=0))[0])
    assert facts["rows"] == {"train": 9, "test": 9}
    assert facts["duplicates_count"] == 1 and facts["conflicts_count"] == 1 and facts["skipped_count"] == 1
    assert "broken.png" in facts["skipped"][0][0]
    json.dumps(facts)


def test_embed_writes_features_and_neighbours(run_copy, tmp_path, capsys, monkeypatch):
    from tlkeras.config import load_config
    from tlkeras.prepare import read_domains

    rows = read_domains(load_config(str(run_copy / "config.json")))["source"].splits["train"]
    (tmp_path / "pictures").mkdir()
    for i in (3, 50):
        Image.fromarray(rows.inputs[i]).save(tmp_path / "pictures" / f"{i:02d}.png")
    (tmp_path / "pictures/bad.png").write_text("no picture")
    words = ["embed", str(run_copy), str(tmp_path / "pictures")]
    assert main([*words, f"--output={tmp_path / 'out.npz'}"]) == 0
    assert "skipped" in capsys.readouterr().err
    with np.load(tmp_path / "out.npz", allow_pickle=False) as found:
        assert [name[-6:] for name in found["names"]] == ["03.png", "50.png"]
        features = found["features"]
    assert features.shape == (2, 2048)
    assert main(words) == 0
    piped = capsys.readouterr().out
    assert piped.startswith("file,feature_0,") and len(piped.splitlines()) == 3
    with monkeypatch.context() as patch:  # a terminal is not flooded
        patch.chdir(tmp_path)
        patch.setattr("sys.stdout.isatty", lambda: True)
        assert main(words) == 0
        assert capsys.readouterr().out == "2 files and their features written to features.csv\n"
    assert (tmp_path / "features.csv").read_text() == piped
    for _ in range(2):  # the second time from the features that were kept
        assert main([*words, "--neighbors=2"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "file,rank,neighbor,label,similarity" and len(lines) == 5
        assert f",1,{rows.ids[3]}," in lines[1] and f",1,{rows.ids[50]}," in lines[3]
    assert (run_copy / "evaluation/features_train.npz").is_file()
    assert main([*words, "--neighbors=2", "--output=x.npz"]) == 2
    assert main(["embed", str(run_copy)]) == 2
