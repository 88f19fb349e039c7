"""The worked example of CONTRIBUTING.md runs."""

import re
from pathlib import Path

import torch
from sklearn.datasets import make_blobs

CONTRIBUTING = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"


def test_worked_example_trains():
    (code,) = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(), re.DOTALL)
    names: dict = {"__name__": "worked_example"}
    exec(code, names)
    X, y = make_blobs(60, n_features=4, random_state=0)
    first, last = (epoch["train_loss"] for epoch in names["encoder"].fit(X, y).history_)
    assert last < first
    loss = names["CentreLoss"]()
    embeddings = torch.tensor([[0.0], [2.0], [7.0]])
    assert loss(embeddings, torch.tensor([4, 4, 9])) == torch.tensor(2 / 3)
