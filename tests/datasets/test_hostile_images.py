"""Folders and images made to exhaust memory, to hang, or to lead elsewhere."""

import io
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="Pillow, of the extra 'images', is not installed")
from PIL import Image

from sk_fewshot.datasets import load_image_folder
from sk_fewshot.datasets._image_file import read_file

AVIF = ".avif" in Image.registered_extensions()


def encoded(format, size=(6, 4), mode="RGB", **options):
    file = io.BytesIO()
    Image.new(mode, size, "white").save(file, format, **options)
    return file.getvalue()


def patched(content, marker, offset, replacement):
    """The content with some bytes replaced, counted from a marker."""
    start = content.index(marker) + offset
    return content[:start] + replacement + content[start + len(replacement) :]


def png(width, height, *chunks, rows=b""):
    """A PNG image of one bit a pixel and a palette of two blacks, the first transparent."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0)
    parts = [(b"IHDR", header), (b"PLTE", bytes(6)), (b"tRNS", b"\0"), *chunks, (b"IDAT", rows)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in [*parts, (b"IEND", b"")])


def palette_png(side):
    row = bytes(1 + (side + 7) // 8)
    compressor = zlib.compressobj(9)
    compressed = [compressor.compress(row) for _ in range(side)]
    return png(side, side, rows=b"".join(compressed) + compressor.flush())


def tiff(width, height, content, tags=(), *, compression=5, n_strips=1):
    """A TIFF image of one grey channel of 8 bits, all strips in one place.

    Further tags are (number, type, values), with type "B" for text, "H" and "I" for numbers.
    """
    entries = {
        **{256: ("I", [width]), 257: ("I", [height]), 258: ("H", [8]), 259: ("H", [compression])},
        **{262: ("H", [1]), 277: ("H", [1])},
        **{number: (kind, values) for number, kind, values in tags},
    }
    offsets, sizes = (324, 325) if 322 in entries else (273, 279)
    entries |= {sizes: ("I", [len(content)] * n_strips), offsets: ("I", [0] * n_strips)}
    start = 8 + 2 + 12 * len(entries) + 4
    lengths = [struct.calcsize(kind) * len(values) for kind, values in entries.values()]
    end = start + sum(length for length in lengths if length > 4)
    entries[offsets] = ("I", [end] * n_strips)
    directory, extra = struct.pack("<H", len(entries)), b""
    for number, (kind, values) in sorted(entries.items()):
        data = struct.pack(f"<{len(values)}{kind}", *values)
        directory += struct.pack("<HHI", number, {"B": 2, "H": 3, "I": 4}[kind], len(values))
        directory += (
            data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", start + len(extra))
        )
        extra += data if len(data) > 4 else b""
    return b"II*\0\x08\0\0\0" + directory + bytes(4) + extra + content


def gif(screen=(6, 4), frame=(6, 4), extension=b""):
    content = encoded("GIF")
    start = content.index(b",\0\0\0\0")
    head = content[:6] + struct.pack("<HH", *screen) + content[10:start]
    return head + extension + b",\0\0\0\0" + struct.pack("<HH", *frame) + content[start + 9 :]


def animated_webp(width, height):
    """A canvas with one small frame."""

    def chunk(kind, data):
        return kind + struct.pack("<I", len(data)) + data

    def uint24(*numbers):
        return b"".join(number.to_bytes(3, "little") for number in numbers)

    frame = uint24(0, 0, 5, 3, 0) + b"\0" + encoded("WEBP", lossless=True)[12:]
    canvas = chunk(b"VP8X", b"\2\0\0\0" + uint24(width - 1, height - 1))
    return chunk(b"RIFF", b"WEBP" + canvas + chunk(b"ANIM", bytes(6)) + chunk(b"ANMF", frame))


def progressive_jpeg(n_more_scans, side=64):
    content = encoded("JPEG", (side, side), "L", progressive=True)
    last_scan = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last_scan * n_more_scans + content[-2:]


def bombs():
    """Small files that ask for much, and the part of the error that says so."""
    yield "palette.png", palette_png(13_000), "13000 x 13000 is 169000000 pixels"
    yield "lzw.tiff", tiff(13_000, 13_000, b"\x80\0\0"), "169000000 pixels"
    yield "fax.tiff", tiff(60_000, 60_000, b"\0\0", compression=4), "more pixels than max_pixels"
    tile = [(322, "I", [32_000]), (323, "I", [32_000])]
    yield "tile.tiff", tiff(16, 16, b"\x80\0\0", tile), "32000 x 32000 is 1024000000 pixels"
    zeros = zlib.compress(bytes(100_000), 9)
    yield "side.tiff", tiff(100_000, 1, zeros, compression=8), "side of more than 65535 pixels"
    rows = [(278, "I", [99])]
    strips = tiff(100, 100, bytes(10_000), rows, compression=1, n_strips=20_000)
    yield "strips.tiff", strips, "written in 10000 passes, more than 100"
    yield "scans.jpg", progressive_jpeg(1000), r"written in 10\d\d passes, more than 100"
    size = struct.pack(">HH", 65_500, 65_500)
    yield "size.jpg", patched(encoded("JPEG"), b"\xff\xc0", 5, size), "more pixels than max_pixels"
    yield "screen.gif", gif(screen=(65_535, 65_535)), "more pixels than max_pixels"
    yield "frame.gif", gif(frame=(65_535, 65_535)), "more pixels than max_pixels"
    to_background = b"!\xf9\x04\x08\0\0\0\0"
    yield "dispose.gif", gif(frame=(60_000, 60_000), extension=to_background), "more pixels than"
    size = struct.pack("<ii", 30_000, 30_000)
    yield "size.bmp", patched(encoded("BMP"), b"BM", 18, size), "more pixels than max_pixels"
    yield "size.ppm", b"P5 60000 60000 255\n", "more pixels than max_pixels"
    size = struct.pack("<I", 16_383 | 16_383 << 14)
    webp = encoded("WEBP", lossless=True)
    yield "size.webp", patched(webp, b"VP8L", 9, size), "more pixels than max_pixels"
    yield "canvas.webp", animated_webp(2**24, 200), "more pixels than max_pixels"
    profile = (b"iCCP", b"x\0\0" + zlib.compress(bytes(10**8), 1))
    yield "profile.png", png(6, 4, profile, rows=zlib.compress(bytes(8))), "too large|Too Large"
    text = zlib.compress(bytes(10**6), 9)
    texts = [(b"zTXt", b"%d\0\0" % i + text) for i in range(100)]
    yield "text.png", png(6, 4, *texts, rows=zlib.compress(bytes(8))), "Too much memory"
    if AVIF:
        size = struct.pack(">II", 12_000, 12_000)
        yield "size.avif", patched(encoded("AVIF"), b"ispe", 8, size), "144000000 pixels"


BOMBS = list(bombs())


@pytest.fixture
def save(tmp_path):
    """A function that writes a file into a class folder and returns the top folder."""

    def write(name, content):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / name).write_bytes(content)
        return tmp_path

    return write


@pytest.fixture
def peak():
    """A function that calls another and says by how many bytes the process grew meanwhile."""
    reset = Path("/proc/self/clear_refs")
    if not os.access(reset, os.W_OK):
        pytest.skip("the peak of the memory can be measured on Linux alone")

    def resident():
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

    def measure(function):
        reset.write_text("5")
        before = resident()
        function()
        return resident() - before

    return measure


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("name", "content", "reason"), BOMBS, ids=[name for name, *_ in BOMBS])
def test_bomb_is_refused_before_it_is_decoded(name, content, reason, save, peak):
    folder = save(name, content)

    def load():
        with pytest.raises(ValueError, match=f"{name} .*({reason})"):
            load_image_folder(folder, image_size=4)

    assert len(content) < 500_000
    assert peak(load) < 100 * 2**20


FORMATS = ["png", "jpg", "gif", "bmp", "ppm", "tiff", "webp"] + ["avif"] * AVIF


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_limit_is_a_parameter(suffix, save):
    folder = save(f"1.{suffix}", encoded(Image.registered_extensions()[f".{suffix}"], (30, 20)))
    assert load_image_folder(folder, image_size=4, max_pixels=600).images.shape == (1, 4, 4)
    with pytest.raises(ValueError, match=rf"1\.{suffix} \(30 x 20 is 600 pixels, .*max_pixels=599"):
        load_image_folder(folder, image_size=4, max_pixels=599)


@pytest.mark.parametrize("max_pixels", [0, -1, 2.5, "many", None])
def test_bad_limit(max_pixels, tmp_path):
    with pytest.raises(ValueError, match="'max_pixels' parameter of load_image_folder must be"):
        load_image_folder(tmp_path, image_size=4, max_pixels=max_pixels)


def test_large_images_within_the_limit_take_few_bytes_a_pixel(save, peak):
    side = 4000
    folder = save("1.png", palette_png(side))
    assert peak(lambda: load_image_folder(folder, image_size=4)) < 12 * side**2


@pytest.mark.parametrize("size", [(65_535, 1), (1, 65_535)])
def test_a_line_of_pixels(size, save, peak):
    folder = save("1.png", encoded("PNG", size))
    images = []
    load = lambda: images.append(load_image_folder(folder, image_size=64).images)  # noqa: E731
    assert peak(load) < 100 * 2**20
    np.testing.assert_allclose(images[0], 1)


def test_huge_file_is_refused_unread(save, peak):
    folder = save("1.webp", encoded("WEBP"))
    with (folder / "a" / "1.webp").open("r+b") as file:
        file.truncate(2**40)  # a hole that takes no place on the disk

    def load():
        with pytest.raises(ValueError, match=r"1\.webp \(1099511627776 bytes, more than the \d+"):
            load_image_folder(folder, image_size=4)

    assert peak(load) < 2**25


def test_a_hundred_scans_are_read(save):
    content = progressive_jpeg(50) + b"\xff\xda" * 1000  # after the image: not its scans
    assert load_image_folder(save("1.jpg", content), image_size=4).images.min() == 1


ASCII, SHORT, RATIONAL, FLOAT = 2, 3, 5, 11
TURNED = (0x0112, SHORT, 1, b"\6\0")


def half_black(format, exif):
    """The left half is black; turned by orientation 6 it is the upper half."""
    pixels = np.full((6, 6), 255, np.uint8)
    pixels[:, :3] = 0
    file = io.BytesIO()
    options = {"quality": 100, "lossless": True} if format == "WEBP" else {}
    Image.fromarray(pixels).convert("RGB").save(file, format, exif=exif, **options)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore")  # what Pillow says of the damage
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("data", "is_turned"),
    [
        pytest.param([TURNED], True, id="turned"),
        pytest.param([TURNED, (0x013F, ASCII, 4, b"abc\0")], True, id="text"),
        pytest.param([TURNED, (0x011A, ASCII, 4, b"abc\0")], True, id="dpi"),
        pytest.param([TURNED, (0x8769, ASCII, 4, b"abc\0")], True, id="ifd"),
        pytest.param([TURNED, (0x010F, 99, 9, b"abc\0")], True, id="kind"),
        pytest.param([(0x0112, ASCII, 2, b"6\0")], False, id="text for the orientation"),
        pytest.param([(0x0112, SHORT, 1, b"\x09\0")], False, id="orientation 9"),
        pytest.param([(0x0112, SHORT, 1, b"\0\0")], False, id="orientation 0"),
        pytest.param([(0x0112, RATIONAL, 1, b"\xff\xff\xff\xff")], False, id="beyond the end"),
        pytest.param([(0x0112, FLOAT, 1, b"\0\0\xc0\x7f")], False, id="nan"),
    ],
)
def test_exif_of_the_wrong_type(format, data, is_turned, save):
    entries = b"".join(struct.pack("<HHI4s", *entry) for entry in data)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(data)) + entries + bytes(4)
    folder = save(f"1.{format.lower()}", half_black(format, exif))
    image = load_image_folder(folder, image_size=6).images[0]
    expected = np.repeat([0, 1], 3)[:, None] if is_turned else np.repeat([0, 1], 3)[None]
    np.testing.assert_allclose(image, np.broadcast_to(expected, (6, 6)), atol=0.1)


@pytest.mark.parametrize("tag", [0x013F, 0x011A, 0x8769, 0x8825])
@pytest.mark.filterwarnings("ignore")  # what Pillow says of the damage
def test_tiff_tag_of_the_wrong_type(tag, save):
    pixels = bytes([0, 0, 0, 255, 255, 255] * 6)
    tags = [(0x0112, "H", [6]), (tag, "B", b"abc\0")]
    folder = save("1.tiff", tiff(6, 6, pixels, tags, compression=1))
    image = load_image_folder(folder, image_size=6).images[0]
    np.testing.assert_array_equal(image, np.broadcast_to(np.repeat([0, 1], 3)[:, None], (6, 6)))


def test_special_files_are_refused_without_waiting(save):
    folder = save("1.png", encoded("PNG"))
    os.mkfifo(folder / "a" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(os.path.relpath(folder / "a" / "socket.png"))
        with pytest.raises(ValueError, match="2 images cannot be read") as error:
            load_image_folder(folder, image_size=4)
    assert "pipe.png (a named pipe, not a regular file)" in str(error.value)
    assert "socket.png (a socket, not a regular file)" in str(error.value)


def test_links_to_devices_are_refused(save):
    folder = save("1.png", encoded("PNG"))
    (folder / "a" / "zero.png").symlink_to("/dev/zero")
    (folder / "a" / "random.jpg").symlink_to("/dev/random")
    (folder / "a" / "circle.gif").symlink_to("circle.gif")
    (folder / "a" / "broken.bmp").symlink_to("nowhere")
    with pytest.raises(ValueError, match="4 images cannot be read") as error:
        load_image_folder(folder, image_size=4, follow_links=True)
    assert "zero.png (a device, not a regular file)" in str(error.value)
    assert "broken.bmp (a broken link: No such file or directory)" in str(error.value)


def test_file_that_becomes_a_pipe_after_the_folder_was_read(save):
    folder = save("1.png", encoded("PNG"))
    file = folder / "a" / "1.png"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ValueError, match="a named pipe, not a regular file"):
        read_file(file, 100)


def test_circle_of_links(save):
    folder = save("1.png", encoded("PNG"))
    save("2.png", encoded("PNG"))
    (folder / "a" / "above").symlink_to("..")
    (folder / "a" / "itself").symlink_to(".")
    (folder / "b").symlink_to("a")
    for follow_links in (False, True):
        with pytest.warns(UserWarning, match=r"3 links are not followed: .*above, .*itself, .*b\."):
            bunch = load_image_folder(folder, image_size=4, follow_links=follow_links)
        assert bunch.target_names.tolist() == ["a"]
        assert bunch.filenames.tolist() == [str(folder / "a" / name) for name in ("1.png", "2.png")]


def test_many_folders_that_link_to_one_another(tmp_path):
    for i in range(12):
        folder = tmp_path / f"{i:02}"
        folder.mkdir()
        (folder / "1.png").write_bytes(encoded("PNG"))
        for j in range(12):
            (folder / f"to{j:02}").symlink_to(f"../{j:02}")
    with pytest.warns(UserWarning, match="144 links are not followed"):
        bunch = load_image_folder(tmp_path, image_size=4, follow_links=True)
    assert len(bunch.images) == 12


def test_links_that_lead_outside(save, tmp_path_factory):
    folder = save("1.png", encoded("PNG"))
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.png").write_bytes(encoded("PNG"))
    (outside / "within").mkdir()
    (outside / "within" / "3.png").write_bytes(encoded("PNG"))
    (folder / "a" / "2.png").symlink_to(outside / "secret.png")
    (folder / "b").symlink_to(outside)
    (folder / "a" / "notes.txt").symlink_to(outside / "nothing that is read")
    with pytest.warns(UserWarning, match=r"2 links are not followed: .*2\.png, .*b\. follow_links"):
        bunch = load_image_folder(folder, image_size=4)
    assert bunch.filenames.tolist() == [str(folder / "a" / "1.png")]
    bunch = load_image_folder(folder, image_size=4, follow_links=True)
    names = ("a/1.png", "a/2.png", "b/secret.png", "b/within/3.png")
    assert bunch.filenames.tolist() == [str(folder / name) for name in names]
    assert bunch.target_names.tolist() == ["a", "b", "b/within"]


def test_nothing_but_links(tmp_path, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "1.png").write_bytes(encoded("PNG"))
    (tmp_path / "a").symlink_to(outside)
    with pytest.raises(ValueError, match=r"no class folders.* 1 links are not followed: .*/a\."):
        load_image_folder(tmp_path, image_size=4)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.png").symlink_to(outside / "1.png")
    with pytest.raises(ValueError, match=r"Folders without images: .*/b\. 2 links are not"):
        load_image_folder(tmp_path, image_size=4)


def test_the_folder_itself_may_be_a_link(save, tmp_path_factory):
    folder = save("1.png", encoded("PNG"))
    link = tmp_path_factory.mktemp("links") / "photos"
    link.symlink_to(folder)
    bunch = load_image_folder(link, image_size=4)
    assert bunch.filenames.tolist() == [str(link / "a" / "1.png")]
