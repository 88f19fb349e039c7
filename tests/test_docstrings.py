"""What is called the same is described in the same words, and what is described is there.

After scikit-learn's `assert_docstring_consistency`: the shortest text of a parameter opens all
others, which may go on with what a method adds.
"""

import inspect
import re

import pytest

import sk_fewshot
from sk_fewshot import PairClassifier, heads, losses
from sk_fewshot.distances import METRICS

TRANSFORMERS = [getattr(sk_fewshot, n) for n in sk_fewshot.__all__ if n.endswith("Transformer")]
CLASSIFIERS = [getattr(sk_fewshot, n) for n in sk_fewshot.__all__ if n.endswith("Classifier")]
MODULES = [getattr(package, n) for package in (losses, heads) for n in package.__all__]

# The methods give these names to things that are not the same.
OWN = {"margin", "scale", "loss", "normalize", "loss_", "head_"}
OWN |= {"index"}  # names the methods of the class that search
OF_PAIRS = {"encoder", "classes_"}  # of the classifier of pairs


def described(cls, section):
    """Name to (type, text) of the entries of a section of a numpydoc docstring."""
    pattern = rf"^{section}\n-+\n(.*?)(?=^\S[^\n]*\n-{{3,}}$|\Z)"
    found = re.search(pattern, inspect.getdoc(cls), re.DOTALL | re.MULTILINE)
    entries = {}
    for block in re.split(r"\n(?=\S)", found[1].strip("\n")) if found else []:
        head, _, text = block.replace("\\\n", "").partition("\n")
        name, _, kind = head.partition(" : ")
        text = re.sub(r"\b(Prototypical|Matching|Relation|Siamese)(?=Transformer\b)", "Own", text)
        entries[name] = re.sub(r"\s*default=.*", "", kind).strip(" ,"), " ".join(text.split())
    return entries


def same_names(classes, section):
    """Each name that several classes describe, with its (type, text) in each."""
    everywhere = {}
    for cls in classes:
        for name, entry in described(cls, section).items():
            if name not in OWN and not (cls is PairClassifier and name in OF_PAIRS):
                everywhere.setdefault(name, {})[cls.__name__] = entry
    return [pytest.param(by, id=n) for n, by in everywhere.items() if len(by) > 1]


@pytest.mark.parametrize(
    "entries",
    [
        *same_names(TRANSFORMERS, "Parameters"),
        *same_names(TRANSFORMERS, "Attributes"),
        *same_names(CLASSIFIERS, "Parameters"),
        *same_names(CLASSIFIERS, "Attributes"),
    ],
)
def test_the_same_name_has_the_same_text(entries):
    shared = min((text for _, text in entries.values()), key=len)
    kinds = {kind for kind, _ in entries.values()}
    assert len(kinds) == 1 or kinds == {"str or callable", "str, callable or None"}
    for cls, (_, text) in entries.items():
        assert text.startswith(shared), cls


@pytest.mark.parametrize("cls", [*TRANSFORMERS, *CLASSIFIERS, *MODULES], ids=lambda c: c.__name__)
def test_the_parameters_described_are_those_of_the_constructor(cls):
    parameters = inspect.signature(cls).parameters.values()
    assert list(described(cls, "Parameters")) == [p.name for p in parameters]
    for parameter in parameters:
        default = re.search(
            rf"^{parameter.name} : (?:[^\n]|\\\n)*?default=(.+)$", inspect.getdoc(cls), re.MULTILINE
        )
        value = parameter.default
        if value is parameter.empty:
            assert default is None, parameter.name
        elif inspect.isclass(value):
            assert default[1] == value.__name__
        else:
            assert eval(default[1]) == value, parameter.name


def test_the_list_of_metrics_stands_in_one_place():
    table = re.findall(r'^"(\w+)" +\S', sk_fewshot.distances.__doc__, re.MULTILINE)
    assert table == list(METRICS)
    for cls in (*TRANSFORMERS, *CLASSIFIERS, *MODULES):
        listed = [kind for kind, _ in described(cls, "Parameters").values() if "manhattan" in kind]
        assert not listed, cls
        if "metric" in described(cls, "Parameters"):
            assert "sk_fewshot.distances.METRICS" in described(cls, "Parameters")["metric"][1]
