"""
Intents of short sentences
==========================

Tell what a sentence asks for, from one example of each new intent.

People say the same thing in many ways, and wrap it in words that say nothing: a greeting, a please.
TF-IDF and a singular value decomposition turn sentences into 40 numbers, without any label; from 12
intents a TripletTransformer learns which of the differences count, and then tells 8 other intents
apart. The script makes the sentences up. Ends in ten seconds::

    python examples/text.py
"""

import argparse

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from sk_fewshot import PrototypicalClassifier, TripletTransformer, episode_score
from sk_fewshot.plotting import EpisodeScoresDisplay

BASE = {
    "delivery": "parcel package courier shipment arrive",
    "refund": "refund money back return reimburse",
    "password": "password login reset forgot account",
    "weather": "weather rain forecast sunny umbrella",
    "alarm": "alarm wake clock snooze morning",
    "music": "song play playlist album louder",
    "taxi": "taxi ride driver pick airport",
    "flight": "flight plane seat boarding gate",
    "recipe": "recipe cook bake oven flour",
    "lights": "lights lamp dim bright switch",
    "doctor": "doctor appointment pain fever clinic",
    "bank": "balance transfer savings bank iban",
}
NOVEL = {
    "table": "table restaurant dinner reserve guests",
    "film": "film cinema ticket screening actor",
    "translate": "translate french word language mean",
    "news": "news headlines paper politics today",
    "fitness": "steps run workout calories training",
    "battery": "battery charge phone plug empty",
    "parking": "parking car garage space meter",
    "library": "book library borrow author shelf",
}
OPENINGS = [
    "hello",
    "hi there",
    "excuse me",
    "good evening",
    "sorry to ask but",
    "hey",
    "listen",
    "",
]
REQUESTS = [
    "could you please help me with",
    "i would like to know about",
    "can you tell me about",
    "i have a problem with",
    "i need something about",
    "what about",
    "it is about",
]
CLOSINGS = [
    "thank you very much",
    "as soon as possible",
    "if you can",
    "please",
    "it is urgent",
    "",
]


def sentences(intents, rng, n=30):
    """Make n sentences of each intent, each about two of its words."""
    texts = []
    for words in intents.values():
        for _ in range(n):
            two = rng.choice(words.split(), 2, replace=False)
            parts = [rng.choice(OPENINGS), rng.choice(REQUESTS), *two, rng.choice(CLOSINGS)]
            texts.append(" ".join(parts).strip())
    return np.array(texts), np.repeat(list(intents), n)


def draw(scores, path):
    """Save a picture of the scores; needs matplotlib."""
    import matplotlib

    matplotlib.use("agg")
    display = EpisodeScoresDisplay.from_scores(scores)
    display.figure_.tight_layout()
    display.figure_.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--picture", default="text.png", help="where to save the picture")
    path = parser.parse_args().picture
    rng = np.random.default_rng(0)
    (X_base, y_base), (X, y) = sentences(BASE, rng), sentences(NOVEL, rng)
    print("A sentence:", X[0], sep="\n    ")

    words = make_pipeline(TfidfVectorizer(), TruncatedSVD(40, random_state=0))
    words = FrozenEstimator(words.fit(np.concatenate([X_base, X])))  # all text, no label
    plain = PrototypicalClassifier(words, metric="cosine")

    encoder = make_pipeline(words, TripletTransformer(max_epochs=1, batches_per_epoch=100))
    trained = PrototypicalClassifier(encoder, random_state=0).meta_fit(X_base, y_base)

    episodes = {"n_way": 8, "n_query": 10, "n_episodes": 200, "random_state": 0}
    scores = {
        name: [episode_score(clf, X, y, n_shot=n_shot, **episodes) for n_shot in (1, 2, 5)]
        for name, clf in (("words alone", plain), ("learned from 12 intents", trained))
    }
    for name, of_shots in scores.items():
        print(f"\n{name}", *of_shots, sep="\n    ")

    trained.fit(X[::30], y[::30])  # one sentence of each new intent
    asked = "good evening what about cinema ticket please"
    print(f"\n{asked}\n    {trained.predict([asked])[0]}")
    try:
        draw(scores, path)
    except ImportError:
        print("No picture: it needs matplotlib.")
    else:
        print(f"Picture: {path}")


if __name__ == "__main__":
    main()
