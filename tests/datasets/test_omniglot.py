"""Omniglot: the published archives where they are at hand, forged ones everywhere."""

import hashlib
import io
import sys

import numpy as np
import pytest

pytest.importorskip("PIL", reason="Pillow, of the extra 'images', is not installed")
from PIL import Image

from sk_fewshot.datasets import (
    _omniglot,
    _omniglot_one_shot,
    fetch_omniglot,
    fetch_omniglot_one_shot,
)

ARCHIVE = "images_background_small1.zip"


@pytest.fixture(scope="module")
def small1(shared_data):
    return fetch_omniglot("small1", data_home=shared_data, download_if_missing=False)


@pytest.fixture(scope="module")
def small2(shared_data):
    return fetch_omniglot("small2", data_home=shared_data, download_if_missing=False)


@pytest.mark.parametrize(
    ("subset", "n_characters", "alphabets"),
    [
        ("small1", 136, ["Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"]),
        ("small2", 156, ["Greek", "Japanese_(katakana)", "Latin", "Sanskrit", "Tagalog"]),
    ],
)
def test_contents(subset, n_characters, alphabets, request):
    bunch = request.getfixturevalue(subset)
    n = 20 * n_characters
    assert bunch.images.shape == (n, 28, 28)
    assert bunch.data.shape == (n, 784)
    assert np.shares_memory(bunch.data, bunch.images)
    assert bunch.images.dtype == np.float32
    assert bunch.images.min() == 0
    assert bunch.images.max() == 1
    assert bunch.images.mean() < 0.2  # mostly paper, which is 0
    assert len(bunch.target_names) == n_characters
    np.testing.assert_array_equal(bunch.target, np.repeat(np.arange(n_characters), 20))
    np.testing.assert_array_equal(bunch.drawer, np.tile(np.arange(1, 21), n_characters))
    assert np.unique(bunch.alphabet).tolist() == alphabets
    for i in (0, n // 2, n - 1):
        name = f"{bunch.alphabet[i]}/{bunch.character[i]}"
        assert bunch.target_names[bunch.target[i]] == name
    assert "Lake" in bunch.DESCR


def test_greek_and_latin_are_the_same_in_both_and_106_characters_are_only_in_small2(small1, small2):
    novel = ~np.isin(small2.alphabet, small1.alphabet)
    assert len(np.unique(small2.target[novel])) == 106
    shared = np.isin(small1.alphabet, ["Greek", "Latin"])
    np.testing.assert_array_equal(small1.images[shared], small2.images[~novel])
    names = set(small1.target_names) & set(small2.target_names)
    assert len(names) == 50
    assert names == set(small2.target_names[small2.target[~novel]])


def test_image_size_is_the_mean_ink_of_the_area(shared_data, small1):
    options = {"data_home": shared_data, "download_if_missing": False, "return_X_y": True}
    full, y = fetch_omniglot("small1", image_size=105, **options)
    assert full.shape == (2720, 105, 105)
    assert set(np.unique(full)) == {0, 1}
    np.testing.assert_array_equal(y, small1.target)
    by_fives, _ = fetch_omniglot("small1", image_size=21, **options)
    mean_ink = full.reshape(-1, 21, 5, 21, 5).mean(axis=(2, 4))
    np.testing.assert_allclose(by_fives, mean_ink, atol=0.003)  # 8 bits: half of 1 / 255


def test_nothing_is_written_beside_a_local_archive(shared_data, tmp_path):
    (tmp_path / ARCHIVE).write_bytes((shared_data / "omniglot" / ARCHIVE).read_bytes())
    X, y = fetch_omniglot(data_home=tmp_path, download_if_missing=False, return_X_y=True)
    assert len(X) == len(y) == 2720
    assert [path.name for path in tmp_path.rglob("*")] == [ARCHIVE]


def test_download_after_a_failed_one(shared_data, server, monkeypatch, tmp_path):
    published = (shared_data / "omniglot" / ARCHIVE).read_bytes()
    monkeypatch.setattr(_omniglot, "REPOSITORY", server.url)
    for forged in (published[:-1000], published + b"\0", published[:5000] * 2):
        server.files[f"/{ARCHIVE}"] = forged
        with pytest.raises(OSError, match="is not the published images_background_small1"):
            fetch_omniglot("small1", data_home=tmp_path)
        assert list(tmp_path.iterdir()) == []
    server.files[f"/{ARCHIVE}"] = published
    X, _ = fetch_omniglot("small1", data_home=tmp_path, return_X_y=True)
    assert len(X) == 2720
    assert [path.name for path in tmp_path.rglob("*.*")] == [ARCHIVE]


@pytest.mark.parametrize("subset", ["small1", "small2", "background", "evaluation"])
def test_forged_archive_is_refused(subset, server, monkeypatch, make_zip, tmp_path):
    filename = _omniglot.SUBSETS[subset][0]
    monkeypatch.setattr(_omniglot, "REPOSITORY", server.url)
    server.files[f"/{filename}"] = make_zip(("../../escaped.png", b""))
    with pytest.raises(OSError, match=f"is not the published {filename}"):
        fetch_omniglot(subset, data_home=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_archive_of_another_size_is_refused(monkeypatch, make_zip, tmp_path):
    small = make_zip(*((f"set/Greek/character01/0001_{i:02}.png", b"") for i in range(1, 20)))
    _publish(monkeypatch, tmp_path, small)
    with pytest.raises(OSError, match="holds 19 drawings of 1 characters, expected 20 of each of"):
        fetch_omniglot("small1", data_home=tmp_path)


def test_path_traversing_archive_is_refused(monkeypatch, make_zip, tmp_path):
    _publish(monkeypatch, tmp_path, make_zip(("set/../../Greek/character01/0001_01.png", b"")))
    with pytest.raises(OSError, match="outside its folder"):
        fetch_omniglot("small1", data_home=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [ARCHIVE]


def _publish(monkeypatch, folder, data):
    """Take this for the published archive, and put it there."""
    checksum = f"sha256:{hashlib.sha256(data).hexdigest()}"
    monkeypatch.setitem(_omniglot.SUBSETS, "small1", (ARCHIVE, checksum, 136))
    (folder / ARCHIVE).write_bytes(data)


@pytest.fixture
def publish_runs(monkeypatch, make_zip, tmp_path):
    """A function that makes an archive built like the official runs the published one."""

    def publish(prefix="", without=""):
        files = {}
        for run in range(1, 21):
            answers = np.random.default_rng(run).permutation(20) + 1
            for i in range(1, 21):
                files[f"run{run:02}/training/class{i:02}.png"] = _drawing(run, i)
                files[f"run{run:02}/test/item{i:02}.png"] = _drawing(run, answers[i - 1])
            files[f"run{run:02}/class_labels.txt"] = "".join(
                f"run{run:02}/test/item{i:02}.png run{run:02}/training/class{answer:02}.png\n"
                for i, answer in enumerate(answers, 1)
            )
        files.pop(without, None)
        data = make_zip(*((prefix + name, content) for name, content in files.items()))
        checksum = f"md5:{hashlib.md5(data).hexdigest()}"
        monkeypatch.setattr(_omniglot_one_shot, "ONE_SHOT", ("all_runs.zip", checksum))
        (tmp_path / "all_runs.zip").write_bytes(data)
        return tmp_path

    return publish


def _drawing(run, character):
    """A 105 x 105 PNG of one bit with one inked square, elsewhere for every character."""
    pixels = np.full((105, 105), 255, dtype=np.uint8)
    pixels[5 * run : 5 * run + 5, 5 * character - 5 : 5 * character] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).convert("1").save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("prefix", ["", "all_runs/"])
def test_one_shot(publish_runs, prefix):
    runs = fetch_omniglot_one_shot(
        image_size=21, data_home=publish_runs(prefix), download_if_missing=False
    )
    assert runs.support.shape == runs.query.shape == (20, 20, 21, 21)
    assert runs.support.dtype == runs.query.dtype == np.float32
    assert runs.support[3, 5, 4, 5] == 1  # run 4, character 6
    assert runs.support[3, 5].sum() == 1
    for run in range(20):
        assert sorted(runs.query_target[run]) == runs.support_target[run].tolist()
        # a query is the drawing of the character that the labels say
        np.testing.assert_array_equal(runs.query[run], runs.support[run][runs.query_target[run]])


@pytest.mark.parametrize(
    "without", ["run07/training/class03.png", "run20/test/item20.png", "run11/class_labels.txt"]
)
def test_one_shot_lacking_a_file_is_refused(publish_runs, without):
    with pytest.raises(OSError, match=f"lacks a part of the official runs: '{without}'"):
        fetch_omniglot_one_shot(data_home=publish_runs(without=without))


def test_one_shot_forged_archive_is_refused(tmp_path, make_zip):
    (tmp_path / "all_runs.zip").write_bytes(make_zip(("run01/class_labels.txt", "")))
    with pytest.raises(
        OSError, match=r"MD5 checksum is .* expected e8996daecdf12afeeb4a53a179f06b"
    ):
        fetch_omniglot_one_shot(data_home=tmp_path, download_if_missing=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subset": "small3"}, "'subset' parameter of fetch_omniglot .* Got 'small3'"),
        ({"image_size": 106}, "'image_size' .* Got 106"),
        ({"image_size": 0}, "'image_size' .* Got 0"),
        ({"data_home": 3}, "'data_home' .* Got 3"),
    ],
)
def test_bad_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        fetch_omniglot(**arguments)


@pytest.mark.parametrize("fetch", [fetch_omniglot, fetch_omniglot_one_shot])
def test_without_pillow(fetch, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=rf"{fetch.__name__} needs Pillow .*sk-fewshot\[images\]"):
        fetch(data_home=tmp_path)
