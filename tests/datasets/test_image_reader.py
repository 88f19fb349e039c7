"""File names become the tensor that torchvision's transforms would give, or a named error."""

import io
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, clone

pytest.importorskip("PIL", reason="Pillow, of the extra 'images', is not installed")
from PIL import Image, ImageFilter, ImageOps

from sk_fewshot.datasets import ImageReader, _image_decode, load_image_folder

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def noise(width, height, mode="RGB"):
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def photograph(width, height):
    """Something smooth, as JPEG wants it."""
    return noise(width, height).filter(ImageFilter.GaussianBlur(8)).point(lambda v: 5 * v - 512)


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def torchvision_transform(image, size, share=1.0, filter=Image.Resampling.BILINEAR):
    """Resize(size / share), CenterCrop(size) and ToTensor, as torchvision documents them."""
    short_side, (width, height) = int(size / share), image.size
    if width <= height:
        resized = short_side, int(short_side * height / width)
    else:
        resized = int(short_side * width / height), short_side
    image = image.resize(resized, filter)
    left, upper = (round((side - size) / 2.0) for side in resized)
    image = image.crop((left, upper, left + size, upper + size))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)


def flat(value, shape=(4, 6)):
    return Image.fromarray(np.full(shape, value))


@settings(max_examples=50)
@given(
    width=st.integers(1, 120),
    height=st.integers(1, 120),
    size=st.integers(1, 50),
    share=st.sampled_from([1.0, 0.95, 0.875]),
    interpolation=st.sampled_from(["bilinear", "bicubic", "lanczos"]),
    format=st.sampled_from(["PNG", "JPEG"]),
)
def test_values_are_those_of_torchvision(width, height, size, share, interpolation, format):
    content = encoded(noise(width, height), format)
    reader = ImageReader(size, crop=share, interpolation=interpolation, draft=False)
    filter = Image.Resampling[interpolation.upper()]
    expected = torchvision_transform(Image.open(io.BytesIO(content)), size, share, filter)
    torch.testing.assert_close(reader([content])[0], expected, rtol=0, atol=0)


def test_normalisation():
    content = encoded(noise(50, 40))
    mean, std = (torch.tensor(IMAGENET[name])[:, None, None] for name in ("mean", "std"))
    plain, normalised = ImageReader(20)([content]), ImageReader(20, **IMAGENET)([content])
    torch.testing.assert_close(normalised, (plain - mean) / std, rtol=0, atol=0)
    half = ImageReader(20, "grayscale", mean=0.5, std=[0.25])([encoded(flat(np.uint8(255)))])
    torch.testing.assert_close(half, torch.full((1, 1, 20, 20), 2.0))


def test_crop_to_another_aspect_ratio():
    columns = np.repeat(np.arange(0, 200, 2, dtype=np.uint8)[None], 60, axis=0)  # (60, 100)
    content = encoded(Image.fromarray(columns))
    X = ImageReader((60, 20), "grayscale")([content])  # the middle 20 columns as they are
    np.testing.assert_allclose(X[0, 0] * 255, columns[:, 40:60], atol=1e-4)
    X = ImageReader((20, 100), "grayscale")([content])
    np.testing.assert_allclose(X[0, 0] * 255, columns[20:40], atol=1e-4)


def test_squashed_as_a_folder_is_by_default(tmp_path):
    (tmp_path / "a").mkdir()
    noise(50, 40).save(tmp_path / "a" / "1.png")
    noise(50, 40).save(tmp_path / "a" / "2.jpg")
    for color_mode, crop in (("rgb", None), ("grayscale", None), ("rgb", 0.9)):
        reader = ImageReader((7, 9), color_mode, crop=crop)
        bunch = load_image_folder(tmp_path, image_size=(7, 9), color_mode=color_mode, crop=crop)
        X = reader(bunch.filenames)
        np.testing.assert_array_equal(X.reshape(len(X), -1), bunch.data)
    expected = noise(50, 40).resize((9, 7), Image.Resampling.BILINEAR)
    X = ImageReader((7, 9), crop=None)([tmp_path / "a" / "1.png"])
    np.testing.assert_allclose(X[0].permute(1, 2, 0) * 255, np.asarray(expected), atol=1e-4)


@pytest.mark.parametrize("color_mode", ["rgb", "grayscale"])
@pytest.mark.parametrize("crop", [None, 1.0, 0.875])
def test_draft_is_close(color_mode, crop):
    content = encoded(photograph(501, 374), "JPEG", quality=95)
    draft, whole = (
        ImageReader(40, color_mode, crop=crop, draft=draft)([content]) for draft in (True, False)
    )
    assert not torch.equal(draft, whole)
    assert (draft - whole).abs().mean() < 0.01


@pytest.mark.parametrize("draft", [True, False])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright(orientation, format, draft):
    image = photograph(300, 200)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if format == "WEBP" else {}
    content = encoded(image, format, exif=exif, **lossless)
    reader = ImageReader((30, 50), crop=0.9, draft=draft)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    expected = ImageReader((30, 50), crop=0.9)([encoded(upright)])
    assert (reader([content]) - expected).abs().mean() < 0.01
    assert upright.size == ((300, 200) if orientation < 5 else (200, 300))


COLOURS = [  # mode, colour, what it is in red, green and blue
    ("1", 1, (255, 255, 255)),
    ("L", 51, (51, 51, 51)),
    ("LA", (51, 255), (51, 51, 51)),
    ("LA", (51, 0), (255, 255, 255)),
    ("LA", (0, 102), (153, 153, 153)),
    ("RGB", (255, 102, 0), (255, 102, 0)),
    ("RGBA", (255, 102, 0, 255), (255, 102, 0)),
    ("RGBA", (255, 102, 0, 0), (255, 255, 255)),
    ("RGBA", (255, 0, 0, 51), (255, 204, 204)),
    ("RGBX", (255, 102, 0, 0), (255, 102, 0)),
    ("CMYK", (0, 153, 255, 0), (255, 102, 0)),
    ("YCbCr", (51, 128, 128), (51, 51, 51)),
    ("LAB", (255, 128, 128), (255, 255, 255)),
    ("I;16", 13107, (51, 51, 51)),
]


@pytest.mark.parametrize("resized", [(4, 6), 4, 9])
@pytest.mark.parametrize(("mode", "colour", "rgb"), COLOURS)
def test_modes(mode, colour, rgb, resized):
    sources = [Image.new(mode, (6, 4), colour), encoded(Image.new(mode, (6, 4), colour), "TIFF")]
    if mode == "RGBA":
        sources += [encoded(sources[0]), encoded(sources[0], "WEBP", lossless=True)]
    if mode == "CMYK":
        sources += [encoded(sources[0], "JPEG")]
    X = ImageReader(resized)(sources)
    expected = torch.tensor(rgb)[:, None, None].expand_as(X[0]) / 255
    for x in X:
        torch.testing.assert_close(x, expected, rtol=0, atol=2.5 / 255)
    gray = ImageReader(resized, "grayscale")(sources)
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close(gray, (X * weights).sum(1, keepdim=True), rtol=0, atol=2.5 / 255)


@pytest.mark.parametrize("format", ["PNG", "GIF", "TIFF"])
def test_palette(format):
    image = Image.fromarray(np.array([[0, 1], [2, 2]], dtype=np.uint8), "L")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    content = encoded(image, format)
    expected = [[[1, 0], [0, 0]], [[0, 1], [0, 0]], [[0, 0], [1, 1]]]
    torch.testing.assert_close(ImageReader(2)([content])[0], torch.tensor(expected).float())


def test_palette_with_transparency():
    image = Image.fromarray(np.array([[0, 1], [2, 2]], dtype=np.uint8), "L")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    content = encoded(image, transparency=bytes([255, 0, 255]))
    expected = [[[1, 1], [0, 0]], [[0, 1], [0, 0]], [[0, 1], [1, 1]]]
    torch.testing.assert_close(ImageReader(2)([content])[0], torch.tensor(expected).float())


def test_transparent_colour():
    content = encoded(noise(2, 1), transparency=noise(2, 1).getpixel((0, 0)))
    X = ImageReader((1, 2))([content])[0]
    torch.testing.assert_close(X[:, 0, 0], torch.ones(3))
    torch.testing.assert_close(X[:, 0, 1] * 255, torch.tensor(noise(2, 1).getpixel((1, 0))).float())


def test_what_is_transparent_does_not_colour_its_edges():
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)  # black, transparent
    pixels[:, 4:] = 255  # white, opaque
    assert ImageReader(2)([encoded(Image.fromarray(pixels))]).min() > 0.99


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits(format):
    pixels = np.array([[0, 1, 257], [1000, 32_768, 65_535]], dtype=np.uint16)
    X = ImageReader((2, 3), "grayscale")([encoded(Image.fromarray(pixels), format)])
    np.testing.assert_allclose(X[0, 0], pixels / 65_535, rtol=1e-6)
    squashed = ImageReader((1, 3), crop=None)([encoded(Image.fromarray(pixels), format)])
    np.testing.assert_allclose(squashed[0], np.tile(pixels.mean(0) / 65_535, (3, 1, 1)), rtol=1e-5)


def test_sixteen_bits_of_other_ranges():
    graymap = b"P5 2 1 1000\n" + np.array([0, 1000], dtype=">u2").tobytes()
    np.testing.assert_allclose(ImageReader((1, 2), "grayscale")([graymap]).ravel(), [0, 1])
    pixels = Image.fromarray(np.array([[0, 65_535, 1000]], dtype=np.uint16))
    inverted = encoded(pixels, "TIFF", tiffinfo={262: 0})
    values = ImageReader((1, 3), "grayscale")([inverted]).ravel()
    np.testing.assert_allclose(values, [1, 0, 1 - 1000 / 65_535], rtol=1e-5)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_without_a_range_are_refused(mode):
    image = Image.new(mode, (6, 4))
    for source in (image, encoded(image, "TIFF")):
        with pytest.raises(ValueError, match=rf"images\[0\] .*mode '{mode}' has no fixed range"):
            ImageReader(4)([source])


def test_whatever_holds_an_image(tmp_path):
    path = tmp_path / "new.png"
    noise(30, 20).save(path)
    content = path.read_bytes()
    image = noise(30, 20)
    sources = [path, str(path), np.str_(path), content, bytearray(content), memoryview(content)]
    with path.open("rb") as file:
        X = ImageReader(16)([*sources, file, io.BytesIO(content), image])
    assert X.shape == (9, 3, 16, 16)
    assert X.dtype == torch.float32
    assert torch.equal(X, X[:1].expand_as(X))
    assert image == noise(30, 20)


@pytest.mark.parametrize("container", [list, tuple, np.array, pd.Series, iter])
def test_containers(container, tmp_path):
    noise(30, 20).save(tmp_path / "1.png")
    names = container([str(tmp_path / "1.png")] * 2)
    assert ImageReader(4)(names).shape == (2, 3, 4, 4)


def test_no_images():
    assert ImageReader((4, 5), "grayscale")([]).shape == (0, 1, 4, 5)


def test_a_line_becomes_a_square_without_becoming_huge():
    pixels = np.linspace(0, 255, 60_000).astype(np.uint8)[None]
    for image in (pixels, pixels.T):
        X = ImageReader(224, "grayscale")([Image.fromarray(image)])
        np.testing.assert_allclose(X, 0.5, atol=0.01)  # the middle


def test_animations_give_their_first_frame():
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if format == "WEBP" else {}
        content = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
        torch.testing.assert_close(ImageReader(1)([content]).ravel(), torch.tensor([1.0, 0, 0]))


@pytest.mark.parametrize("single", ["new.jpg", Path("new.jpg"), b"new", Image.new("L", (2, 2)), 3])
def test_a_single_image_is_refused(single):
    with pytest.raises(TypeError, match=r"reads a list of images, got .* give a list of one"):
        ImageReader(4)(single)


@pytest.mark.parametrize("bad", [None, 3.5, ["1.png"], np.zeros((4, 4)), io.StringIO("text")])
def test_what_holds_no_image_is_refused(bad):
    with pytest.raises(TypeError, match=r"images\[1\]: an image must be a file name"):
        ImageReader(4)([noise(4, 4), bad])


def test_unreadable_files_are_named(tmp_path):
    good = tmp_path / "good.png"
    noise(30, 20).save(good)
    contents = {
        "cut.png": good.read_bytes()[:200],
        "empty.jpg": b"",
        "text.jpg": b"not an image",
        "half.jpg": encoded(noise(200, 200), "JPEG")[:5000],
        "nul\x01.gif": b"GIF89a",
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(f"{str(path)!r} cannot be read")):
            ImageReader(4)([good, path])
    with pytest.raises(ValueError, match=r"images\[2\] cannot be read as an image"):
        ImageReader(4)([good, good, b"not an image"])
    with pytest.raises(ValueError, match=r"images\[0\] cannot be read .* 600 pixels, .*=599"):
        ImageReader(4, max_pixels=599)([noise(30, 20)])


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        ImageReader(4)([tmp_path / "nowhere.png"])
    with pytest.raises(ValueError, match="cannot be read as an image: a folder, not a regular"):
        ImageReader(4)([tmp_path])
    with pytest.raises(ValueError, match="'/dev/zero' cannot be read as an image: a device"):
        ImageReader(4)(["/dev/zero"])
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe\.png' cannot be read as an image: a named pipe"):
        ImageReader(4)([tmp_path / "pipe.png"])
    with pytest.raises(ValueError, match=r"cannot be read as an image: embedded null"):
        ImageReader(4)(["nul\0.png"])


@pytest.mark.parametrize(
    "params",
    [
        {"image_size": 0},
        {"image_size": (3, 0)},
        {"image_size": "28"},
        {"color_mode": "gray"},
        {"crop": 0},
        {"crop": 1.5},
        {"mean": (0.5, 0.5)},
        {"mean": "imagenet"},
        {"mean": float("nan")},
        {"std": 0},
        {"std": (0.2, 0.2, -1)},
        {"std": [[1, 1, 1]]},
        {"interpolation": "nearest"},
        {"draft": "yes"},
        {"max_pixels": 0},
    ],
)
def test_bad_parameters(params):
    (name,) = params
    with pytest.raises(ValueError, match=f"The '{name}' parameter of ImageReader must be"):
        ImageReader(**params)([])


class Encoder(BaseEstimator):
    def __init__(self, reader=None):
        self.reader = reader


def test_parameters_are_those_of_an_estimator():
    reader = ImageReader((20, 30), crop=0.9, **IMAGENET)
    encoder = clone(Encoder(reader))
    assert encoder.reader is not reader
    assert encoder.reader.get_params() == reader.get_params()
    encoder.set_params(reader__image_size=12, reader__color_mode="grayscale", reader__mean=None)
    encoder.set_params(reader__std=1)
    assert encoder.reader([noise(30, 20)]).shape == (1, 1, 12, 12)


def test_threads_and_copies_read_the_same(tmp_path):
    names = [str(tmp_path / f"{i}.jpg") for i in range(8)]
    for i, name in enumerate(names):
        photograph(200 + i, 150).save(name)
    reader = ImageReader(32, **IMAGENET)
    expected = reader(names)
    with ThreadPoolExecutor(4) as threads:
        for X in threads.map(lambda _: reader(names), range(8)):
            assert torch.equal(X, expected)
    assert torch.equal(pickle.loads(pickle.dumps(reader))(names), expected)


def test_the_default_device_and_type_of_torch_do_not_matter():
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            X = ImageReader(4, mean=0.5)([noise(4, 4)])
    finally:
        torch.set_default_dtype(torch.float32)
    assert X.device.type == "cpu"
    assert X.dtype == torch.float32


class Compose:
    """A transform as of torchvision and timm: from a Pillow image to a tensor (C, H, W)."""

    def __call__(self, image):
        return torchvision_transform(image, 24)


def test_any_transform_is_a_reader_in_one_line(tmp_path):
    code = re.search(r"in one line::\n\n((?: {8}.*\n)+)", ImageReader.__doc__)[1]
    names = {"torch": torch, "Image": Image, "transform": Compose()}
    exec("if True:\n" + code, names)
    paths = [str(tmp_path / "1.png"), str(tmp_path / "2.png")]
    for path in paths:
        noise(50, 40).save(path)
    assert torch.equal(names["reader"](paths), ImageReader(24)(paths))


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_plugins(format):
    if format not in _image_decode.formats():
        pytest.skip(f"Pillow does not read {format} here")
    content = encoded(photograph(60, 40), format, quality=90)
    expected = ImageReader(20)([encoded(photograph(60, 40))])
    assert (ImageReader(20)([content]) - expected).abs().mean() < 0.02


def test_missing_plugins_are_named():
    code = f"""
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name.startswith("pillow_") else found(name)
specification = importlib.util.spec_from_file_location("decode", {_image_decode.__file__!r})
decode = importlib.util.module_from_spec(specification)
specification.loader.exec_module(decode)
try:
    decode.decode(b"    ftypheic" + bytes(100), 100)
except ValueError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "a HEIC image" in run.stdout
    assert "pip install 'sk-fewshot[heic]'" in run.stdout
