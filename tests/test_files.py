"""How files are written, by `save` and by `checkpoint` alike: whole, and for the same eyes only."""

import errno
import os
import signal
import stat
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from skorch.callbacks import Callback

from sk_fewshot import PrototypicalClassifier, PrototypicalTransformer, load, save
from sk_fewshot._utils.files import write_atomically

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes, links and locks of POSIX")
only_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root gives files away"
)

rng = np.random.default_rng(0)
X, y = rng.random((12, 4)), np.repeat(np.arange(3), 4)


class Interrupt(Callback):
    """Presses Ctrl-C in the second epoch, once."""

    pressed = False

    def on_epoch_begin(self, net, **kwargs):
        if net.history[-1, "epoch"] == 2 and not Interrupt.pressed:
            Interrupt.pressed = True
            raise KeyboardInterrupt


def training(path):
    callbacks = {"callbacks": [Interrupt()]}
    return PrototypicalTransformer(
        max_epochs=2, batches_per_epoch=1, random_state=0, checkpoint=path, net_params=callbacks
    )


def write_classifier(path):
    save(PrototypicalClassifier("passthrough").fit(X, y), path)


def write_checkpoint(path):
    """Write one from the start, or go on with one that was interrupted."""
    Interrupt.pressed = path.is_file()
    try:
        training(path).fit(X, y)
    except KeyboardInterrupt:
        assert path.is_file()


WRITERS = {"save": write_classifier, "checkpoint": write_checkpoint}
writes = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def as_nobody():
    """Without the rights of root, who may write anywhere."""
    if os.geteuid():
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def open_folder():
    """A folder of nobody's own that everybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
        yield Path(folder)
        os.chmod(folder, 0o777)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@writes
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_new_files_follow_the_umask(write, mask, tmp_path):
    with umask(mask):
        write(tmp_path / "x")
    assert mode(tmp_path / "x") == 0o666 & ~mask


@writes
@pytest.mark.parametrize("before", [0o600, 0o640, 0o400, 0o666])
def test_the_mode_of_what_is_replaced_is_kept(write, before, tmp_path):
    path = tmp_path / "x"
    write(path)
    content = path.read_bytes()
    path.chmod(before)
    write(path)
    assert mode(path) == before
    assert path.read_bytes() != content or write is write_classifier
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("before", [0o600, 0o640, 0o644, None])
def test_temporaries_are_never_wider(before, tmp_path):
    path, met = tmp_path / "x", set()
    if before is not None:
        path.touch()
        path.chmod(before)

    def pieces():
        yield b"one"
        met.update(mode(file) for file in tmp_path.iterdir())
        yield b"two"

    with umask(0o027):
        write_atomically(path, pieces())
    assert met == {0o640 if before is None else before}
    assert path.read_bytes() == b"onetwo"


@only_root
@writes
def test_the_owner_of_what_is_replaced_is_kept(write, tmp_path):
    path = tmp_path / "x"
    write(path)
    os.chown(path, 1234, 5678)
    path.chmod(0o640)
    write(path)
    status = path.stat()
    assert (status.st_uid, status.st_gid, mode(path)) == (1234, 5678, 0o640)


@only_root
@pytest.mark.parametrize(("before", "after"), [(0o664, 0o604), (0o640, 0o600), (0o606, 0o600)])
def test_a_group_that_cannot_be_kept_gives_nobody_more(before, after, open_folder):
    path = open_folder / "x"
    path.touch()
    os.chown(path, 1234, 5678)
    path.chmod(before)
    with as_nobody():
        write_atomically(path, [b"new"])
    assert mode(path) == after


@writes
def test_symbolic_links_are_followed(write, tmp_path):
    (tmp_path / "folder").mkdir()
    link, target = tmp_path / "link", tmp_path / "folder" / "target"
    link.symlink_to(Path("folder", "target"))  # which is not there yet
    write(link)
    target.chmod(0o600)
    write(link)
    assert link.is_symlink()
    assert mode(target) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["folder", "link"]
    assert os.listdir(tmp_path / "folder") == ["target"]


@writes
def test_links_that_go_round_are_an_os_error(write, tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError) as error:
        write(tmp_path / "a")
    assert error.value.errno == errno.ELOOP
    assert (tmp_path / "a").is_symlink()


@pytest.fixture(params=["folder", "pipe", "device"])
def no_file(request, tmp_path):
    path = tmp_path / "x"
    if request.param == "folder":
        path.mkdir()
    elif request.param == "pipe":
        os.mkfifo(path)
    else:
        path = Path("/dev/zero")
    return path


@writes
def test_only_files_are_replaced(write, no_file):
    before = no_file.stat().st_mode
    with pytest.raises(OSError) as error:
        write(no_file)
    assert error.value.filename == os.fspath(no_file)
    assert no_file.stat().st_mode == before


def test_only_files_are_read(no_file):
    with pytest.raises(OSError) as error:
        load(no_file)
    assert error.value.filename == os.fspath(no_file)


@writes
@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "x" * 242, "x" * 101, "[x]*?"])
def test_names_near_the_systems_limit(write, name, tmp_path):
    write(tmp_path / name)
    write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


@writes
def test_what_killed_writers_left_is_removed(write, tmp_path):
    (tmp_path / ".x.0123abcd.tmp").touch()
    others = [".x.tmp", ".xy.0123abcd.tmp", ".x.0123abcd", ".x.1.0123abcd.tmp"]
    for name in others:
        (tmp_path / name).touch()
    write(tmp_path / "x")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "x"])


@pytest.mark.parametrize("name", ["x", "x" * 255, "[x]*?"])
def test_a_killed_writer_leaves_the_old_file_and_a_temporary_for_the_next(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"old")

    def pieces():
        yield b"half"
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        try:
            write_atomically(path, pieces())
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(os.listdir(tmp_path)) == 2
    write_atomically(path, [b"new"])
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == [name]


def test_writers_of_one_file_do_not_remove_each_others_work(tmp_path):
    path, errors = tmp_path / "x", []

    def write(content):
        try:
            for _ in range(50):
                write_atomically(path, [content, content])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(bytes([i]) * 1000,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(set(path.read_bytes())) == 1
    assert os.listdir(tmp_path) == ["x"]


@writes
def test_a_full_disk_is_named(write, tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "x"
    path.write_bytes(b"the last good file")
    if write is write_checkpoint:
        path.unlink()
    before, limits = os.listdir(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.filename == str(path)
    assert os.listdir(tmp_path) == before


@writes
def test_a_missing_folder_is_named(write, tmp_path):
    path = tmp_path / "missing" / "x"
    with pytest.raises(FileNotFoundError) as error:
        write(path)
    assert error.value.filename == str(path)


def test_a_finished_checkpoint_on_a_read_only_disk_is_returned(open_folder):
    path = open_folder / "x"
    with as_nobody():
        write_checkpoint(path)
        before, content = training(path).fit(X, y).transform(X), path.read_bytes()
        (open_folder / ".x.0123abcd.tmp").touch()
        open_folder.chmod(0o555)
        try:
            np.testing.assert_array_equal(training(path).fit(X, y).transform(X), before)
            with pytest.raises(PermissionError):
                path.unlink()
        finally:
            open_folder.chmod(0o777)
    assert path.read_bytes() == content


def test_a_folder_that_may_not_be_listed(open_folder):
    with as_nobody():
        (open_folder / "hidden").mkdir()
        (open_folder / "hidden").chmod(0o300)
        write_classifier(open_folder / "hidden" / "x")
        (open_folder / "hidden").chmod(0o700)
        assert isinstance(load(open_folder / "hidden" / "x"), PrototypicalClassifier)
