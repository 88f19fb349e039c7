"""How honest the probabilities of PairClassifier are, beside scikit-learn's sigmoid calibration.

Both are fitted on the same pairs of digits, by the distance of their pixels or of discriminants
that other digits taught. Expected calibration error (15 bins of equal width) on 20,000 pairs of
digits that neither has seen; mean of 50 draws and its standard error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from sk_fewshot import PairClassifier
from sk_fewshot.metrics import make_pairs

N_BINS, N_DRAWS, N_TEST = 15, 50, 20_000


def calibration_error(same: NDArray, probability: NDArray) -> float:
    """Mean distance of the probability from the share of same pairs, bin by bin."""
    bins = np.minimum((probability * N_BINS).astype(int), N_BINS - 1)
    return float(np.abs(np.bincount(bins, probability - same)).sum() / len(same))


def errors(kind: str, n_pairs: int, seed: int) -> tuple[float, float]:
    """Calibration errors of ours and theirs."""
    X, y = load_digits(return_X_y=True)
    third = np.random.default_rng(seed).permutation(len(X)) % 3
    if kind == "discriminants":
        X = LinearDiscriminantAnalysis().fit(X[third == 0], y[third == 0]).transform(X)
    fitted, unseen = (
        make_pairs(X[third == i], y[third == i], n_pairs=n, random_state=seed)
        for i, n in ((1, n_pairs), (2, N_TEST))
    )
    ours = PairClassifier("passthrough").fit(*fitted).predict_proba(unseen[0])
    near, far = (np.linalg.norm(p[:, 0] - p[:, 1], axis=1)[:, None] for p, _ in (fitted, unseen))
    linear = FrozenEstimator(LogisticRegression().fit(near, fitted[1]))  # any linear score will do
    sigmoid = CalibratedClassifierCV(linear, method="sigmoid").fit(near, fitted[1])
    theirs = sigmoid.predict_proba(far)
    return calibration_error(unseen[1], ours[:, 1]), calibration_error(unseen[1], theirs[:, 1])


def main() -> None:
    """Print a row a kind of embedding and number of pairs."""
    print(f"{'':14}pairs  PairClassifier   scikit-learn's sigmoid")
    for kind in ("pixels", "discriminants"):
        for n_pairs in (200, 1000):
            found = np.array([errors(kind, n_pairs, seed) for seed in range(N_DRAWS)])
            deviation = found.std(axis=0, ddof=1) / N_DRAWS**0.5
            means = zip(found.mean(axis=0), deviation, strict=True)
            cells = [f"{mean:.4f} ± {error:.4f}" for mean, error in means]
            print(f"{kind:14}{n_pairs:5}  {cells[0]}  {cells[1]}", flush=True)


if __name__ == "__main__":
    main()
