"""Accuracy of every method on Omniglot, Olivetti faces and digits, under one protocol.

Each method is trained on some classes and tested on others, over three seeds and 1,000 episodes
each; beside it stand pixels and the untrained network. Writes `docs/accuracy.json`, and from it
`docs/accuracy.md`.

    python benchmarks/accuracy.py          # about 3 hours on one core
    python benchmarks/accuracy.py --quick  # 2 batches a method; prints a page, writes nothing

One thread. Data that are not in `../shared/data` are downloaded; `--quick` skips them. Finished
cells are kept in `build/accuracy`, each with its settings, and not computed again when the script
is started again; after a change of the package, remove the folder. `--data-sets` and `--methods`
choose a part of the cells, which may be computed beside other parts. `--page` computes nothing and
writes the page of what is there, which names what is not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from _report import machine

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "examples"))

from _accuracy_cells import Cell, cells  # noqa: E402
from _accuracy_data import SPLITS, missing  # noqa: E402
from _accuracy_page import page  # noqa: E402

from sk_fewshot._utils.files import write_atomically  # noqa: E402

DOCS = HERE.parent / "docs"
FULL = {"seeds": 3, "n_episodes": 1000}
QUICK = {"seeds": 1, "n_episodes": 20}


def main() -> None:
    """Compute what is missing, then write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="under 3 minutes; writes no docs")
    parser.add_argument("--page", action="store_true", help="write it of the finished cells")
    parser.add_argument("--data-sets", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--methods", nargs="+", help="names as in the table; default: all")
    parser.add_argument("--cells", type=Path, default=HERE.parent / "build" / "accuracy")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.quick:
        with tempfile.TemporaryDirectory() as folder:
            figures = measured(arguments, Path(folder), **QUICK)
        print(page(figures))
        return
    figures = measured(arguments, arguments.cells, **FULL)
    if arguments.methods or set(arguments.data_sets) != set(SPLITS):
        print("A part of the table: run without a choice, or with --page alone, to write the page.")
        return
    write_atomically(DOCS / "accuracy.json", [(json.dumps(figures, indent=1) + "\n").encode()])
    write_atomically(DOCS / "accuracy.md", [page(figures).encode()])


def measured(
    arguments: argparse.Namespace, folder: Path, seeds: int, n_episodes: int
) -> dict[str, object]:
    """Figures of all cells asked for, with progress."""
    found, lacking, splits = [], [], {}
    for name in arguments.data_sets:
        if arguments.quick and (reason := missing(name)):
            print(f"{name} skipped: {reason}.")
            continue
        split = SPLITS[name]()
        splits[name] = {"about": split.about, "n_query": split.n_query}
        todo = [
            cell
            for cell in cells(name, split, seeds, n_episodes, brief=arguments.quick)
            if arguments.methods is None or cell.method in arguments.methods
        ]
        for i, cell in enumerate(todo, start=1):
            start = time.perf_counter()
            figures = cell.known(folder)
            if figures is None and arguments.page:
                lacking.append(f"{name}, {cell.method}")
                continue
            found.append(figures or cell.compute(split, folder))
            print(f"[{i}/{len(todo)}] {told(cell, found[-1], start)}", flush=True)
    return {
        "machine": machine(),
        "n_seeds": seeds,
        "n_episodes": n_episodes,
        "data_sets": splits,
        "lacking": lacking,
        "cells": found,
    }


def told(cell: Cell, result: dict, start: float) -> str:
    """One line about a finished cell."""
    accuracies = " ".join(f"{mean:.3f}" for mean, _ in result["scores"].values())
    return (
        f"{cell.data_set:9} {cell.method:18} {cell.kind:9} seed {cell.seed}  "
        f"{time.perf_counter() - start:4.0f} s  {accuracies}"
    )


if __name__ == "__main__":
    main()
