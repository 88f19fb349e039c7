"""
Few training classes
====================

An encoder that learns to compare from five classes learns what tells these five apart, and new
classes look alike to it. What helps is more classes, and the cheapest come from the images
themselves: each symmetry of a class counts as a class of its own
(:func:`~sk_fewshot.augmentation.symmetries_as_classes`), and no image is shown twice as it was
(:class:`~sk_fewshot.augmentation.RandomAffine`).

Here the digits 0 to 4 are for training and 5 to 9 are new, one example of each. Each step adds to
the one before. Takes two to three minutes on one core, because the first network gets all the
epochs of the defaults: the claim is about them.
"""

# %%
# Five classes of 8 x 8 pixels.
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from torch import nn

from sk_fewshot import PrototypicalClassifier, PrototypicalTransformer, episode_score
from sk_fewshot.augmentation import RandomAffine, symmetries_as_classes

digits = load_digits()
X, y = digits.images / 16, digits.target
X_base, y_base, X_novel, y_novel = X[y < 5], y[y < 5], X[y >= 5], y[y >= 5]


def accuracy(clf):
    """5-way accuracy on the new digits from one example of each, over 1,000 episodes."""
    return episode_score(clf, X_novel, y_novel, n_way=5, n_episodes=1000, random_state=0)


scores = {"raw pixels": accuracy(PrototypicalClassifier("passthrough"))}

# %%
# Conv4 with every default, on the five classes alone, does not beat raw pixels.
plain = PrototypicalTransformer(random_state=0)
scores["Conv4, five classes"] = accuracy(PrototypicalClassifier(plain).meta_fit(X_base, y_base))

# %%
# The eight symmetries of the square make forty classes of the five. A batch is four times as large,
# and a quarter of the epochs will do.
X_forty, y_forty = symmetries_as_classes(X_base, y_base, kind="dihedral")
plain.set_params(max_epochs=5)
scores["+ symmetries"] = accuracy(PrototypicalClassifier(plain).meta_fit(X_forty, y_forty))

# %%
# Turned, shifted and scaled a little, at random, each time.
shaken = PrototypicalTransformer(augment=RandomAffine(), max_epochs=5, random_state=0)
scores["+ augmentation"] = accuracy(PrototypicalClassifier(shaken).meta_fit(X_forty, y_forty))


# %%
# A smaller network, of two convolutions; the unsquared distance, and weight decay.
def small_network():
    """Two convolutions, one pooling."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
    )


small = PrototypicalTransformer(
    module=small_network,
    metric="euclidean",
    augment=RandomAffine(),
    optimizer="adamw",
    net_params={"optimizer__weight_decay": 0.05},
    max_epochs=5,
    random_state=0,
)
clf = PrototypicalClassifier(small, metric="euclidean").meta_fit(X_forty, y_forty)
scores["+ a smaller network"] = accuracy(clf)

# %%
for name, score in scores.items():
    print(f"{name:26}{score.mean:.3f} ± {score.confidence_interval:.3f}")

# %%
# And as a picture, with the 95% intervals.
figure, ax = plt.subplots(figsize=(6.4, 3), layout="constrained")
means = [score.mean for score in scores.values()]
intervals = [score.confidence_interval for score in scores.values()]
ax.errorbar(means, list(scores), xerr=intervals, fmt="o", capsize=3)
ax.invert_yaxis()
ax.set_xlabel("accuracy, 5-way 1-shot")
plt.show()
