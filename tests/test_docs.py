"""The documentation: complete, and its code runs."""

import doctest
import inspect
import pkgutil
import re
import textwrap
from importlib import import_module
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import HashingVectorizer

import sk_fewshot

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def public_objects():
    """Every object in the `__all__` of a public module, by the name under which it was found."""
    names = ["sk_fewshot"] + [
        module.name
        for module in pkgutil.walk_packages(sk_fewshot.__path__, "sk_fewshot.")
        if "._" not in module.name
    ]
    for module in map(import_module, names):
        for name in getattr(module, "__all__", []):
            if not name.startswith("__"):
                yield f"{module.__name__}.{name}", getattr(module, name)


def documented():
    """The entries of the API reference."""
    blocks = re.findall(
        r"autosummary::\n.*?\n\n(.*?)```", (DOCS / "api/index.md").read_text(), re.S
    )
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def found(entry):
    module, _, name = f"sk_fewshot.{entry}".rpartition(".")
    return getattr(import_module(module), name)


def test_the_reference_has_every_public_name_once():
    entries = documented()
    assert len(entries) == len(set(entries))
    there = {id(found(entry)) for entry in entries}
    missing = sorted(name for name, value in public_objects() if id(value) not in there)
    assert not missing
    public = {id(value) for _, value in public_objects()}
    assert not [entry for entry in entries if id(found(entry)) not in public]


@pytest.mark.parametrize("entry", documented())
def test_every_public_name_has_an_example(entry):
    value = found(entry)
    exception = inspect.isclass(value) and issubclass(value, Exception)
    if not exception and (inspect.isclass(value) or inspect.isfunction(value)):
        assert doctest.DocTestParser().get_examples(inspect.getdoc(value) or "")


def blocks(page):
    """The Python code of a page, block by block."""
    return [
        textwrap.dedent(code) for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    ]


def can_import(name):
    try:
        import_module(name)
    except (ImportError, RuntimeError):  # a torchvision that was built for another torch
        return False
    return True


PEERS = {  # and whether their code can run here
    "pytorch_metric_learning": can_import("pytorch_metric_learning"),
    "timm": can_import("timm"),
    "torchvision": can_import("torchvision"),
    "tensorboard": can_import("tensorboard"),
    "sentence_transformers": False,  # it would fetch a model
    "easyfsl": can_import("easyfsl.methods"),
    "metric_learn": can_import("metric_learn"),
}


def run(code, names):
    """Run a block, or only compile it where it needs a library that is not here."""
    if missing := [peer for peer, here in PEERS.items() if peer in code and not here]:
        compile(code, missing[0], "exec")
    else:
        exec(code, names)


class SentenceModel:
    """In place of one that has to be fetched."""

    def encode(self, sentences):
        return HashingVectorizer(n_features=64).transform(sentences).toarray()


@pytest.mark.parametrize("page", sorted(DOCS.glob("guide/*.md")), ids=lambda page: page.stem)
def test_the_code_of_the_user_guide_runs(page, tmp_path, monkeypatch):
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "photos" / "ada" / "1.png", tmp_path / "photos" / "grace" / "2.jpg"):
        path.parent.mkdir(parents=True)
        Image.new("RGB", (80, 60), "gray").save(path)
    names = {"__name__": "guide", "model": SentenceModel()}
    for code in blocks(page):
        run(code, names)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_code_of_the_migration_notes_runs():
    torch.manual_seed(0)
    X, y = load_digits(return_X_y=True)
    images = torch.from_numpy(X[:100].astype(np.float32))
    labels = torch.arange(100) % 5
    given = {
        "X": X[:200],
        "y": y[:200],
        "embeddings": images,
        "backbone": torch.nn.Identity(),
        "support": images[:50],
        "support_labels": labels[:50],
        "queries": images[50:],
    }
    for code in blocks(DOCS / "migration.md"):
        names = dict(given)
        if "loss_function" in code:
            names["y"] = labels
        run(code, names)


EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_open_with_a_title(path):
    docstring = compile(path.read_text(), path.name, "exec").co_consts[0]
    assert re.match(r"\n(.+)\n=+\n\n", docstring), "the gallery takes its title from here"
