"""What people expect of an estimator beside scikit-learn's checks."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import has_fit_parameter

import sk_fewshot
from sk_fewshot import PrototypicalClassifier, PrototypicalTransformer
from sk_fewshot._utils.doc_link import DOCS

ROOT = Path(__file__).resolve().parents[1]
ESTIMATORS = sorted(
    name for name in sk_fewshot.__all__ if name.endswith(("Classifier", "Transformer"))
)
TINY = {"max_epochs": 1, "batches_per_epoch": 2, "random_state": 0}


@pytest.fixture
def few_digits(digits):
    images, y = digits
    return images[:100].reshape(100, -1), y[:100]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_html_representation_links_to_the_page_of_the_estimator(name):
    html = estimator_html_repr(getattr(sk_fewshot, name)())
    (link,) = set(re.findall(r'href="(https://[^"#]+)', html))  # parameters link into the same page
    assert link == f"{DOCS}/api/generated/sk_fewshot.{name}.html"
    reference = (ROOT / "docs" / "api" / "index.md").read_text()
    assert re.search(rf"^   {name}$", reference, re.MULTILINE)


def test_a_subclass_elsewhere_has_no_link():
    class Mine(PrototypicalClassifier):
        pass

    assert DOCS not in estimator_html_repr(Mine())


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output(container, few_digits):
    library = pytest.importorskip(container, reason=f"needs {container}")
    X, y = few_digits
    encoder = PrototypicalTransformer(embedding_dim=3, **TINY).fit(X, y)
    expected = encoder.transform(X)
    pipeline = make_pipeline(StandardScaler(), clone(encoder)).set_output(transform=container)
    for transformer in (encoder.set_output(transform=container), pipeline.fit(X, y)):
        frame = transformer.transform(X)
        assert isinstance(frame, library.DataFrame)
        assert list(frame.columns) == [f"prototypicaltransformer{i}" for i in range(3)]
    np.testing.assert_array_equal(encoder.transform(X).to_numpy(), expected)
    clf = PrototypicalClassifier(FrozenEstimator(encoder)).fit(X, y)
    plain = PrototypicalClassifier("passthrough").fit(expected, y)
    np.testing.assert_array_equal(clf.predict(X), plain.predict(expected))


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_frames_are_examples(container, few_digits):
    library = pytest.importorskip(container, reason=f"needs {container}")
    X, y = few_digits
    frame = library.DataFrame({f"pixel{i}": X[:, i] for i in range(64)})
    encoder = PrototypicalTransformer(**TINY).fit(frame, y)
    np.testing.assert_array_equal(
        encoder.transform(frame), PrototypicalTransformer(**TINY).fit(X, y).transform(X)
    )
    assert list(encoder.feature_names_in_) == list(frame.columns)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_sample_weight_is_refused_not_ignored(name, few_digits):
    estimator, (X, y) = getattr(sk_fewshot, name)(), few_digits
    assert not has_fit_parameter(estimator, "sample_weight")
    with pytest.raises(TypeError, match="unexpected keyword argument 'sample_weight'"):
        estimator.fit(X, y, sample_weight=np.ones(len(y)))
    with pytest.raises(TypeError, match="unexpected keyword argument 'sample_weight'"):
        make_pipeline(estimator).fit(X, y, **{f"{name.lower()}__sample_weight": np.ones(len(y))})


def test_meta_estimators_are_told_that_weights_are_not_taken(few_digits):
    X, y = few_digits
    with pytest.raises(ValueError, match=r"PrototypicalClassifier doesn't support sample_weight"):
        AdaBoostClassifier(PrototypicalClassifier("passthrough")).fit(X, y)
    with config_context(enable_metadata_routing=True):
        clf = make_pipeline(PrototypicalClassifier("passthrough"))
        with pytest.raises(TypeError, match="sample_weight"):
            clf.fit(X, y, sample_weight=np.ones(len(y)))


def test_weights_of_a_score(few_digits):
    X, y = few_digits
    clf = PrototypicalClassifier("passthrough").fit(X[:20], y[:20])
    right = clf.predict(X) == y
    assert clf.score(X, y, sample_weight=right) == 1


def test_the_citation_names_this_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {sk_fewshot.__version__}\n" in citation
