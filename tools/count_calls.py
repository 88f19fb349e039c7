"""How far a reader of one call has to go: functions and files of the package that it visits.

``python tools/count_calls.py`` prints, for one `predict` and one `meta_fit`, the number of
different functions and files and how often the file changes; and how many of the package's classes
stand above each classifier.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from sklearn.datasets import load_digits

import sk_fewshot
from sk_fewshot import PrototypicalClassifier, PrototypicalTransformer

ROOT = str(Path(sk_fewshot.__file__).parent)


def visited(call: Callable[[], object]) -> list[tuple[str, str]]:
    """Return file and qualified name of each call of a function of the package, in order."""
    calls: list[tuple[str, str]] = []

    def note(frame, event, argument):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(ROOT) and "<" not in code.co_name:
            calls.append((code.co_filename.removeprefix(ROOT + "/"), code.co_qualname))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return calls


def report(name: str, calls: list[tuple[str, str]], verbose: bool) -> None:
    """Print the counts."""
    files = [file for file, _ in calls]
    changes = sum(file != before for before, file in pairwise(files))
    print(
        f"{name}: {len(set(calls))} functions in {len(set(files))} files, {changes} changes of file"
    )
    if verbose:
        for file, function in dict.fromkeys(calls):
            print(f"    {file}: {function}")


def depth(cls: type) -> int:
    """Count the package's classes above a class."""
    return sum(base.__module__.startswith("sk_fewshot") for base in cls.__mro__[1:])


def main() -> None:
    """Print all counts; with ``-v`` the functions too."""
    verbose = "-v" in sys.argv
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    base = y < 5
    encoder = PrototypicalTransformer(max_epochs=1, batches_per_epoch=2, random_state=0)
    clf = PrototypicalClassifier(encoder)
    report("meta_fit", visited(lambda: clf.meta_fit(X[base], y[base])), verbose)
    clf.fit(X[~base][:50], y[~base][:50])
    clf.predict(X[~base][50:])  # what is made ready once
    report("predict", visited(lambda: clf.predict(X[~base][50:])), verbose)
    for name in sk_fewshot.__all__:
        if name.endswith("Classifier"):
            print(f"{name}: {depth(getattr(sk_fewshot, name))} classes of the package above")


if __name__ == "__main__":
    main()
