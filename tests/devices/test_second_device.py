"""Everything on a second device, with and without float64; see second_device.py.

The tests are in on_twin/: as they patch torch, each file runs in a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

HERE = Path(__file__).parent
FILES = sorted(path.name for path in (HERE / "on_twin").glob("*.py") if path.stem != "conftest")


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch takes no backends written in Python",
)
@pytest.mark.parametrize("mode", ["float64", "no float64"])
@pytest.mark.parametrize("file", FILES)
def test_same_answers_on_a_second_device(file, mode):
    command = [sys.executable, "-m", "pytest", "-q", str(HERE / "on_twin" / file)]
    environment = {**os.environ, "SECOND_DEVICE": mode}
    ran = subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=HERE.parents[1]
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "passed" in ran.stdout
    assert "skipped" not in ran.stdout
