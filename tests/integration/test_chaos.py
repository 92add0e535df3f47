"""A short run of ``make chaos``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).parents[1] / "chaos" / "chaos.py"


@pytest.mark.slow
def test_no_call_is_lost_and_nothing_is_left() -> None:
    """Everything goes wrong, and every verdict that a short run allows is good."""
    # Not under coverage: what is measured here is time.
    environ = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(
        [sys.executable, str(CHAOS), "--calls", "120"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environ,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "FAILED" not in done.stdout
