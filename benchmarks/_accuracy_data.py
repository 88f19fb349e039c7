"""The three class-disjoint splits that accuracy is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _accuracy_methods import DIGITS_IMAGES, FACE_BATCHES, OMNIGLOT_DRAWINGS, RELATION_DRAWINGS
from numpy.typing import NDArray
from olivetti import SHARED_FACES, MirrorAveraged, load_faces, prepared
from sklearn.datasets import load_digits
from sklearn.preprocessing import FunctionTransformer

from sk_fewshot.augmentation import normalize_moments, symmetries_as_classes
from sk_fewshot.datasets import fetch_omniglot

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Split:
    """Classes to learn to compare from, others to be tested on, and how."""

    about: str
    X: NDArray[np.float32]
    y: NDArray
    X_test: NDArray[np.float32]
    y_test: NDArray
    pixels: dict[str, NDArray[np.float32]]  # what is compared as it is: (n_test, d) each
    settings: list[tuple[str, int, int]]  # protocol, ways, shots
    n_query: int
    groups: NDArray | None = None  # (n_test,): alphabets, for the protocol "within alphabet"
    verified: bool = False  # whether the equal error rate of pairs is asked for


def digits() -> Split:
    """Split scikit-learn's digits; the eight symmetries of a digit are classes of their own."""
    X, y = load_digits(return_X_y=True)
    images = (X.reshape(-1, 8, 8) / 16).astype(np.float32)
    base = y < 5
    return Split(
        "Training on scikit-learn's digits 0 to 4 (8 x 8 pixels), each in its eight symmetries, "
        "which makes 40 classes; test on the digits 5 to 9. In training a method sees "
        f"{DIGITS_IMAGES:,} images, changed a little each time.",
        *symmetries_as_classes(images[base], y[base], kind="dihedral"),
        images[~base],
        y[~base],
        pixels={"raw pixels": flat(images[~base])},
        settings=[("mixed", 5, 1), ("mixed", 5, 5)],
        n_query=15,
    )


def olivetti() -> Split:
    """Split the Olivetti faces, prepared as in `olivetti.py`."""
    faces, person = load_faces()
    X, base = prepared(faces), person < 20
    mirrored = MirrorAveraged(FunctionTransformer()).fit(X, person)
    return Split(
        "Training on the Olivetti faces of people 0 to 19, 10 each, as 32 x 32 pixels of mean 0 "
        "and variance 1; test on people 20 to 39. A face is embedded as the mean of itself and "
        "its mirror image, prepared pixels too. Training takes "
        f"{FACE_BATCHES:,} batches of 40 faces. EER: equal error rate in %, over all pairs of "
        "test faces. Siamese is trained by the cross-entropy here.",
        X[base],
        person[base],
        X[~base],
        person[~base],
        pixels={"raw pixels": faces[~base], "prepared pixels": mirrored.transform(X[~base])},
        settings=[("mixed", way, shot) for way in (5, 20) for shot in (1, 5)],
        n_query=5,
        verified=True,
    )


def omniglot() -> Split:
    """Split Omniglot's two small background sets, normalized as in the recipe for it."""
    home = SHARED_DATA if SHARED_DATA.is_dir() else None
    options = {"data_home": home, "download_if_missing": home is None}
    base = fetch_omniglot("small1", image_size=105, **options)
    test = fetch_omniglot("small2", image_size=105, **options)
    raw = fetch_omniglot("small2", image_size=28, **options).data
    novel = ~np.isin(test.alphabet, base.alphabet)
    X_test = normalize_moments(test.images[novel], size=28)
    return Split(
        "Training on the 136 characters of the archive small1, 20 drawings each, in their eight "
        "symmetries, which makes 1,088 classes; test on the 106 characters that are only in "
        "small2, upright. Drawings are 28 x 28, freed of place and size (`normalize_moments`). "
        f"In training a method sees {OMNIGLOT_DRAWINGS:,} of them, changed a little each time; "
        f"Relation, which takes longer, {RELATION_DRAWINGS:,}. "
        "Mixed: the classes of an episode come from all alphabets. Within: from one alphabet, and "
        "20-way means all its characters where it has fewer.",
        *symmetries_as_classes(
            normalize_moments(base.images, size=28), base.target, kind="dihedral"
        ),
        X_test,
        test.target[novel],
        pixels={"raw pixels": raw[novel], "normalized pixels": flat(X_test)},
        settings=[
            (protocol, way, shot)
            for protocol in ("mixed", "within")
            for way in (5, 20)
            for shot in (1, 5)
        ],
        n_query=5,
        groups=test.alphabet[novel],
    )


SPLITS = {"digits": digits, "Olivetti": olivetti, "Omniglot": omniglot}


def missing(name: str) -> str | None:
    """Why a split cannot be had without a download; None where it can."""
    folder = {"Omniglot": SHARED_DATA / "omniglot", "Olivetti": SHARED_FACES}.get(name)
    return None if folder is None or folder.is_dir() else f"its data are not at {folder}"


def flat(images: NDArray) -> NDArray:
    """Images (n, d)."""
    return images.reshape(len(images), -1)
