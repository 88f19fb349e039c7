"""The first guide page takes a folder of images to a working classifier in 15 lines."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

pytest.importorskip("PIL", reason="needs Pillow to read images")

PAGE = Path(__file__).resolve().parents[1] / "docs" / "getting_started.md"


@pytest.fixture
def photos(tmp_path):
    """Twelve classes of twelve images: a pattern for each, shifted and with noise."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for label in range(12):
        pattern = gaussian_filter(rng.normal(size=(32, 32)), 4)
        pattern = (pattern - pattern.min()) / np.ptp(pattern)
        folder = tmp_path / "photos" / f"class_{label:02}"
        folder.mkdir(parents=True)
        for i in range(12):
            moved = shift(pattern, rng.integers(-3, 4, 2), mode="nearest")
            noisy = np.clip(moved + rng.normal(scale=0.1, size=moved.shape), 0, 1)
            Image.fromarray((255 * noisy).astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path


def test_exactly_the_lines_of_the_page(photos, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    monkeypatch.chdir(photos)
    names: dict = {"__name__": "getting_started"}
    exec(code, names)
    clf, X, y, queries = (names[name] for name in ("clf", "X", "y", "queries"))
    assert sorted(clf.classes_) == sorted(set(y[queries]))
    assert len(clf.classes_) == 5
    assert clf.score(X[queries], y[queries]) > 0.8
    assert "600 episodes, 5-way 1-shot" in capsys.readouterr().out
