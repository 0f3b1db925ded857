"""Sounds: read from files and arrays, turned into spectrograms in the model, trained, cached, predicted."""

import json
import os
import re

import numpy as np
import pytest
from sounds import RATE, tones

from tlkeras import load_config, load_run, run_experiment
from tlkeras.cli.main import main
from tlkeras.errors import UserError

soundfile = pytest.importorskip("soundfile")

BASE = [f"data.sample_rate={RATE}", "data.seconds=0.5", "data.batch_size=16", "cache.enabled=true"]


def config(source, *words):
    model = {
        "backbone": "small_cnn",
        "weights": None,
        "backbone_options": {"filters": [4, 8]},
        "neck": {"pooling": "flatten"},
        "front_end": {"bands": 16, "hop": 0.02, "window": 0.03},
    }
    stages = [
        {"name": "head", "train": "head", "epochs": 1},
        {"name": "last", "train": "last:1", "epochs": 1, "optimizer": {"learning_rate": 0.01}},
        {"name": "all", "train": "all", "epochs": 4, "optimizer": {"learning_rate": 0.01}},
    ]
    tree = {"name": "sounds", "data": {"source": source}, "model": model, "stages": stages}
    return load_config(tree, [*BASE, *words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files in four formats, of which some have another rate or two channels."""
    place = tmp_path_factory.mktemp("folder")
    for number, (sound, name) in enumerate(zip(*tones(120), strict=True)):
        (place / name).mkdir(exist_ok=True)
        suffix = ("wav", "flac", "ogg", "mp3")[number % 4]
        stereo = np.stack([sound, sound], axis=1) if number % 3 == 0 else sound
        soundfile.write(place / name / f"{number:03}.{suffix}", stereo, RATE)
    return place


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    where = tmp_path_factory.mktemp("run")
    return run_experiment(config(f"folder:{folder}", f"cache.dir={where}/cache"), where / "run")


def same_weights(one, other):
    pairs = zip(load_run(one).model.get_weights(), load_run(other).model.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_it_learns_from_files_and_answers_for_arrays_and_files(finished, folder, tmp_path, capsys):
    sounds, classes = tones(60, seed=5)
    answers = finished.predict(sounds)
    assert (np.array(finished.class_names)[answers.predicted] == classes).mean() > 0.95
    whole = (np.clip(sounds, -1, 1) * 32767).astype(np.int16)
    assert np.abs(finished.predict(whole).logits - answers.logits).max() < 0.2
    soundfile.write(tmp_path / "one.wav", sounds[0], RATE, subtype="FLOAT")
    (tmp_path / "bad.wav").write_bytes(b"RIFF and no more")
    predictions, skipped = finished.predict_files(tmp_path)
    assert np.allclose(predictions.logits, answers.logits[:1], atol=1e-5)
    assert skipped[0][0].endswith("bad.wav") and "damaged" in skipped[0][1]
    assert main(["predict", str(finished.path), str(tmp_path / "one.wav")]) == 0
    assert f",{classes[0]}," in capsys.readouterr().out


def test_a_long_file_gets_the_mean_of_the_answers_for_its_windows(finished, tmp_path):
    sounds, _ = tones(5, seed=6)
    whole = np.concatenate([*sounds[:4], sounds[4][:2500]])
    soundfile.write(tmp_path / "long.wav", whole, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", sounds[0][:1000], RATE, subtype="FLOAT")
    predictions, _ = finished.predict_files([tmp_path / "long.wav", tmp_path / "short.wav"])
    windows = np.stack([*sounds[:4], np.concatenate([sounds[3][-1500:], sounds[4][:2500]])])
    expected = finished.predict(windows).logits.mean(axis=0), finished.predict(sounds[:1, :1000]).logits[0]
    assert np.allclose(predictions.logits, expected, atol=1e-5) and len(predictions.ids) == 2


@pytest.mark.usefixtures("without_report")
def test_cached_and_uncached_runs_end_with_the_same_bits(finished, folder, tmp_path):
    events = [json.loads(line) for line in (finished.path / "ledger.jsonl").read_text().splitlines()]
    assert any(event.get("extraction_seconds") for event in events)
    words = ["cache.enabled=false", "data.memory_mb=0"]
    run_experiment(config(f"folder:{folder}", *words), tmp_path / "run")
    assert same_weights(finished.path, tmp_path / "run")


def test_the_front_end_is_saved_fixed_and_gives_the_bands_of_a_fourier_transform(finished):
    import keras

    model = keras.models.load_model(finished.path / "best.keras", compile=False)
    picture = keras.Model(model.inputs, model.get_layer("front_end").output)
    sounds, _ = tones(4, seed=1)
    sounds[3] = 0
    # 0.03 s at 8 kHz are 240 samples in the middle of 256
    frames = np.stack([sounds[:, start : start + 256] for start in range(0, 4000 - 255, 160)], axis=1)
    window = np.pad(np.hanning(241)[:-1] / np.hanning(241).sum(), 8)
    power = np.abs(np.fft.rfft(frames.astype(float) * window)) ** 2
    bands = model.get_layer("front_end_mel").get_weights()[0][:, ::-1]
    peaks = bands.argmax(axis=0)
    assert (np.diff(peaks) > 0).all() and bands.max() <= 1  # low bands first, each a triangle
    decibels = 10 * np.log10(np.maximum(power @ bands, 1e-10))
    expected = np.clip(255 + 2.55 * decibels, 0, 255).swapaxes(1, 2)[:, ::-1, :, None].repeat(3, axis=-1)
    found = picture.predict(sounds, verbose=0)
    assert found.shape == (4, 16, 24, 3) and not found[3].any()
    assert np.abs(found - expected).max() < 0.01
    kernel = model.get_layer("front_end_mel").get_weights()[0]
    assert np.array_equal(kernel, load_run(finished.path).model.get_layer("front_end_mel").get_weights()[0])
    assert not model.get_layer("front_end_cos").trainable


def test_the_report_shows_spectrograms_with_maps_and_plays_the_sounds(finished):
    from PIL import Image

    gallery = finished.path / "evaluation" / "gallery"
    index = json.loads((gallery / "index.json").read_text())
    assert {entry["method"] for entry in index} == {"Grad-CAM"}
    for entry in index:
        for kind in ("picture", "heat"):
            with Image.open(gallery / entry[kind]) as image:
                assert image.size == (256, 96)
        samples, rate = soundfile.read(gallery / entry["sound"])
        assert rate == RATE and len(samples) == 4000
    page = (finished.path / "report.html").read_text()
    assert page.count("<audio controls") == len(index) and "media-src data:" in page
    tone = np.sin(2 * np.pi * 1000 * np.arange(4000) / RATE).astype(np.float32)[None]  # a quarter of 4 kHz
    light = finished.modality.pictures(tone)[0].sum(axis=-1)
    assert set(light.argmax(axis=0)) <= {47, 48}  # the height is the root of the frequency


def test_changes_are_those_that_are_named_and_depend_on_seed_epoch_and_row_only():
    import tensorflow as tf

    from tlkeras.config import AugmentConfig
    from tlkeras.data.modalities import Sound

    def changed(x, rows, epoch=0, **how):
        given = tf.constant(epoch, tf.int64), tf.constant(rows, tf.int64)
        return Sound().augmented(tf.constant(x), AugmentConfig(**how), 3, *given).numpy()

    x = tones(4)[0]
    both = {"shift": 0.3, "gain": 6.0, "time_mask": 0.3, "band_mask": 0.3, "snr": 10.0, "noise": 0.01}
    whole = changed(x, range(4), **both)
    assert np.array_equal(changed(x[2:3], [2], **both)[0], whole[2])  # not of the batch
    assert not np.array_equal(changed(x, range(4), 1, **both), whole)
    assert np.array_equal(changed(x, range(4), mixup=0.3), x)  # the pipeline mixes
    ratio = changed(x, range(4), gain=6.0) / x
    assert np.allclose(ratio, ratio[:, :1], rtol=1e-4) and (np.abs(20 * np.log10(ratio)) < 6.001).all()
    noise = changed(x, range(4), snr=10.0) - x
    snr = 10 * np.log10((x**2).mean(axis=1) / (noise**2).mean(axis=1))
    assert ((snr > 9) & (snr < 31)).all() and np.ptp(snr) > 1
    masked = changed(x, range(4), time_mask=0.5)
    assert (((masked == x) | (masked == 0)).all(axis=1)).all() and (masked == 0).any()
    silenced = np.abs(np.fft.rfft(changed(x, range(4), band_mask=0.5))) < 1e-3 * np.abs(np.fft.rfft(x))
    assert 0 < silenced.mean() < 0.5 and (np.diff(silenced.astype(int), axis=1) != 0).sum() <= 8
    moved = changed(x, range(4), shift=0.5)
    lag = [np.correlate(m, row, "full").argmax() - 3999 for m, row in zip(moved, x, strict=True)]
    assert len(set(lag)) == 4 and max(map(abs, lag)) <= 2000
    for row, m, by in zip(x, moved, lag, strict=True):
        kept = m[by:] if by >= 0 else m[:by]
        assert np.array_equal(kept, row[: 4000 - by] if by >= 0 else row[-by:])


def test_files_at_another_rate_are_resampled_and_the_beginning_is_as_in_the_whole_file(tmp_path):
    from tlkeras.data.sound_files import SoundSpec, read_pieces, read_windows

    time = np.arange(3 * 44_100) / 44_100
    soundfile.write(tmp_path / "a.wav", np.sin(2 * np.pi * 440 * time), 44_100, subtype="FLOAT")
    spec = SoundSpec(RATE, RATE)
    windows = read_windows(str(tmp_path / "a.wav"), spec)
    assert windows.shape == (3, RATE)
    assert np.array_equal(windows[0], read_pieces(str(tmp_path / "a.wav"), spec, [0])[0])
    expected = np.sin(2 * np.pi * 440 * (np.arange(RATE) + RATE) / RATE)
    assert np.abs(windows[1] - expected).max() < 0.01


@pytest.mark.usefixtures("without_report")
def test_lists_and_arrays_are_sounds_too(folder, tmp_path):
    from tlkeras.data import load_domain

    names = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    lines = ["path,label", *(f"{name},{name.parent}" for name in names)]
    (folder / "list.csv").write_text("\n".join(lines))
    listed = load_domain(config(f"csv:{folder}/list.csv").data, seed=0)
    (folder / "list.csv").unlink()
    sounds, classes = tones(40)
    np.savez(tmp_path / "a.npz", x=(sounds * 32767).astype(np.int16)[:, :3000], y=classes)
    held = load_domain(config(f"npz:{tmp_path}/a.npz").data, seed=0)
    given = load_domain(config("arrays").data, seed=0, arrays={"all": (sounds, classes)})
    for domain in (listed, held, given):
        assert domain.modality.name == "sound" and domain.input_shape == (4000,)
    from tlkeras.data import evaluation_batches

    x = next(iter(evaluation_batches(held.splits["train"], held, batch_size=4)))[0].numpy()
    assert x.dtype == np.float32 and np.abs(x).max() < 1 and x[:, 500:3500].any()
    assert not x[:, :500].any() and not x[:, 3500:].any()  # silence around it


HEADER = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"just a line of text\n", "is not a sound of a readable format"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "is not a sound of a readable format"),
        (HEADER + bytes(10), "is damaged or truncated"),
        ((np.zeros(0), RATE), "holds no samples"),
        ((np.zeros(400), 100), "has 100 samples per second, but only 1000 to 400000 can be read"),
        ((np.full(400, np.nan), RATE), "holds a sample that is not a finite number"),
        ((np.zeros(1_000 * 3_601), 1_000), "lasts 3601 seconds, but at most 3600 can be read"),
        (None, r"cannot be opened \(No such file"),
    ],
    ids=["empty", "text", "picture", "damaged", "no samples", "rate", "nan", "long", "missing"],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(folder, tmp_path, content, reason):
    bad = tmp_path / "bad.wav"
    if isinstance(content, bytes):
        bad.write_bytes(content)
    elif content is not None:
        soundfile.write(bad, *content, format="WAV", subtype="PCM_U8" if len(content[0]) > 400 else "FLOAT")
    names = sorted(folder.rglob("*.wav"))[::4]
    lines = ["path,label", *(f"{name},{name.parent.name}" for name in names), f"{bad},low"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    match = rf"Unreadable sounds in csv:.*bad.wav {reason}.*on_error=skip"
    with pytest.raises(UserError, match=match):
        run_experiment(config(f"csv:{tmp_path}/list.csv"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_inspect_names_silent_and_clipped_sounds_and_shows_rates(tmp_path, capsys):
    sounds, classes = tones(12)
    sounds[3] = 0
    sounds[5] = np.sign(sounds[5])
    sounds[7] = sounds[8]
    for number, (sound, name) in enumerate(zip(sounds, classes, strict=True)):
        place = tmp_path / ("train" if number < 8 else "test") / name
        place.mkdir(parents=True, exist_ok=True)
        sound = np.stack([sound, sound], axis=1) if number == 1 else sound
        rate = RATE * 2 if number == 2 else RATE
        soundfile.write(place / f"{number}.wav", sound[: 4000 - 100 * number], rate)
    words = [f"data.source=folder:{tmp_path}", "data.sample_rate=8000", "data.seconds=0.45"]
    words += ["model.weights=none", "data.val_fraction=0"]
    assert main(["inspect", "--config=sound_folder", "--json", *(f"--set={word}" for word in words)]) == 0
    facts = json.loads(capsys.readouterr().out)["source"]["facts"]["train"]
    assert facts["seconds"] == {"min": "0.24", "median": "0.44", "max": "0.50"}
    assert facts["cut by data.seconds=0.45"] == 3 / 8  # the first, the second and the fourth
    assert facts["samples per second"] == {"8000": 7, "16000": 1}
    assert facts["channels"] == {"1": 7, "2": 1}
    assert re.fullmatch(r"1 \(train/(low|high)/3.wav\)", facts["silent"])
    assert re.fullmatch(r"1 \(train/(low|high)/5.wav\)", facts["clipped"])


SOUNDS, CLASSES = tones(24)


@pytest.mark.parametrize(
    ("x", "words", "message"),
    [
        (SOUNDS[:, :, None], [], r"one channel: use x.mean\(axis=-1\). Received: shape \(24, 4000, 1\)"),
        (SOUNDS * 30_000, [], r"int16, or floats in -1..1. Received: floats up to"),
        (SOUNDS.astype(np.int64), [], "int16, or floats in -1..1. Received: dtype=int64"),
        (np.where(SOUNDS > 0.1, np.nan, SOUNDS), [], "not a finite number. Received: nan"),
        (SOUNDS, ["data.seconds=0.25"], "longer than data.seconds, 2000 samples.* Received: 4000 samples"),
        (SOUNDS[:, 0], [], r"an array \(n, samples\). For a single sound use x\[None\]"),
        (SOUNDS, ["model.backbone=bert_base", "model.backbone_options={}", "model.front_end=none"],
         "bert_base takes texts, and the data are sounds"),
        (SOUNDS, ["model.backbone=mlp", "model.backbone_options={}", "model.front_end=none"],
         "mlp takes vectors or rows of columns, and the data are sounds"),
        (SOUNDS, ["model.backbone=mlp", "model.backbone_options={}"], "pictures, which mlp does not take"),
        (SOUNDS, ["data.seconds=none"], "data.seconds makes the data sounds. Received: model.front_end"),
        (SOUNDS, ["model.front_end.bands=200"], "more bands than its window can resolve.*bands=200"),
        (SOUNDS, ["model.front_end.high=9000"], "below half of data.sample_rate. Received: low=60, .*9000"),
        (SOUNDS, ["model.front_end.window=0.9"], "a frame of 8192 samples.*Received: 4000"),
        (SOUNDS, ["stages.0.augment.crop=0.5"], "augmentations that sounds cannot have.*Received: .*crop"),
        (SOUNDS, ["stages.0.augment.word_swap=0.5"], "that sounds cannot have.*Received: .*word_swap"),
        (SOUNDS, ["stages.0.augment.time_mask=2"], "time_mask.*less than or equal to 1"),
        (SOUNDS, ["data.seconds=0"], "seconds.*greater than or equal to 0.1"),
        (np.zeros((24, 8, 8, 3), np.uint8), [], "sounds must be an array"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(tmp_path, x, words, message):
    with pytest.raises(UserError, match=message) as raised:
        run_experiment(config("arrays", *words), tmp_path / "run", data={"all": (x, CLASSES)})
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()


def test_a_folder_of_sounds_without_seconds_says_so(folder, tmp_path):
    words = ["data.seconds=none", "model.front_end=none"]
    with pytest.raises(UserError, match=r"no images. It holds sounds: set data.seconds."):
        run_experiment(config(f"folder:{folder}", *words), tmp_path / "run")
    os.mkdir(tmp_path / "a")
    with pytest.raises(UserError, match=re.escape("the folder holds no sounds. It needs sounds in a folder")):
        run_experiment(config(f"folder:{tmp_path}"), tmp_path / "run")
