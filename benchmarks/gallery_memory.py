"""Memory of a gallery in a memory-mapped file: what a process holds beside the file's own pages.

400,000 embeddings of 256 numbers, 410 MB. Linux alone tells these figures.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from _memory import peak
from _report import arguments, report
from numpy.typing import NDArray

from sk_fewshot import MatchingClassifier, PrototypicalClassifier, SiameseClassifier

N_ROWS, D, BLOCK = 400_000, 256, 10_000


def write_gallery(path: Path, rng: np.random.Generator) -> None:
    """Write random embeddings, some at a time."""
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (N_ROWS, D))
    for start in range(0, N_ROWS, BLOCK):
        rows[start : start + BLOCK] = rng.standard_normal((BLOCK, D), dtype=np.float32)
    rows.flush()


def row(name: str, clf, gallery: NDArray, y: NDArray, queries: NDArray) -> dict[str, object]:
    """Return the peaks of one classifier."""
    return {
        "gallery": name,
        "classifier": type(clf).__name__,
        "fit": peak(lambda: clf.fit(gallery, y)),
        "kneighbors": peak(lambda: clf.kneighbors(queries)),
        "predict": peak(lambda: clf.predict(queries)),
    }


def main() -> None:
    options = arguments(__doc__)
    rng = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "gallery.npy")
        write_gallery(path, rng)
        queries = rng.standard_normal((50, D), dtype=np.float32)
        for name, mode in (("in the file", "r"), ("in memory", None)):
            gallery = np.load(path, mmap_mode=mode)
            for clf, a_class in (
                (PrototypicalClassifier("passthrough"), 1),
                (SiameseClassifier("passthrough", metric="euclidean"), 4),
                (MatchingClassifier("passthrough"), 4),
            ):
                rows.append(row(name, clf, gallery, np.arange(N_ROWS) // a_class, queries))
    report("megabytes beside the gallery", rows, options.json)


if __name__ == "__main__":
    main()
