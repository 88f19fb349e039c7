"""Labels in scores and pairs: exact in every integer type, and none missing."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sk_fewshot.metrics import (
    equal_error_rate,
    make_pairs,
    map_at_r,
    precision_at_1,
    r_precision,
    true_accept_rate,
)
from sk_fewshot.metrics._labels import as_codes, as_labels

BIG = 2**53
SCORES = [precision_at_1, r_precision, map_at_r]
TYPES = {
    "int64": lambda y: np.array(y, np.int64),
    "uint64": lambda y: np.array(y, np.uint64),
    "object": lambda y: np.array(y, object),
    "list": list,
    "Int64": lambda y: pd.Series(y, dtype="Int64"),
    "UInt64": lambda y: pd.array(y, dtype="UInt64"),
    "tensor": lambda y: torch.tensor(y),
}


@pytest.mark.parametrize("reference", TYPES)
@pytest.mark.parametrize("query", TYPES)
@pytest.mark.parametrize("score", SCORES)
def test_integers_above_2_to_the_53_stay_apart_in_any_two_types(score, query, reference):
    y = TYPES[query]([BIG, BIG + 1])
    y_reference = TYPES[reference]([BIG + 1, BIG])
    X = [[0.0], [1.0]]
    assert score(X, y, X_reference=X, y_reference=y_reference) == 0
    assert score(X, y, X_reference=X[::-1], y_reference=y_reference) == 1


@pytest.mark.parametrize("query", TYPES)
def test_numbers_of_different_types_are_equal_if_their_values_are(query):
    y = TYPES[query]([1, 2])
    assert (
        precision_at_1([[0.0], [1.0]], y, X_reference=[[0.0], [1.0]], y_reference=[1.0, 2.0]) == 1
    )
    own, other = as_codes(as_labels([BIG + 1], "y"), as_labels([float(BIG)], "y"))
    assert own != other


@given(
    st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=8),
    st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=8),
)
def test_codes_agree_where_integers_do(first, second):
    own, other = as_codes(as_labels(first, "y"), as_labels(second, "y_reference"))
    labels, codes = [*first, *second], [*own, *other]
    for a, code_a in zip(labels, codes):
        assert [code_a == code_b for code_b in codes] == [a == b for b in labels]


def test_pairs_of_large_labels_are_told_apart():
    y = pd.Series([BIG, BIG + 1, BIG], dtype="Int64")
    assert make_pairs([[0.0], [1.0], [2.0]], y)[1].tolist() == [0, 1, 0]


MISSING = [
    (["a", None, "a", "b"], "None at index 1"),
    ([0, 1, None, 1], "None at index 2"),
    (np.array([None, "a", "a", "b"], object), "None at index 0"),
    (pd.Series(["a", "b", None, "b"]), "(None|nan) at index 2"),
    (pd.Series(["a", "b", pd.NA, "b"], dtype="string"), "at index 2"),
    (pd.Series([True, False, None, True], dtype="boolean"), "at index 2"),
    (np.array(["a", np.nan, "a", "b"], object), "nan at index 1"),
]


@pytest.mark.parametrize(("y", "where"), MISSING)
def test_a_missing_label_is_named(y, where):
    X = np.arange(8.0).reshape(4, 2)
    for call in (*SCORES, make_pairs):
        with pytest.raises(ValueError, match=rf"^y must not have missing labels, got .*{where}"):
            call(X, y)
    for score in SCORES:
        with pytest.raises(ValueError, match=r"^y_reference must not have missing labels"):
            score(X, ["a", "a", "b", "b"], X_reference=X, y_reference=y)
    for rate in (equal_error_rate, true_accept_rate):
        with pytest.raises(ValueError, match=rf"^y_true must not have missing labels, .*{where}"):
            rate(y, [0.1, 0.2, 0.3, 0.4])


def test_a_missing_nullable_integer_is_told():
    y = pd.Series([0, 1, pd.NA, 1], dtype="Int64")
    with pytest.raises(ValueError, match=r"y contains NaN|y must not have missing labels"):
        precision_at_1(np.arange(8.0).reshape(4, 2), y)


@pytest.mark.parametrize("score", SCORES)
def test_strings_and_numbers_do_not_mix(score):
    X = [[0.0], [1.0]]
    with pytest.raises(ValueError, match="y must hold strings alone or numbers alone"):
        score(X, np.array(["a", 1], object))
    with pytest.raises(ValueError, match="y and y_reference must be both numbers or both strings"):
        score(X, [BIG, 2**64], X_reference=X, y_reference=["a", "b"])
