"""A folder of people's own images becomes arrays, or an error that names the files."""

import io
import os
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("PIL", reason="Pillow, of the extra 'images', is not installed")
from PIL import Image

from sk_fewshot.datasets import ImageReader, list_images, load_image_folder


def save(path, pixels, mode="L", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).convert(mode).save(path, **options)


def flat(value, shape=(4, 6)):
    return np.full(shape, value)


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "b" / "2.png", flat(51))
    save(tmp_path / "b" / "10.JPG", flat(102), "RGB")
    save(tmp_path / "a" / "1.png", flat(255))
    return tmp_path


def test_classes_are_the_folders(folder):
    bunch = load_image_folder(folder, image_size=(2, 3))
    assert bunch.images.shape == (3, 2, 3)
    assert bunch.images.dtype == np.float32
    assert bunch.data.shape == (3, 6)
    assert bunch.target_names.tolist() == ["a", "b"]
    assert bunch.target.tolist() == [0, 1, 1]
    assert bunch.filenames.tolist() == [str(folder / f) for f in ("a/1.png", "b/10.JPG", "b/2.png")]
    np.testing.assert_allclose(bunch.images[:, 0, 0], [1, 0.4, 0.2], atol=0.01)


def test_nested_classes(tmp_path):
    for name in ("Greek/character01", "Greek/character02", "Latin/character01"):
        save(tmp_path / name / "1.png", flat(0))
    bunch = load_image_folder(str(tmp_path), image_size=2)
    assert bunch.target_names.tolist() == [
        "Greek/character01",
        "Greek/character02",
        "Latin/character01",
    ]
    assert bunch.target.tolist() == [0, 1, 2]


def test_pixels_are_those_of_the_file(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3))
    save(tmp_path / "a" / "1.png", pixels, "RGB")
    rgb = load_image_folder(tmp_path, image_size=(5, 7), color_mode="rgb").images
    assert rgb.shape == (1, 3, 5, 7)
    np.testing.assert_allclose(rgb[0].transpose(1, 2, 0), pixels / 255, rtol=1e-6)
    gray = load_image_folder(tmp_path, image_size=(5, 7)).images
    np.testing.assert_allclose(gray[0], pixels @ [0.299, 0.587, 0.114] / 255, atol=0.004)


def test_shrinking_averages(tmp_path):
    checkerboard = np.indices((60, 60)).sum(axis=0) % 2 * 255
    save(tmp_path / "a" / "1.png", checkerboard)
    images = load_image_folder(tmp_path, image_size=4).images
    np.testing.assert_allclose(images, 0.5, atol=0.05)


def test_upright_by_exif(tmp_path):
    pixels = np.zeros((4, 6))
    pixels[:, :3] = 255  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: the left side comes up
    save(tmp_path / "a" / "1.png", pixels, exif=exif)
    image = load_image_folder(tmp_path, image_size=(6, 4)).images[0]
    assert image[:3].min() == 1
    assert image[3:].max() == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_is_white(tmp_path, mode):
    image = Image.new(mode, (4, 4))  # black, transparent
    image.putpixel((0, 0), (0,) * (len(mode) - 1) + (255,))
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "1.png")
    loaded = load_image_folder(tmp_path, image_size=4).images[0]
    assert loaded[0, 0] == 0
    assert loaded.sum() == 15


@pytest.mark.parametrize("name", ["1.png", "1.tiff"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_sixteen_bits_are_read_in_full(tmp_path, name, byte_order):
    pixels = np.array([[0, 1, 257], [1000, 32_768, 65_535]], dtype=f"{byte_order}u2")
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / name)
    image = load_image_folder(tmp_path, image_size=(2, 3)).images[0]
    np.testing.assert_allclose(image, pixels / 65_535, rtol=1e-6)


def test_other_and_hidden_files_are_skipped(folder):
    (folder / "README.txt").write_text("not an image")
    (folder / "a" / "notes.txt").write_text("not an image")
    (folder / "a" / ".hidden.png").write_text("not an image")
    (folder / ".thumbnails").mkdir()
    assert len(load_image_folder(folder, image_size=2).images) == 3


def test_unreadable_files_are_all_named(folder):
    (folder / "a" / "empty.png").write_bytes(b"")
    (folder / "b" / "text.jpg").write_text("not an image")
    whole = (folder / "b" / "2.png").read_bytes()
    (folder / "b" / "cut.png").write_bytes(whole[:45])
    Image.new("F", (4, 4)).save(folder / "b" / "float.tiff")
    with pytest.raises(ValueError, match="4 images cannot be read") as error:
        load_image_folder(folder, image_size=2)
    for name in ("a/empty.png", "b/text.jpg", "b/cut.png", "b/float.tiff"):
        assert str(folder / name) in str(error.value)
    assert "mode 'F' has no fixed range of values" in str(error.value)
    assert "1.png" not in str(error.value)


def test_many_unreadable_files_are_counted(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(25):
        (tmp_path / "a" / f"{i}.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"25 images cannot be read: .*, and 15 more\.$"):
        load_image_folder(tmp_path, image_size=2)


def test_empty_class_folders_are_named(folder):
    (folder / "c").mkdir()
    (folder / "d" / "e").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"Folders without images: .*/c, .*/d/e\.$"):
        load_image_folder(folder, image_size=2)


def test_no_classes(tmp_path):
    with pytest.raises(ValueError, match="has no class folders"):
        load_image_folder(tmp_path, image_size=2)


def test_images_outside_class_folders_are_named(folder):
    save(folder / "stray.png", flat(0))
    with pytest.raises(ValueError, match=r"Images lie in no class folder: .*stray\.png"):
        load_image_folder(folder, image_size=2)


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_image_folder(tmp_path / "nowhere", image_size=2)


def test_file_instead_of_folder(folder):
    with pytest.raises(NotADirectoryError, match=r"1\.png"):
        load_image_folder(folder / "a" / "1.png", image_size=2)


@pytest.mark.parametrize("image_size", [0, (3,), (3, 0), (3, 2.5), "28", 2.5])
def test_bad_image_size(folder, image_size):
    with pytest.raises(ValueError, match="'image_size' parameter of load_image_folder must be"):
        load_image_folder(folder, image_size=image_size)


def test_bad_color_mode(folder):
    with pytest.raises(ValueError, match=r"'color_mode' parameter of load_image_folder .*'gray'"):
        load_image_folder(folder, image_size=2, color_mode="gray")


def test_listing_opens_no_file(folder):
    for path in folder.glob("*/*"):
        path.write_bytes(b"")
    paths, y, names = list_images(folder)
    assert paths.tolist() == [str(folder / file) for file in ("a/1.png", "b/10.JPG", "b/2.png")]
    assert paths.dtype.kind == "U"
    assert y.tolist() == [0, 1, 1]
    assert y.dtype == np.int64
    assert names.tolist() == ["a", "b"]


def test_listed_files_are_those_that_are_loaded(folder):
    paths, y, names = list_images(str(folder))
    bunch = load_image_folder(folder, image_size=4)
    assert bunch.filenames.tolist() == paths.tolist()
    assert bunch.target.tolist() == y.tolist()
    assert bunch.target_names.tolist() == names.tolist()
    X = ImageReader(4, "grayscale", crop=None)(paths)
    np.testing.assert_array_equal(X[:, 0], bunch.images)


@pytest.fixture
def damaged(folder):
    """Beside three good images: an empty file, half a JPEG, a pipe, and a class with text alone."""
    (folder / "a" / "empty.png").write_bytes(b"")
    save(folder / "a" / "half.jpg", np.random.default_rng(0).integers(0, 256, (90, 90)))
    content = (folder / "a" / "half.jpg").read_bytes()
    (folder / "a" / "half.jpg").write_bytes(content[: len(content) // 2])
    os.mkfifo(folder / "b" / "pipe.png")
    (folder / "c").mkdir()
    (folder / "c" / "text.gif").write_text("not an image")
    return folder


@pytest.mark.parametrize("load", [list_images, partial(load_image_folder, image_size=4)])
def test_unreadable_images_are_left_out(load, damaged):
    with pytest.warns(UserWarning, match="4 images cannot be read and are left out") as caught:
        result = load(damaged, on_error="skip")
    for name in ("a/empty.png", "a/half.jpg", "b/pipe.png (a named pipe", "c/text.gif"):
        assert str(damaged / name) in str(caught[0].message)
    assert "Nothing is left of these classes: c." in str(caught[0].message)
    if isinstance(result, tuple):
        paths, y, names = result
    else:
        paths, y, names = result.filenames, result.target, result.target_names
        np.testing.assert_allclose(result.images[:, 0, 0], [1, 0.4, 0.2], atol=0.01)
        assert result.data.shape == (3, 16)
    assert [os.path.basename(path) for path in paths] == ["1.png", "10.JPG", "2.png"]
    assert names[y].tolist() == ["a", "b", "b"]
    assert names.tolist() == ["a", "b"]


@pytest.mark.parametrize("load", [list_images, partial(load_image_folder, image_size=4)])
def test_nothing_can_be_read(load, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 images cannot be read: .*a/1\.png"):
        load(tmp_path, on_error="skip")


def test_all_that_is_left_can_be_read(damaged):
    with pytest.warns(UserWarning, match="left out"):
        paths, *_ = list_images(damaged, on_error="skip", max_pixels=24)
    assert len(ImageReader(4, max_pixels=24)(paths)) == 3


def test_too_many_pixels_count_as_unreadable(folder):
    save(folder / "b" / "large.png", flat(0, (5, 5)))
    with pytest.warns(UserWarning, match=r"large\.png \(5 x 5 is 25 pixels"):
        paths, *_ = list_images(folder, on_error="skip", max_pixels=24)
    assert len(paths) == 3


def test_special_files_are_refused_when_they_are_listed(folder):
    os.mkfifo(folder / "a" / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe\.png \(a named pipe, not a regular file\)"):
        list_images(folder)


@pytest.mark.parametrize("suffix", ["avif", "heic", "HEIF", "hif", "webp", "tif", "jpeg"])
def test_formats_that_need_plugins_are_listed_all_the_same(suffix, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / f"1.{suffix}").write_bytes(b"")
    assert list_images(tmp_path)[0].tolist() == [str(tmp_path / "a" / f"1.{suffix}")]


def test_crop_keeps_the_aspect_ratio(tmp_path):
    pixels = np.zeros((10, 30))
    pixels[:, 10:20] = 255
    save(tmp_path / "a" / "1.png", pixels)
    assert load_image_folder(tmp_path, image_size=10, crop=1.0).images.min() == 1
    assert load_image_folder(tmp_path, image_size=10).images.min() == 0


@pytest.mark.parametrize(
    ("params", "named"),
    [({"on_error": "ignore"}, "on_error"), ({"follow_links": "no"}, "follow_links")],
)
def test_bad_parameters(params, named, folder):
    with pytest.raises(ValueError, match=f"The '{named}' parameter of list_images must be"):
        list_images(folder, **params)
    with pytest.raises(ValueError, match=f"The '{named}' parameter of load_image_folder must be"):
        load_image_folder(folder, image_size=4, **params)


def test_progress(folder, capsys):
    load_image_folder(folder, image_size=2)
    assert capsys.readouterr().err == ""
    load_image_folder(folder, image_size=2, verbose=True)
    assert "3/3" in capsys.readouterr().err


@pytest.fixture(scope="module")
def class_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged") / "a"
    folder.mkdir()
    return folder


@pytest.mark.filterwarnings("ignore")  # what Pillow says of the damage
@settings(max_examples=150)
@given(data=st.data(), suffix=st.sampled_from(["png", "jpg", "gif", "bmp", "tiff", "webp"]))
def test_damaged_image_is_read_or_named(data, suffix, class_folder):
    file = io.BytesIO()
    Image.new("RGB", (9, 8), "red").save(file, Image.registered_extensions()[f".{suffix}"])
    damaged = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    for old in class_folder.iterdir():
        old.unlink()
    path = class_folder / f"1.{suffix}"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    try:
        bunch = load_image_folder(class_folder.parent, image_size=4)
    except ValueError as error:
        message = str(error)
    else:
        message = str(path)
        assert np.all((bunch.images >= 0) & (bunch.images <= 1))
    assert str(path) in message
