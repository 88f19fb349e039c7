"""Archives are found, downloaded, checked and read; what is not the data set never passes."""

import hashlib
import stat
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_fewshot.datasets._archive import Archive, locate, read_members

ONE_TRY = {"download_if_missing": True, "n_retries": 0, "delay": 0}
OFFLINE = {"download_if_missing": False, "n_retries": 0, "delay": 0}


@pytest.fixture(scope="module")
def content(make_zip):
    return make_zip(("set/a.txt", b"first"), ("set/b.txt", b"second " * 100))


@pytest.fixture(params=["sha256", "md5"])
def archive(request, server, content):
    """A published archive; the server has it, until a test damages it there."""
    server.files["/set.zip"] = content
    checksum = hashlib.new(request.param, content).hexdigest()
    return Archive("set.zip", f"{server.url}/set.zip", f"{request.param}:{checksum}")


def contents(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_download_is_kept_and_used_again(archive, server, content, tmp_path):
    path = locate(archive, tmp_path, "cache", **ONE_TRY)
    assert path == tmp_path / "cache" / "set.zip"
    assert path.read_bytes() == content
    assert locate(archive, tmp_path, "cache", **ONE_TRY) == path
    assert contents(tmp_path) == ["cache", "cache/set.zip"]
    assert server.requested == ["/set.zip"]


@pytest.mark.parametrize("place", ["set.zip", "cache/set.zip"])
def test_local_copy_needs_no_network(archive, server, content, tmp_path, place):
    copy = tmp_path / place
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes(content)
    tmp_path.chmod(0o500)
    assert locate(archive, tmp_path, "cache", **OFFLINE) == copy
    assert server.requested == []
    tmp_path.chmod(0o700)


def test_missing_offline(archive, server, tmp_path):
    with pytest.raises(OSError, match=r"set\.zip is neither in .*cache.* nor in"):
        locate(archive, tmp_path, "cache", **OFFLINE)
    assert server.requested == []


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-20], id="truncated"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data + b"\0", id="too_long"),
        pytest.param(lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], id="one_bit"),
        pytest.param(lambda data: b"<html>Log in to the hotel's network</html>", id="web_page"),
    ],
)
def test_damaged_download_leaves_nothing_and_second_try_works(
    archive, server, content, tmp_path, damage
):
    server.files["/set.zip"] = damage(content)
    with pytest.raises(OSError, match=r"^http.* is not the published set\.zip.*expected"):
        locate(archive, tmp_path, "cache", **ONE_TRY)
    assert contents(tmp_path) == []
    server.files["/set.zip"] = content
    assert locate(archive, tmp_path, "cache", **ONE_TRY).read_bytes() == content


def test_connection_lost_leaves_nothing_and_second_try_works(archive, server, content, tmp_path):
    server.missing_bytes = 10
    with pytest.raises(OSError, match=r"set\.zip could not be downloaded from http.*A copy of it"):
        locate(archive, tmp_path, "cache", **ONE_TRY)
    assert contents(tmp_path) == []
    server.missing_bytes = 0
    assert locate(archive, tmp_path, "cache", **ONE_TRY).read_bytes() == content


def test_network_error_is_tried_again(archive, server, tmp_path):
    del server.files["/set.zip"]
    with (
        pytest.warns(UserWarning, match="Retry downloading"),
        pytest.raises(OSError, match=r"could not be downloaded .*404"),
    ):
        locate(archive, tmp_path, "cache", download_if_missing=True, n_retries=2, delay=0)
    assert server.requested == ["/set.zip"] * 3
    assert contents(tmp_path) == []


def test_damaged_local_copy_offline(archive, content, tmp_path):
    (tmp_path / "set.zip").write_bytes(content[:50])
    with pytest.raises(OSError, match=r"is not the published set\.zip.*\(50 bytes\)"):
        locate(archive, tmp_path, "cache", **OFFLINE)


@pytest.mark.parametrize("place", ["set.zip", "cache/set.zip"])
def test_damaged_local_copy_is_downloaded_again(archive, content, tmp_path, place):
    copy = tmp_path / place
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes(content[:50])
    with pytest.warns(UserWarning, match=r"is not the published set\.zip.*Downloading it again"):
        path = locate(archive, tmp_path, "cache", **ONE_TRY)
    assert path.read_bytes() == content
    assert locate(archive, tmp_path, "cache", **OFFLINE) == path


def test_read_members(content, tmp_path):
    path = tmp_path / "set.zip"
    path.write_bytes(content)
    assert read_members(path) == {"set/a.txt": b"first", "set/b.txt": b"second " * 100}


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../escaped.txt", "outside its folder"),
        ("set/../../escaped.txt", "outside its folder"),
        ("/etc/escaped.txt", "outside its folder"),
        ("..\\escaped.txt", "outside its folder"),
        ("C:/escaped.txt", "outside its folder"),
        (link("set/link"), "link or special file"),
    ],
)
def test_read_members_refuses_paths_outside(make_zip, tmp_path, name, message):
    path = tmp_path / "cache" / "deep" / "set.zip"
    path.parent.mkdir(parents=True)
    path.write_bytes(make_zip(("set/a.txt", b"first"), (name, "/etc/passwd")))
    with pytest.raises(OSError, match=message):
        read_members(path)
    assert contents(tmp_path) == ["cache", "cache/deep", "cache/deep/set.zip"]


def test_read_members_refuses_more_than_the_limit(make_zip, tmp_path):
    path = tmp_path / "bomb.zip"
    path.write_bytes(make_zip(*((f"{i}.txt", bytes(10**6)) for i in range(70))))
    assert path.stat().st_size < 10**5
    with pytest.raises(OSError, match="unpacks to 70000000 bytes"):
        read_members(path)
    assert len(read_members(path, max_bytes=70 * 10**6)) == 70


def test_read_members_holds_no_more_than_declared(make_zip, tmp_path):
    data = make_zip(("a.txt", bytes(10**6)))
    path = tmp_path / "liar.zip"
    path.write_bytes(data.replace((10**6).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(OSError, match=r"liar\.zip is a damaged zip archive"):
        read_members(path)


def test_read_members_refuses_repeated_names(make_zip, tmp_path):
    path = tmp_path / "set.zip"
    with pytest.warns(UserWarning, match="Duplicate name"):
        path.write_bytes(make_zip(("a.txt", b"first"), ("a.txt", b"second")))
    with pytest.raises(OSError, match="several files of one name"):
        read_members(path)


@settings(max_examples=200)
@given(data=st.data())
def test_read_members_of_a_damaged_archive_is_an_oserror(data, content, tmp_path_factory):
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(content)))])
    try:
        members = read_members(path)
    except OSError:
        return
    # a byte that does not matter, or a name: what is read has passed its checksum
    assert set(members.values()) <= {b"first", b"second " * 100}
