"""Ctrl-C at random moments, several times in a row: estimators are as they were, or whole."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

STORM = Path(__file__).resolve().parents[2] / "benchmarks" / "signal_storm.py"


@pytest.mark.skipif(not STORM.exists(), reason="the benchmarks are not here")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
def test_fifty_interrupts_leave_nothing_half_done():
    command = [sys.executable, str(STORM), "--n", "50"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "interrupts, up to 4 a call; 0 violations" in done.stdout
