"""`set_output` and `transform_output` reach what users call, and nothing that is inside."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sk_fewshot
from sk_fewshot import PairClassifier, RelationClassifier, SiameseTransformer, episode_score
from sk_fewshot.metrics import make_pairs

TINY = {"max_epochs": 1, "batches_per_epoch": 2, "random_state": 0}
RNG = np.random.default_rng(0)
Y = np.repeat([0, 1, 2], 6)
X = RNG.normal(size=(3, 6))[Y] * 3 + RNG.normal(size=(18, 6))
PAIRS, SAME = make_pairs(X, Y, n_pairs=40, random_state=0)
ROUNDING = {"rtol": 1e-4, "atol": 1e-4}  # a frame has another memory layout
FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame}
TRANSFORMERS = [getattr(sk_fewshot, n) for n in sk_fewshot.__all__ if n.endswith("Transformer")]
CLASSIFIERS = [
    getattr(sk_fewshot, n)
    for n in sk_fewshot.__all__
    if n.endswith("Classifier") and n != "PairClassifier"
]
SETTINGS = pytest.mark.parametrize("setting", FRAMES)


def own_encoder(classifier):
    return SiameseTransformer if classifier is PairClassifier else classifier._default_encoder


ENCODERS = {
    "own": lambda own: own(**TINY),
    "Pipeline": lambda own: make_pipeline(StandardScaler(), own(**TINY)),
    "another": lambda own: make_pipeline(StandardScaler(), PCA(3)),
    "set_output": lambda own: make_pipeline(StandardScaler(), PCA(3)).set_output(
        transform="pandas"
    ),
}


@SETTINGS
@pytest.mark.parametrize("transformer", TRANSFORMERS)
def test_transform_returns_what_is_asked_for(transformer, setting):
    encoder = transformer(**TINY).fit(X, Y)
    with config_context(transform_output=setting):
        embeddings = encoder.transform(X)
    assert isinstance(embeddings, FRAMES[setting])
    assert list(embeddings.columns) == list(encoder.get_feature_names_out())
    np.testing.assert_array_equal(np.asarray(embeddings), encoder.transform(X))


@SETTINGS
@pytest.mark.parametrize("encoder", ["passthrough", *ENCODERS])
@pytest.mark.parametrize("classifier", [*CLASSIFIERS, PairClassifier])
def test_answers_do_not_depend_on_the_setting(classifier, encoder, setting):
    given, labels = (PAIRS, SAME) if classifier is PairClassifier else (X, Y)
    chosen = encoder if encoder == "passthrough" else ENCODERS[encoder](own_encoder(classifier))
    if classifier is RelationClassifier and encoder == "another":
        pytest.skip("training makes much of the rounding by which a frame's layout differs")
    clf = classifier(chosen, random_state=0)
    expected = clf.fit(given, labels).decision_function(given)
    with config_context(transform_output=setting):
        fresh = clone(clf).fit(given, labels)
        predicted, scores = fresh.predict(given), fresh.decision_function(given)
    assert type(predicted) is type(scores) is np.ndarray
    np.testing.assert_allclose(scores, expected, **ROUNDING)
    np.testing.assert_allclose(fresh.decision_function(given), expected, **ROUNDING)
    with config_context(transform_output=setting):
        np.testing.assert_allclose(clf.decision_function(given), expected, **ROUNDING)


@SETTINGS
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("at_fit", ["default", "pandas", "polars"])
def test_frozen_encoders_do_not_depend_on_the_setting(encoder, at_fit, setting):
    own = sk_fewshot.PrototypicalTransformer
    plain = FrozenEstimator(ENCODERS[encoder](own).fit(X, Y))
    with config_context(transform_output=at_fit):
        frozen = FrozenEstimator(ENCODERS[encoder](own).fit(X, Y))
    for classifier, given, labels in (
        (sk_fewshot.PrototypicalClassifier, X, Y),
        (PairClassifier, PAIRS, SAME),
    ):
        expected = classifier(plain).fit(given, labels).decision_function(given)
        with config_context(transform_output=setting):
            clf = classifier(frozen).fit(given, labels)
            np.testing.assert_allclose(clf.decision_function(given), expected, **ROUNDING)
        np.testing.assert_allclose(clf.decision_function(given), expected, **ROUNDING)


@SETTINGS
@pytest.mark.parametrize("encoder", ["own", "Pipeline", "another"])
def test_meta_fit_and_episodes_do_not_depend_on_the_setting(encoder, setting):
    chosen = ENCODERS[encoder](sk_fewshot.PrototypicalTransformer)
    clf = sk_fewshot.PrototypicalClassifier(chosen).meta_fit(X, Y)
    episodes = {"n_way": 2, "n_query": 3, "n_episodes": 5, "random_state": 0}
    expected = episode_score(clf, X, Y, **episodes).scores
    with config_context(transform_output=setting):
        clf = sk_fewshot.PrototypicalClassifier(chosen).meta_fit(X, Y)
        scores = episode_score(clf, X, Y, **episodes).scores
        slow = episode_score(clf, X, Y, scoring="balanced_accuracy", **episodes).scores
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_allclose(slow, expected)
