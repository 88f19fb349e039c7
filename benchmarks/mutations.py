"""Random mutations of a saved estimator: how many are refused, how many load, and at what cost.

Half of them change bytes of the file. The others change the structure, one value or one character,
and seal it with a right checksum, as only somebody hostile would.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_fewshot import RelationClassifier, RelationTransformer, load, save
from sk_fewshot.persistence import InvalidFileError
from sk_fewshot.persistence._container import pack, unpack

CONSTANTS = [None, True, 0, -1, 3, 10**30, 0.5, "x", "", [], {}, {"ref": 0}, {"tuple": [1, 2, 3]}]


def saved(path: Path) -> bytes:
    """Save a small nested estimator."""
    X, y = load_digits(return_X_y=True)
    encoder = RelationTransformer(
        module_params={"hidden": (4,)}, embedding_dim=3, max_epochs=1, batches_per_epoch=2
    )
    encoder = FrozenEstimator(make_pipeline(StandardScaler(), encoder).fit(X[:200], y[:200]))
    save(RelationClassifier(encoder).fit(X[200:220], y[200:220].astype(str)), path)
    return path.read_bytes()


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Change, insert or remove a few bytes, or cut off the end."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        at, byte = rng.integers(len(changed)), rng.integers(256)
        match rng.integers(4):
            case 0:
                changed[at] = byte
            case 1:
                changed.insert(at, byte)
            case 2:
                del changed[at]
            case 3:
                changed[at] ^= 1 << rng.integers(8)
    return bytes(changed[: rng.integers(len(changed))] if rng.random() < 0.02 else changed)


def places(node: object) -> Iterator[tuple[Any, Any]]:
    """All (container, key) of a JSON value."""
    if isinstance(node, dict | list):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in list(items):
            yield node, key
            yield from places(value)


def misplaced(structure: object, rng: np.random.Generator) -> str:
    """Replace one value of a structure by another of it, or by a constant."""
    changed = copy.deepcopy(structure)
    spots = list(places(changed))
    container, key = spots[rng.integers(len(spots))]
    other, of = spots[rng.integers(len(spots))]
    constant = CONSTANTS[rng.integers(len(CONSTANTS))]
    container[key] = copy.deepcopy(other[of]) if rng.random() < 0.5 else constant
    return json.dumps(changed, separators=(",", ":"))


def outcome(path: Path, content: bytes, again: Path, original: bytes) -> str:
    """Load a mutation; anything but a refusal or an estimator raises."""
    path.write_bytes(content)
    try:
        loaded = load(path)
    except InvalidFileError:
        return "refused"
    assert isinstance(loaded, BaseEstimator)
    try:
        save(loaded, again)
    except (TypeError, ValueError):
        return "loaded, no longer to be saved"
    return "loaded, equal" if again.read_bytes() == original else "loaded, another estimator"


def measure(n: int, seed: int) -> None:
    """Print the outcomes of `n` mutations."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path, again = Path(folder) / "x", Path(folder) / "y"
        content = saved(path)
        structure, tensors = unpack(content)
        text = json.dumps(structure, separators=(",", ":")).encode()
        header = 8 + int.from_bytes(content[:8], "little")
        load(path)
        baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        counts: dict[str, Counter] = {"bytes": Counter(), "structure": Counter()}
        slowest = 0.0
        for i in range(n):
            match i % 4:
                case 0:
                    kind, change = "bytes", mutated(content, rng)
                case 2:
                    kind, change = "bytes", mutated(content[:header], rng) + content[header:]
                case 1:
                    forged = mutated(text, rng).decode(errors="replace")
                    kind, change = "structure", pack(forged, tensors)
                case _:
                    kind, change = "structure", pack(misplaced(structure, rng), tensors)
            if change == content:
                continue
            start = time.perf_counter()
            counts[kind][outcome(path, change, again, content)] += 1
            slowest = max(slowest, time.perf_counter() - start)
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - baseline
    for kind, count in counts.items():
        print(f"{kind}: {dict(count)}")
    print(f"slowest {slowest:.3f} s, peak memory {growth / 1024:.1f} MiB above the first load")
    assert set(counts["bytes"]) <= {"refused", "loaded, equal"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="mutations")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    measure(given.n, given.seed)
