"""The format of saved files: safetensors, and no more memory than they hold."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from sk_fewshot.persistence import InvalidFileError
from sk_fewshot.persistence._container import pack, unpack

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.uint16,
    torch.int16,
    torch.float16,
    torch.bfloat16,
    torch.uint32,
    torch.int32,
    torch.float32,
    torch.uint64,
    torch.int64,
    torch.float64,
]
shapes = st.lists(st.integers(0, 3), max_size=4)
contents = st.dictionaries(st.text(max_size=5), st.tuples(st.sampled_from(DTYPES), shapes))


def filled(content):
    rng = np.random.default_rng(0)
    return {
        name: torch.tensor(rng.integers(0, 2, shape)).to(dtype)
        for name, (dtype, shape) in content.items()
        if name != "__metadata__"
    }


def assert_equal(got, expected):
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (got[name].dtype, got[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(got[name].double(), tensor.double())


@given(contents)
def test_files_are_safetensors(content):
    tensors = filled(content)
    packed = pack('{"text": "\\"é"}', tensors)
    assert_equal(safetensors.torch.load(packed), tensors)
    structure, read = unpack(packed)
    assert structure == {"text": '"é'}
    assert_equal(read, tensors)


@given(contents)
def test_what_safetensors_writes_is_read(content):
    tensors = filled(content)
    packed = pack("[]", tensors)
    metadata = json.loads(packed[8 : 8 + int.from_bytes(packed[:8], "little")])["__metadata__"]
    structure, read = unpack(safetensors.torch.save(tensors, metadata=metadata))
    assert structure == []
    assert_equal(read, tensors)


def test_every_tensor_begins_at_a_multiple_of_its_width():
    tensors = {"a": torch.ones(3, dtype=torch.uint8), "b": torch.ones(2), "c": torch.ones(1).half()}
    packed = pack("[]", tensors)
    n_header = int.from_bytes(packed[:8], "little")
    header = json.loads(packed[8 : 8 + n_header])
    for name, tensor in tensors.items():
        assert (8 + n_header + header[name]["data_offsets"][0]) % tensor.element_size() == 0


def sealed_header(entries, data=b""):
    """A file with these entries, whose checksum nobody gets to compare."""
    header = json.dumps({"__metadata__": {"sk_fewshot": "0 []"}, **entries}).encode()
    return len(header).to_bytes(8, "little") + header + data


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("entries", "size"),
    [
        ({"a": entry([2], 0, 8), "b": entry([1], 4, 8)}, 8),  # overlap
        ({"a": entry([1], 4, 8)}, 8),  # a hole
        ({"a": entry([1], 0, 4)}, 8),  # a rest
        ({"a": entry([2], 0, 8)}, 4),  # too few
        ({"a": entry([3], 0, 8)}, 8),
        ({"a": entry([-2], 0, -8)}, 0),
        ({"a": entry([2, -1, -1], 0, 8)}, 8),
        ({"a": entry([2.0], 0, 8)}, 8),
        ({"a": entry([True] * 2, 0, 4)}, 4),
        ({"a": entry([2**32, 2**32], 0, 0)}, 0),
        ({"a": entry([1] * 9, 0, 4)}, 4),
        ({"a": entry("2", 0, 8)}, 8),
        ({"a": entry([2], 0, 8, "F33")}, 8),
        ({"a": {**entry([2], 0, 8), "more": 1}}, 8),
        ({"a": [1, 2]}, 0),
        ({"a": entry([2], 0, 2, "BOOL")}, b"\1\2"),
    ],
    ids=str,
)
def test_wrong_entries_are_refused(entries, size):
    data = bytes(size) if isinstance(size, int) else size
    with pytest.raises((InvalidFileError, KeyError, TypeError, AttributeError)):
        unpack(sealed_header(entries, data))


MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from sk_fewshot import MatchingClassifier, load, save

path, size = sys.argv[1], 2**24
rows = np.random.default_rng(0).random((2**14, 2**8), dtype=np.float32)
fitted = MatchingClassifier("passthrough").fit(rows, np.arange(2**14) // 4)
save(MatchingClassifier("passthrough").fit(rows[:8], np.arange(8) // 4), path)
load(path)  # what is imported and started at the first call
save(fitted, path)
before = Path(path).read_bytes()


def limited(n_bytes, function, *arguments):
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + n_bytes, -1))
    try:
        return function(*arguments)
    except MemoryError:
        return MemoryError
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))


for n_bytes in (0, size // 100, size // 2):
    assert limited(n_bytes, load, path) is MemoryError
for n_bytes in (0, 2**16, 2**20):
    assert limited(n_bytes, save, fitted, path) in (None, MemoryError)
    assert Path(path).read_bytes() == before
    assert len(list(Path(path).parent.iterdir())) == 1
assert limited(size // 2, save, fitted, path) is None
assert limited(3 * size // 2, load, path).predict(rows[:1]) == fitted.predict(rows[:1])
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
def test_memory_that_runs_out_is_a_memory_error_and_little_is_needed(tmp_path):
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "gallery")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
