"""The page of accuracies says by itself where training did not help."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def page(monkeypatch):
    """Turn scores into the page: of raw pixels, and of one method untrained and trained."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    make = importlib.import_module("_accuracy_page").page

    def of(pixels, untrained, trained, errors=(None, None, None), lacking=()):
        """Take the means of one setting, seed by seed, each with an interval of 0.03."""
        kinds = [("raw pixels", "pixels"), ("Siamese", "untrained"), ("Siamese", "trained")]
        cells = [
            {
                "data_set": "stones",
                "method": method,
                "kind": kind,
                "seconds": 60.0,
                "scores": {"mixed 5-way 1-shot": (mean, 0.03)},
                **({} if error is None else {"equal error rate": error}),
            }
            for (method, kind), means, error in zip(kinds, (pixels, untrained, trained), errors)
            for mean in means
        ]
        return make(
            {
                "machine": {"processor": "P", "torch": "2"},
                "n_seeds": len(pixels),
                "n_episodes": 1000,
                "data_sets": {"stones": {"about": "Stones.", "n_query": 5}},
                "lacking": lacking,
                "cells": cells,
            }
        )

    return of


def test_says_that_training_helped(page):
    text = page([0.5], [0.6], [0.7])
    assert "Every trained method beats" in text
    assert "Not every" not in text


@pytest.mark.parametrize(
    ("pixels", "untrained", "named"),
    [
        (0.8, 0.6, "raw pixels 80.0\n"),
        (0.5, 0.8, "Siamese, untrained 80.0\n"),
        (0.68, 0.6, "raw pixels 68.0\n"),  # less than the interval of the difference, 0.042
        (0.8, 0.9, "raw pixels 80.0, Siamese, untrained 90.0\n"),
    ],
)
def test_says_what_was_not_beaten(page, pixels, untrained, named):
    text = page([pixels], [untrained], [0.7])
    assert "Every trained method beats" not in text
    assert f"- Siamese, mixed 5-way 1-shot: 70.0; {named}" in text


def test_an_equal_error_rate_should_be_lower(page):
    assert "Every trained method beats" in page([0.5], [0.6], [0.7], errors=(0.2, 0.15, 0.1))
    text = page([0.5], [0.6], [0.7], errors=(0.2, 0.1, 0.15))
    assert "- Siamese, equal error rate: 15.0; Siamese, untrained 10.0\n" in text


def test_mean_interval_and_range_of_the_seeds(page):
    text = page([0.5] * 3, [0.6] * 3, [0.7, 0.8, 0.9])
    assert "| Siamese | **80.0 ± 1.7** | 10.0 | 60 |" in text  # 3 / sqrt(3) = 1.7


def test_names_what_is_not_computed(page):
    assert "Incomplete" not in page([0.5], [0.6], [0.7])
    text = page([0.5], [], [], lacking=["stones, Siamese"] * 2)
    assert "**Incomplete.**" in text
    assert "- stones, Siamese: 2\n" in text
    assert "Every trained method beats" not in text
    assert "| raw pixels | 50.0 ± 3.0 |" in text
