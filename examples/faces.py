"""
Faces: verify, identify, turn strangers away
============================================

Verify and identify people whom the network never saw, on Olivetti faces.

An encoder learns to compare the faces of 20 people. Then, with no further training,

- verification: are two photographs of the same person? A threshold and a calibrated probability are
  found on pairs of 10 other people and tried on pairs of the last 10;
- identification: which of 20 enrolled people is it? Each is enrolled with 1 or 5 photographs;
- strangers at a door: five people are enrolled, and everybody else is to be turned away. The
  threshold comes from photographs of eight people, and is tried on seven others.

Ends in about half a minute. scikit-learn downloads the faces (4 MB) the first time::

    python examples/faces.py
"""

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_olivetti_faces
from sklearn.frozen import FrozenEstimator

from sk_fewshot import AMSoftmaxTransformer, PairClassifier, PrototypicalClassifier, episode_score
from sk_fewshot.augmentation import RandomAffine
from sk_fewshot.encoders import Conv4
from sk_fewshot.metrics import equal_error_rate, make_pairs, true_accept_rate

SHARED_FACES = Path(__file__).resolve().parents[2] / "shared" / "data" / "scikit_learn_data"


def load_faces():
    """Faces (400, 32, 32), each of mean 0 and variance 1, and their people, 0 to 39."""
    home = SHARED_FACES if SHARED_FACES.is_dir() else None
    bunch = fetch_olivetti_faces(data_home=home, download_if_missing=home is None)
    faces = bunch.images.astype(np.float32).reshape(-1, 32, 2, 32, 2).mean((2, 4))
    faces -= faces.mean((1, 2), keepdims=True)
    return faces / faces.std((1, 2), keepdims=True), bunch.target


def trained(X, y):
    """An encoder that has learned to compare these people, frozen."""
    encoder = AMSoftmaxTransformer(
        module=Conv4,
        module_params={"n_filters": 32, "n_poolings": 3},
        augment=RandomAffine(translate=0.05, padding_mode="border", flip=0.5),
        max_epochs=4,
        batches_per_epoch=50,
        verbose=1,
        random_state=0,
    )
    return FrozenEstimator(encoder.fit(X, y))


def door(embeddings, people, false_accept_rate, n_rounds=100):
    """Shares of strangers let in, and of enrolled people turned away or taken for another.

    Each round draws who lives behind the door, who calibrates it, and who comes to it.
    """
    rng = np.random.default_rng(0)
    clf = PrototypicalClassifier("passthrough", metric="cosine")
    shares = []
    for _ in range(n_rounds):
        enrolled, calibrating, strangers = (
            rng.permutation(np.flatnonzero(np.isin(people, drawn)))
            for drawn in np.split(rng.permutation(np.unique(people)), [5, 13])
        )
        _, place = np.unique(people[enrolled], return_inverse=True)
        order = enrolled[place.argsort(kind="stable")].reshape(5, 10)  # people x photographs
        support, known = order[:, :5].ravel(), order[:, 5:].ravel()
        clf.fit(embeddings[support], people[support])
        clf.calibrate_rejection(embeddings[calibrating], false_accept_rate=false_accept_rate)
        of_strangers, of_known = clf.predict(embeddings[strangers]), clf.predict(embeddings[known])
        rejected = of_known == -1
        wrong = ~rejected & (of_known != people[known])
        shares.append([(of_strangers != -1).mean(), rejected.mean(), wrong.mean()])
    return np.mean(shares, axis=0)


def draw(verifiers, X_pairs, y_pairs, path):
    """Save the error curves and the pairs that the encoder finds hardest; needs matplotlib."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from sklearn.metrics import DetCurveDisplay

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), width_ratios=(1.2, 1))
    for name, verifier in verifiers.items():
        DetCurveDisplay.from_estimator(verifier, X_pairs, y_pairs, name=name, ax=left)
    left.set_title("Verification: errors at every threshold")
    p = verifiers["embeddings"].predict_proba(X_pairs)[:, 1]
    worst = np.argsort(np.where(y_pairs == 1, p, 1 - p))
    worst = [*worst[y_pairs[worst] == 1][:3], *worst[y_pairs[worst] == 0][:3]]
    rows = np.vstack([np.hstack(X_pairs[i]) for i in worst])
    right.imshow(rows, cmap="gray")
    right.set_axis_off()
    right.set_title("Hardest pairs: three same, three different")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--picture", default="faces.png", help="where to save the picture")
    path = parser.parse_args().picture
    X, y = load_faces()
    train, calibration, test = y < 20, (y >= 20) & (y < 30), y >= 30

    start = time.perf_counter()
    encoders = {"pixels": "passthrough", "embeddings": trained(X[train], y[train])}
    print(f"Learned to compare the faces of 20 people in {time.perf_counter() - start:.0f} s.\n")

    X_calibration, y_calibration = make_pairs(X[calibration], y[calibration])
    X_pairs, y_pairs = make_pairs(X[test], y[test])
    print(f"Verification, {len(y_pairs)} pairs of 10 people, {y_pairs.sum()} of them the same:\n")
    print(f"{'':12}{'equal error rate':>18}{'accepted at 1% false':>22}{'accuracy':>10}")
    verifiers = {
        name: PairClassifier(encoder).fit(X_calibration, y_calibration)
        for name, encoder in encoders.items()
    }
    for name, verifier in verifiers.items():
        alike = verifier.decision_function(X_pairs)
        print(
            f"{name:12}{equal_error_rate(y_pairs, alike):18.3f}"
            f"{true_accept_rate(y_pairs, alike):22.3f}{verifier.score(X_pairs, y_pairs):10.3f}"
        )

    print("\nIdentification, accuracy among 20 people over 500 episodes:\n")
    print(f"{'':12}{'1 photograph':>16}{'5 photographs':>16}")
    new = calibration | test
    for name, encoder in encoders.items():
        scores = (
            episode_score(
                PrototypicalClassifier(encoder),
                X[new],
                y[new],
                n_way=20,
                n_shot=n_shot,
                n_query=5,
                n_episodes=500,
                random_state=0,
            )
            for n_shot in (1, 5)
        )
        print(
            f"{name:12}" + "".join(f"{s.mean:8.3f} ± {s.confidence_interval:.3f}" for s in scores)
        )

    print("\nStrangers at a door, 5 people enrolled with 5 photographs each, over 100 draws:\n")
    print(f"{'':12}{'calibrated to':>15}{'let in':>10}{'turned away':>14}{'mistaken':>11}")
    for name, encoder in encoders.items():
        faces = X[new].reshape(len(y[new]), -1) if name == "pixels" else encoder.transform(X[new])
        for rate in (0.02, 0.05):
            let_in, turned_away, mistaken = door(faces, y[new], rate)
            print(f"{name:12}{rate:15.0%}{let_in:10.1%}{turned_away:14.1%}{mistaken:11.1%}")

    try:
        draw(verifiers, X_pairs, y_pairs, path)
    except ImportError:
        print("\nNo picture: it needs matplotlib.")
    else:
        print(f"\nPicture of the error curves and the hardest pairs: {path}")


if __name__ == "__main__":
    main()
