"""
Choosing a method by grid search
================================

A grid search over metric-learning methods inside a Pipeline, on scikit-learn's digits.

StandardScaler, a learned embedding and the nearest neighbour stand in one Pipeline. GridSearchCV
chooses the method itself and its metric, mining, margin and loss, by cross-validation on 300
digits; the winner labels the other 1,497. Ends in well under a minute on two cores::

    python examples/digits_pipeline.py
"""

import argparse
import time

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sk_fewshot import (
    AMSoftmaxTransformer,
    ArcFaceTransformer,
    SiameseTransformer,
    SphereFaceTransformer,
    TripletTransformer,
)

BRIEF = {"max_epochs": 1, "batches_per_epoch": 100, "random_state": 0}
GRID = [
    {"embed": ["passthrough"]},
    {"embed": [SiameseTransformer(**BRIEF)], "embed__metric": ["euclidean", "cosine"]},
    {"embed": [SiameseTransformer(loss="bce", **BRIEF)], "embed__metric": ["manhattan", "cosine"]},
    {
        "embed": [TripletTransformer(**BRIEF)],
        "embed__mining": ["hard", "semihard"],
        "embed__margin": [0.2, 0.5],
    },
    {"embed": [TripletTransformer(loss="ratio", **BRIEF)]},
    {"embed": [SphereFaceTransformer(**BRIEF)]},
    {"embed": [AMSoftmaxTransformer(**BRIEF)], "embed__margin": [0.1, 0.35]},
    {"embed": [ArcFaceTransformer(**BRIEF)], "embed__margin": [0.1, 0.5]},
]


def described(parameters):
    """The method of a candidate, and what the grid set."""
    embed = parameters["embed"]
    if embed == "passthrough":
        return "pixels"
    loss = {"loss": embed.loss} if hasattr(embed, "loss") else {}
    own = {k.removeprefix("embed__"): v for k, v in parameters.items() if k != "embed"}
    name = type(embed).__name__.removesuffix("Transformer")
    return f"{name}({', '.join(f'{k}={v}' for k, v in (loss | own).items())})"


def draw(names, results, path):
    """Save a bar chart of the candidates; needs matplotlib."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 5))
    order = results["mean_test_score"].argsort()
    axis.barh(
        [names[i] for i in order],
        results["mean_test_score"][order],
        xerr=results["std_test_score"][order],
    )
    axis.set_xlim(left=0.5)
    axis.set_xlabel("accuracy, 3-fold cross-validation on 300 digits")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--picture", default="digits_pipeline.png", help="where to save the picture"
    )
    path = parser.parse_args().picture
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, train_size=300, stratify=y, random_state=0
    )
    pipeline = Pipeline(
        [("scale", StandardScaler()), ("embed", "passthrough"), ("label", KNeighborsClassifier(1))]
    )
    start = time.perf_counter()
    search = GridSearchCV(pipeline, GRID, cv=3, n_jobs=2).fit(X_train, y_train)
    results = search.cv_results_
    names = [described(parameters) for parameters in results["params"]]
    print(f"{'':52}accuracy, 3 folds")
    for i in results["rank_test_score"].argsort(kind="stable"):
        mean, spread = results["mean_test_score"][i], results["std_test_score"][i]
        print(f"{names[i]:52}{mean:.3f} ± {spread:.3f}")
    print(f"\n{len(names)} candidates in {time.perf_counter() - start:.0f} s.")
    raw = pipeline.fit(X_train, y_train).score(X_test, y_test)
    print(f"On the other {len(y_test)} digits: {names[search.best_index_]} ", end="")
    print(f"{search.score(X_test, y_test):.3f}, pixels {raw:.3f}.")
    try:
        draw(names, results, path)
    except ImportError:
        print("No picture: it needs matplotlib.")
    else:
        print(f"Picture of the candidates: {path}")


if __name__ == "__main__":
    main()
