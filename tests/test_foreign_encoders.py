"""Encoders of other libraries under our heads: text, images, tables, signals."""

import importlib
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from torch import nn

from sk_fewshot import (
    EpisodeSplit,
    MatchingClassifier,
    PairClassifier,
    PrototypicalClassifier,
    PrototypicalTransformer,
    RelationClassifier,
    SiameseClassifier,
    SiameseTransformer,
    TripletTransformer,
    episode_score,
)
from sk_fewshot.encoders import Conv4, encode

BRIEF = {"max_epochs": 1, "batches_per_epoch": 5, "random_state": 0}
CLASSIFIERS = [PrototypicalClassifier, MatchingClassifier, RelationClassifier, SiameseClassifier]

PHRASES = {
    "greet": ["hello {}", "good morning {}", "hi there {}"],
    "leave": ["goodbye {}", "see you later {}", "good night {}"],
    "order": ["please bring me {}", "i would like {}", "could i have {}"],
    "pay": ["what does {} cost", "the bill for {} please", "how much is {}"],
}
FILLERS = ["anna", "ben", "a coffee", "two teas", "the soup"]
SENTENCES = [
    phrase.format(f) for phrases in PHRASES.values() for phrase in phrases for f in FILLERS
]
INTENTS = np.repeat(list(PHRASES), 15)


class CharacterTriples:
    """A model with the interface of SentenceTransformer."""

    def encode(self, sentences):
        assert not isinstance(sentences, str)
        embeddings = np.zeros((len(sentences), 64), dtype=np.float32)
        for row, sentence in zip(embeddings, sentences):
            for i in range(len(sentence) - 2):
                row[sum(map(ord, sentence[i : i + 3])) % 64] += 1
        return embeddings


MODEL = FrozenEstimator(FunctionTransformer(CharacterTriples().encode))
LATENT_SEMANTICS = make_pipeline(TfidfVectorizer(), TruncatedSVD(8, random_state=0))


@pytest.mark.parametrize("encoder", [MODEL, LATENT_SEMANTICS], ids=["model", "tf-idf"])
def test_text_in_every_form_is_the_same(encoder):
    clf = PrototypicalClassifier(encoder, metric="cosine")
    expected = clf.fit(SENTENCES, INTENTS).predict_proba(SENTENCES)
    for form in (np.array, partial(np.array, dtype=object), pd.Series, tuple):
        given = form(SENTENCES)
        np.testing.assert_array_equal(clf.fit(given, INTENTS).predict_proba(given), expected)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
@pytest.mark.parametrize("encoder", [MODEL, LATENT_SEMANTICS], ids=["model", "tf-idf"])
def test_every_head_goes_over_an_encoder_of_text(encoder, classifier):
    clf = classifier(encoder).fit(SENTENCES, INTENTS)
    assert clf.predict_proba(["hello anna"]).shape == (1, 4)
    enrolled = clf.partial_fit(["thanks a lot", "thank you"], ["thank", "thank"])
    assert list(enrolled.classes_) == [*PHRASES, "thank"]


def test_episodes_of_text():
    clf = PrototypicalClassifier(MODEL, metric="cosine")
    episodes = {"n_way": 4, "n_shot": 3, "n_query": 5, "n_episodes": 20, "random_state": 0}
    scores = episode_score(clf, SENTENCES, INTENTS, **episodes)
    one_by_one = cross_val_score(clf, SENTENCES, INTENTS, cv=EpisodeSplit(**episodes))
    np.testing.assert_array_equal(scores.scores, one_by_one)
    assert scores.mean > 0.4  # chance is a quarter


def test_an_encoder_of_text_is_trained_and_searched():
    encoder = make_pipeline(*LATENT_SEMANTICS, PrototypicalTransformer(**BRIEF))
    base = np.isin(INTENTS, ["greet", "order"])
    clf = PrototypicalClassifier(encoder).meta_fit(np.array(SENTENCES)[base], INTENTS[base])
    assert clf.fit(SENTENCES, INTENTS).score(SENTENCES, INTENTS) > 0.5
    search = GridSearchCV(
        PrototypicalClassifier(LATENT_SEMANTICS),
        {"encoder__truncatedsvd__n_components": [2, 8]},
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        error_score="raise",
    )
    assert search.fit(SENTENCES, INTENTS).best_score_ > 0.4


def test_a_frozen_model_is_not_copied():
    model = CharacterTriples()
    clf = PrototypicalClassifier(FrozenEstimator(FunctionTransformer(model.encode)))
    fitted = GridSearchCV(clf, {"metric": ["cosine"]}, cv=2).fit(SENTENCES, INTENTS).best_estimator_
    assert fitted.encoder_.estimator.func.__self__ is model


def test_sparse_embeddings_and_text_without_an_encoder_are_refused():
    clf = PrototypicalClassifier(TfidfVectorizer())
    with pytest.raises(TypeError, match=r"Sparse data was passed for encoder.transform\(X\)"):
        clf.fit(SENTENCES, INTENTS)
    pipeline = make_pipeline(TfidfVectorizer(), PrototypicalClassifier("passthrough"))
    with pytest.raises(TypeError, match="Sparse data was passed for X, but dense data is required"):
        pipeline.fit(SENTENCES, INTENTS)
    for encoder in (None, "passthrough"):
        with pytest.raises(TypeError, match="X must hold numbers, got text"):
            PrototypicalClassifier(encoder).fit(SENTENCES, INTENTS)


PAIRS = np.array([[a, b] for a in SENTENCES[::4] for b in SENTENCES[1::4]])
SAME = np.array([a == b for a in INTENTS[::4] for b in INTENTS[1::4]]).astype(int)


@pytest.mark.parametrize(
    "encoder",
    [MODEL, LATENT_SEMANTICS, make_pipeline(*LATENT_SEMANTICS, SiameseTransformer(**BRIEF))],
    ids=["model", "tf-idf", "trained"],
)
def test_pairs_of_text(encoder):
    clf = PairClassifier(encoder, random_state=0)
    expected = clf.fit(PAIRS, SAME).predict_proba(PAIRS)
    assert expected[SAME == 1, 1].mean() > expected[SAME == 0, 1].mean() + 0.03
    for form in (PAIRS.tolist(), PAIRS.astype(object), pd.DataFrame(PAIRS)):
        np.testing.assert_array_equal(clf.fit(form, SAME).predict_proba(form), expected)


@pytest.mark.parametrize("X", [SENTENCES, PAIRS[:, :1], np.eye(4)[:, :2]])
def test_what_are_no_pairs_of_text(X):
    with pytest.raises(ValueError, match=r"X must hold pairs .*\(n_pairs, 2\) where they are text"):
        PairClassifier(MODEL).fit(X, np.arange(len(X)) % 2)


@pytest.fixture(scope="module")
def images():
    """Colour images (24, 3, 8, 10) of three classes."""
    y = np.repeat(["a", "b", "c"], 8)
    return np.random.default_rng(0).random((24, 3, 8, 10), dtype=np.float32), y


def test_a_function_gets_images_as_they_are(images):
    X, y = images
    network = Conv4((3, 8, 10)).eval()
    clf = PrototypicalClassifier(FrozenEstimator(FunctionTransformer(partial(encode, network))))
    prototypes = clf.fit(X, y).prototypes_
    np.testing.assert_allclose(prototypes[0], encode(network, X)[:8].mean(0), rtol=1e-5)
    np.testing.assert_array_equal(clf.fit(torch.from_numpy(X), y).prototypes_, prototypes)
    scores = episode_score(clf, X, y, n_way=3, n_query=5, n_episodes=5, random_state=0)
    assert len(scores.scores) == 5


def test_images_reach_the_first_step_of_a_pipeline(images):
    X, y = images
    encoder = make_pipeline(PrototypicalTransformer(**BRIEF), PCA(2))
    clf = PrototypicalClassifier(encoder).meta_fit(X, y).fit(X, y)
    assert isinstance(clf.encoder_.estimator[0].module_, Conv4)
    for flattening in (PCA(2), make_pipeline(StandardScaler(), PCA(2)), ("passthrough", PCA(2))):
        encoder = make_pipeline(*flattening) if isinstance(flattening, tuple) else flattening
        assert PrototypicalClassifier(encoder).fit(X, y).prototypes_.shape == (3, 2)


def test_an_encoder_that_returns_images_is_refused(images):
    clf = PrototypicalClassifier(FunctionTransformer(np.log1p))
    with pytest.raises(ValueError, match=r"\(n_samples, embedding_dim\), got shape \(24, 3, 8, 10"):
        clf.fit(*images)


@pytest.fixture(scope="module")
def timm():
    """The library, or a skip: its torchvision needs the very torch that it was built for."""
    try:
        return importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"timm cannot be imported: {error}")


def test_a_model_of_timm_is_trained(timm, images):
    X, y = np.tile(images[0], (1, 1, 4, 4)), images[1]
    encoder = TripletTransformer(
        module=timm.create_model,
        module_params={"model_name": "resnet10t", "pretrained": False, "num_classes": 0},
        optimizer="adamw",
        **BRIEF,
    ).fit(X, y)
    assert encoder.transform(X).shape == (24, 512)
    again = TripletTransformer(**encoder.get_params()).fit(X, y)
    np.testing.assert_array_equal(again.transform(X), encoder.transform(X))


def test_a_model_of_timm_is_used_as_it_is(timm, images):
    X, y = np.tile(images[0], (1, 1, 4, 4)), images[1]
    network = timm.create_model("resnet10t", pretrained=False, num_classes=0).eval()
    clf = PrototypicalClassifier(FrozenEstimator(FunctionTransformer(partial(encode, network))))
    assert clf.fit(X, y).prototypes_.shape == (3, 512)
    assert clf.predict(X[:5]).shape == (5,)


def test_a_model_of_transformers_under_a_head(tmp_path):
    transformers = pytest.importorskip("transformers")
    words = sorted({word for sentence in SENTENCES for word in sentence.split()})
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]))
    tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    torch.manual_seed(0)
    model = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=len(words) + 4,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
        )
    ).eval()

    def mean_of_tokens(sentences):
        tokens = tokenizer(list(sentences), padding=True, return_tensors="pt")
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state  # (n, n_tokens, d)
        mask = tokens["attention_mask"].unsqueeze(-1)
        return ((states * mask).sum(1) / mask.sum(1)).numpy()

    clf = PrototypicalClassifier(FrozenEstimator(FunctionTransformer(mean_of_tokens)))
    assert clf.fit(SENTENCES, INTENTS).prototypes_.shape == (4, 32)
    assert clf.score(SENTENCES, INTENTS) > 0.5
    np.testing.assert_array_equal(clf.predict(np.array(SENTENCES)), clf.predict(SENTENCES))


@pytest.fixture(scope="module")
def table():
    """Things by their weight, price and material, which alone says nothing; six kinds."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 20)
    frame = pd.DataFrame(
        {
            "weight": 1000 * (1 + y % 3) + 200 * rng.normal(size=120),
            "price": 0.1 * (1 + y // 3) + 0.02 * rng.normal(size=120),
            "material": np.where(rng.random(120) < 0.8, np.take(["oak", "ash"], y % 2), "fir"),
        }
    )
    return frame, np.take(list("abcdef"), y)


def columns():
    return make_column_transformer(
        (StandardScaler(), ["weight", "price"]),
        (OneHotEncoder(handle_unknown="ignore"), ["material"]),
        sparse_threshold=0,
    )


def test_a_table_goes_through_its_columns_to_a_head(table):
    X, y = table
    clf = PrototypicalClassifier(columns()).fit(X[::10], y[::10])
    assert clf.score(X, y) > 0.9
    assert list(clf.feature_names_in_) == ["weight", "price", "material"]
    with pytest.raises(ValueError, match=r"columns are missing: \{'price'\}"):
        clf.predict(X.drop(columns="price"))
    raw = PrototypicalClassifier("passthrough").fit(X[["weight", "price"]][::10], y[::10])
    assert clf.score(X, y) > raw.score(X[["weight", "price"]], y)


def test_a_table_trains_an_encoder(table):
    X, y = table
    base = y < "e"
    encoder = make_pipeline(columns(), TripletTransformer(**BRIEF))
    clf = PrototypicalClassifier(encoder).meta_fit(X[base], y[base])
    novel = X[~base].reset_index(drop=True)
    clf.fit(novel[::5], y[~base][::5])
    assert clf.score(novel, y[~base]) > 0.9
    model = make_pipeline(columns(), PrototypicalClassifier(PrototypicalTransformer(**BRIEF)))
    assert model.fit(X, y).score(X, y) > 0.9


def signals(y, rng, *, n_channels=None):
    """Noisy waves (n, 96) of a frequency a class, each with a phase of its own."""
    shape = (len(y), 96) if n_channels is None else (len(y), n_channels, 96)
    y = y.reshape(-1, *[1] * (len(shape) - 1))
    phases = rng.uniform(0, 2 * np.pi, (*shape[:-1], 1))
    waves = np.sin(2 * np.pi * (0.05 + 0.015 * y) * np.arange(96) + phases)
    return (waves + 0.5 * rng.normal(size=shape)).astype(np.float32)


def convolutions(n_channels):
    return nn.Sequential(
        nn.Conv1d(n_channels, 32, 9),
        nn.ReLU(),
        nn.Conv1d(32, 32, 9, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
    )


@pytest.mark.parametrize("n_channels", [None, 2])
def test_convolutions_of_signals_beat_raw_samples(n_channels):
    y = np.repeat(np.arange(25), 15)
    X = signals(y, np.random.default_rng(0), n_channels=n_channels)
    novel = y % 5 == 2
    reshaped = nn.Unflatten(1, (1, -1)) if n_channels is None else nn.Flatten(1, 2)
    module = nn.Sequential(reshaped, convolutions(n_channels or 1))
    encoder = PrototypicalTransformer(
        module=module, max_epochs=1, batches_per_epoch=50, random_state=0
    )
    clf = PrototypicalClassifier(encoder).meta_fit(X[~novel], y[~novel])
    episodes = {"n_way": 5, "n_query": 5, "n_episodes": 50, "random_state": 0}
    raw = episode_score(PrototypicalClassifier("passthrough"), X[novel], y[novel], **episodes)
    assert episode_score(clf, X[novel], y[novel], **episodes).mean > raw.mean + 0.3
