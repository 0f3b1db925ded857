"""Long sounds: a random window of each in training, and the mean of the answers for all windows elsewhere."""

import io
from dataclasses import replace

import numpy as np
import pytest
from sounds import RATE, tones

from tlkeras import load_config, load_run, run_experiment
from tlkeras.config import AugmentConfig
from tlkeras.data import load_domain, training_batches
from tlkeras.data.sound_files import SoundSpec, read_pieces, read_windows
from tlkeras.errors import UserError
from tlkeras.evaluation import Predictions
from tlkeras.prepare import prepare
from tlkeras.settled_config import checked
from tlkeras.training.stage_batches import StageBatches
from tlkeras.training.stages import Steps

pytestmark = pytest.mark.usefixtures("without_reports")

soundfile = pytest.importorskip("soundfile")

SECONDS = 0.25
SPEC = SoundSpec(RATE, round(SECONDS * RATE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sounds of one to five windows, of which only a part holds the tone."""
    place, rng = tmp_path_factory.mktemp("long"), np.random.default_rng(0)
    for i, (sound, name) in enumerate(zip(*tones(60, seconds=SECONDS), strict=True)):
        parts = [rng.normal(0, 0.02, len(sound)) for _ in range(i % 5)]
        parts.insert(rng.integers(len(parts) + 1), sound)
        (place / name).mkdir(exist_ok=True)
        soundfile.write(place / name / f"{i:02}.wav", np.concatenate(parts), RATE, subtype="FLOAT")
    return place


def config(folder, cache, *words):
    tree = {
        "name": "windows",
        "data": {"source": f"folder:{folder}", "seconds": SECONDS, "sample_rate": RATE, "batch_size": 8},
        "model": {
            "backbone": "small_cnn", "weights": None, "backbone_options": {"filters": [4, 8]},
            "front_end": {"bands": 16, "hop": 0.02, "window": 0.03},
        },
        "stages": [
            {"name": "head", "train": "head", "epochs": 2, "augment": {"window": True}},
            {"name": "all", "train": "all", "epochs": 2, "augment": {"window": True}},
        ],
    }  # fmt: skip
    return load_config(tree, [f"cache.dir={cache}", *words])


@pytest.mark.parametrize("rate", [RATE, 44_100, 22_050, 6_000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_window_has_the_samples_of_the_whole_sound(tmp_path, rate, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 2 * rate), rate)
    whole = np.concatenate(read_windows(str(path), SPEC))
    assert len(whole) == 2 * RATE
    for begin in (0, 1, 777, 5_000, len(whole) - SPEC.samples):
        found = read_pieces(str(path), SPEC, [begin])[0]
        np.testing.assert_allclose(found, whole[begin : begin + SPEC.samples], atol=1e-6)


def test_a_window_of_an_mp3_file_has_the_samples_of_the_whole_sound(tmp_path):
    path, spec = tmp_path / "a.mp3", SoundSpec(16_000, 8_000)
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", spec.rate, 1) as file:
        for _ in range(60):
            file.write(np.clip(rng.normal(0, 0.1, spec.rate), -1, 1))
    whole, _ = soundfile.read(path, dtype="float32")
    begins = range(500, 900_000, 12_345)
    for begin, found in zip(begins, read_pieces(str(path), spec, begins), strict=True):
        np.testing.assert_allclose(found, whole[begin : begin + spec.samples], atol=1e-6)


def batches(folder, **how):
    domain = load_domain(config(folder, folder).data, seed=0)
    rows = domain.splits["train"]
    how = {"batch_size": 8, "seed": 3, "augment": AugmentConfig(window=True), "with_labels": False} | how
    return rows, [x.numpy() for x in training_batches(rows, domain, **how)]


def test_each_epoch_draws_windows_that_depend_only_on_seed_epoch_and_row(folder):
    rows, found = batches(folder, steps=40)
    _, later = batches(folder, steps=40, start_step=17)
    assert all(np.array_equal(*pair) for pair in zip(found[17:], later, strict=True))
    others = batches(folder, steps=1, seed=4)[1]
    assert not np.array_equal(found[0], others[0])
    sounds = [soundfile.read(path, dtype="float32")[0] for path in rows.inputs]
    begins = {}
    for x in np.concatenate(found):
        places = [
            (row, begin)
            for row, sound in enumerate(sounds)
            for begin in np.flatnonzero(sound[: len(sound) - SPEC.samples + 1] == x[0])
            if np.array_equal(sound[begin : begin + SPEC.samples], x)
        ]
        (place,) = places  # one piece of one sound
        begins.setdefault(place[0], set()).add(place[1])
    long = [row for row, sound in enumerate(sounds) if len(sound) > SPEC.samples]
    assert all(begins[row] == {0} for row in range(len(sounds)) if row not in long)
    assert np.mean([len(begins[row]) > 3 for row in long]) > 0.9
    middle = np.mean([np.mean(list(begins[row])) / (len(sounds[row]) - SPEC.samples) for row in long])
    assert 0.4 < middle < 0.6


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    where = tmp_path_factory.mktemp("run")
    return run_experiment(config(folder, where / "cache", "data.views=2"), where / "run")


def test_views_of_windows_are_stored_and_give_the_same_bits(finished, folder, tmp_path):
    ledger = (finished.path / "ledger.jsonl").read_text()
    assert '"extractor": "' in ledger
    run_experiment(config(folder, tmp_path, "data.views=2", "cache.enabled=false"), tmp_path / "run")
    pairs = zip(finished.model.get_weights(), load_run(tmp_path / "run").model.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_evaluation_answers_as_predict_does(finished, folder):
    for split in ("val", "test", "train"):
        kept = Predictions.load(finished.path / "evaluation" / f"predictions_{split}.npz")
        found, _ = finished.predict_files([str(folder / name) for name in kept.ids])
        np.testing.assert_allclose(found.logits * finished.temperature, kept.logits, atol=1e-5)
    test = Predictions.load(finished.path / "evaluation" / "predictions_test.npz")
    assert finished.metrics["source"]["test"]["rows"] == len(test) == 12
    assert finished.evaluate()["source"] == finished.metrics["source"]


def test_windows_of_pictures_are_refused(tmp_path):
    words = ["stages.0.augment.window=true"]
    with pytest.raises(UserError, match="augmentations that images cannot have"):
        run_experiment(load_config("synthetic_smoke", words), tmp_path / "run")


@pytest.fixture(scope="module")
def beside_columns(folder, tmp_path_factory):
    """A finished run on long sounds with columns beside them, and its list, in which sounds are missing."""
    where = tmp_path_factory.mktemp("beside")
    lines = ["path,age,label"]
    for i, path in enumerate(sorted(folder.glob("*/*.wav"))):
        lines.append(f"{path if i % 9 else ''},{i % 7},{path.parent.name}")
    (where / "rows.csv").write_text("\n".join(lines) + "\n")
    words = [f"data.source=csv:{where / 'rows.csv'}", "data.picture=path", "data.columns=age"]
    words += ["model.beside.columns.backbone=mlp", "model.beside.columns.weights=none"]
    return run_experiment(config(folder, where / "cache", *words), where / "run"), where / "rows.csv"


def test_sounds_with_columns_are_answered_alike_by_evaluation_list_and_paths(beside_columns):
    run, file = beside_columns
    of_list, skipped = run.predict_files(str(file))
    rows = [line.split(",") for line in file.read_text().splitlines()[1:]]
    x = {"sound": [path or None for path, _, _ in rows], "columns": {"age": [int(age) for _, age, _ in rows]}}
    of_paths = run.predict(x)
    assert not skipped and len(of_list) == len(of_paths) == len(rows)
    place = {name: i for i, name in enumerate(of_list.ids)}
    for split in ("val", "test", "train"):
        kept = Predictions.load(run.path / "evaluation" / f"predictions_{split}.npz")
        places = [place[name] for name in kept.ids]
        for found in (of_list, of_paths):
            np.testing.assert_allclose(found.logits[places] * run.temperature, kept.logits, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [{"noise": 0.1}, {"time_mask": 1.0}, {"window": True, "noise": 0.1}, {"window": True}],
    ids=lambda change: "-".join(change),
)
def test_no_change_makes_a_missing_sound_there_or_a_sound_missing(folder, beside_columns, change):
    words = [f"data.source=csv:{beside_columns[1]}", "data.picture=path", "data.columns=age"]
    words += ["model.beside.columns.backbone=mlp", "model.beside.columns.weights=none"]
    domain = load_domain(config(folder, folder, *words).data, seed=0)
    rows = domain.splits["train"]
    missing = np.array([isinstance(one, bytes) for one in rows.inputs["sound"]])
    assert 0 < missing.sum() < len(rows)
    augment, places = AugmentConfig(**change), np.arange(len(rows))
    read = domain.modality.reader(rows, domain.config)
    unchanged = read(places)["sound"].numpy()
    for epoch in range(3):
        found = domain.modality.drawn(read, augment, 0, np.int64(epoch), places)["sound"].numpy()
        assert not found[missing].any() and found[~missing].any(axis=1).all()
        assert not np.array_equal(found, unchanged)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """A folder with a tone, silence, both one after the other, and noise that is hardly there."""
    place, silence = tmp_path_factory.mktemp("quiet"), np.zeros(SPEC.samples)
    tone = tones(1, seconds=SECONDS)[0][0]
    hardly = np.random.default_rng(0).uniform(-1e-9, 1e-9, SPEC.samples)
    both = np.concatenate([tone, silence])
    for name, sound in {"tone": tone, "silence": silence, "both": both, "hardly": hardly}.items():
        soundfile.write(place / f"{name}.wav", sound, RATE, subtype="FLOAT")
    return place


@pytest.mark.parametrize("of", ["path", "content", "list", "arrays"])
def test_a_silent_sound_is_not_a_missing_one(beside_columns, quiet, of):
    run, names = load_run(beside_columns[0].path), ("tone", "silence", "hardly")
    # a black spectrogram has features that are not zero, as in pretrained networks
    run.model.get_layer("sound_conv_2_bn").beta.assign(np.linspace(0, 2, 8))

    def answers(*sounds):
        x = {"sound": list(sounds), "columns": {"age": [3] * len(sounds)}}
        if of != "list":
            return run.predict(x).logits
        lines = ["path,age", *(f"{'' if path is None else path},3" for path in sounds)]
        (quiet / "new.csv").write_text("\n".join(lines) + "\n")
        return run.predict_files(str(quiet / "new.csv"))[0].logits

    read = {"path": str, "content": lambda path: path.read_bytes(), "list": str,
            "arrays": lambda path: soundfile.read(path, dtype="float32")[0]}[of]  # fmt: skip
    tone, silence, hardly, missing = answers(*(read(quiet / f"{name}.wav") for name in names), None)
    assert np.abs(silence - missing).max() > 1e-3
    np.testing.assert_allclose(silence, hardly, atol=1e-5)  # the network does not see how it is marked
    if of != "arrays":
        both, _ = answers(read(quiet / "both.wav"), None)
        np.testing.assert_allclose(both, (tone + silence) / 2, atol=1e-5)


@pytest.mark.parametrize("change", [{}, {"window": True, "noise": 0.1}], ids=["none", "noise"])
def test_silent_sounds_are_there_in_training(folder, quiet, change):
    (quiet / "rows.csv").write_text(
        "path,age,label,split\n"
        + "".join(f"{name},{i},{i % 2},train\n" for i, name in enumerate(["silence.wav", "", "tone.wav", ""]))
        + "silence.wav,1,0,val\n"
    )
    words = [f"data.source=csv:{quiet}/rows.csv", "data.picture=path", "data.columns=age"]
    domain = load_domain(config(folder, folder, *words, "data.test_fraction=0").data, seed=0)
    read = domain.modality.reader(domain.splits["train"], domain.config)
    drawn = domain.modality.drawn(read, AugmentConfig(**change), 0, np.int64(0), np.arange(4))
    found = drawn["sound"].numpy()
    assert found.any(axis=1).tolist() == [True, False, True, False]
    assert found[0].all() and (np.abs(found[0]).max() > 0.1) == bool(change)  # it gets noise as others do
    left_out = domain.modality.without(domain.splits["train"], "sound")
    assert not domain.modality.reader(left_out, domain.config)(np.arange(4))["sound"].numpy().any()


@pytest.mark.parametrize("in_memory", [False, True], ids=["path", "content"])
def test_the_windows_of_a_long_sound_are_read_in_one_pass(tmp_path, monkeypatch, in_memory):
    path, windows = tmp_path / "a.wav", 64
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, windows * SPEC.samples).astype(np.float32)
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    (tmp_path / "rows.csv").write_text(f"path,label,split\n{path},a,train\n{path},b,train\n{path},b,test\n")
    domain = load_domain(config(tmp_path, tmp_path, f"data.source=csv:{tmp_path / 'rows.csv'}").data, seed=0)
    rows = domain.splits["test"]
    if in_memory:
        content = np.empty(1, object)
        content[0] = path.read_bytes()
        rows = replace(rows, inputs=content)
    found, owners = domain.modality.windows(rows, domain.config)
    read = domain.modality.reader(found, domain.config.model_copy(update={"memory_mb": 0}))
    opened, frames = [], []
    real = soundfile.SoundFile

    class Counting(real):
        def __init__(self, *given, **named):
            opened.append(1)
            super().__init__(*given, **named)

        def read(self, count=-1, *given, **named):
            frames.append(count)
            return super().read(count, *given, **named)

    monkeypatch.setattr(soundfile, "SoundFile", Counting)
    sounds = np.concatenate([read(np.arange(begin, begin + 16)) for begin in range(0, windows, 16)])
    np.testing.assert_array_equal(sounds, samples.reshape(windows, -1))
    assert owners.tolist() == [0] * windows and len(opened) == windows / 16
    assert sum(frames) < 1.1 * len(samples)  # of each window, only its part


def test_only_the_part_of_a_file_on_a_disk_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(100 * SPEC.samples), RATE)
    sizes = []

    class Counting(io.FileIO):
        def readinto(self, buffer):
            sizes.append(super().readinto(buffer))
            return sizes[-1]

    opening = lambda file, mode: io.BufferedReader(Counting(file, mode))  # noqa: E731
    monkeypatch.setattr("tlkeras.data.sound_files.open", opening, raising=False)
    read_pieces(str(path), SPEC, [50 * SPEC.samples])
    assert 2 * SPEC.samples <= sum(sizes) < path.stat().st_size / 5


def adapting(folder, strong):
    words = [f'adaptation={{"method": "adamatch", "target": {{"source": "folder:{folder}"}}, "twin": false}}']
    words += ['adaptation.strong_augment={"randaugment": 0, "cutout": 0}', "cache.enabled=false", *strong]
    return checked(config(folder, folder, *words))


def test_both_views_of_a_long_sound_show_the_same_window(folder):
    parts = prepare(adapting(folder, ["adaptation.strong_augment.noise=1e-4"]))
    stage, steps = parts.config.stages[0], Steps(total=20, per_epoch=10, epochs=2)
    views = [views for _, views in StageBatches(parts).training(stage, steps, 0, 2)]
    weak, strong = (np.concatenate([pair[i].numpy() for pair in views]) for i in (0, 1))
    assert 0 < np.abs(strong - weak).max() < 1e-3 < np.abs(weak).max()
    rows = parts.targets[0].splits["train"]
    beginnings = parts.targets[0].modality.reader(rows, parts.targets[0].config)(np.arange(len(rows))).numpy()
    drawn = [not (x == beginnings).all(axis=1).any() for x in weak]
    assert np.mean(drawn) > 0.5


def test_a_window_alone_is_no_second_view(folder):
    with pytest.raises(UserError, match="compares two views of each target row, which would be equal"):
        prepare(adapting(folder, []))
