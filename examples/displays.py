"""
Displays
========

All pictures of :mod:`sk_fewshot.plotting` on the digits: a short training, one episode, its
embeddings, the nearest neighbours, and scores against shots.
"""

# %%
# An encoder learns to compare on the digits 0 to 4, in all their symmetries. Two classes are held
# out to see whether it learns what also tells other classes apart.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sk_fewshot import MatchingClassifier, MatchingTransformer
from sk_fewshot.augmentation import symmetries_as_classes
from sk_fewshot.plotting import (
    EmbeddingDisplay,
    EpisodeDisplay,
    EpisodeScoresDisplay,
    NeighborsDisplay,
    TrainingCurveDisplay,
)

digits = load_digits()
X, y = digits.images / 16, digits.target
X_base, y_base = symmetries_as_classes(X[y < 5], y[y < 5], kind="dihedral")
X_novel, y_novel = X[y >= 5], y[y >= 5]
encoder = MatchingTransformer(
    max_epochs=8, batches_per_epoch=20, validation_classes=0.2, random_state=0
)
clf = MatchingClassifier(encoder).meta_fit(X_base, y_base)
TrainingCurveDisplay.from_estimator(clf)
plt.show()

# %%
# One episode: two examples each of 5 to 9, and thirty queries. A wrong prediction is red, with the
# true class below it; the percentage is the probability of the predicted class.
rows = np.concatenate([np.flatnonzero(y_novel == k)[:8] for k in range(5, 10)]).reshape(5, 8)
support, queries = rows[:, :2].ravel(), rows[:, 2:].ravel()
clf.fit(X_novel[support], y_novel[support])
EpisodeDisplay.from_estimator(
    clf, X_novel[support], y_novel[support], X_novel[queries], y_novel[queries], cmap="gray_r"
)
plt.show()

# %%
# The same classes as the encoder sees them, on the two principal components of the embeddings. A
# cross is the mean of a class's two support examples.
EmbeddingDisplay.from_estimator(clf, X_novel, y_novel)
plt.show()

# %%
# Which support images are nearest to a query, and how far they are.
NeighborsDisplay.from_estimator(
    clf,
    X_novel[queries[::7]],
    X_novel[support],
    y=y_novel[queries[::7]],
    y_support=y_novel[support],
    cmap="gray_r",
)
plt.show()

# %%
# Accuracy against shots, beside raw pixels.
setting = {"shots": (1, 2, 5, 10), "n_episodes": 200, "random_state": 0}
display = EpisodeScoresDisplay.from_estimator(
    MatchingClassifier("passthrough"), X_novel, y_novel, name="raw pixels", **setting
)
EpisodeScoresDisplay.from_estimator(
    clf, X_novel, y_novel, name="Matching Network", ax=display.ax_, **setting
)
plt.show()
