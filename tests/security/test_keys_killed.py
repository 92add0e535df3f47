"""Killed at any moment, `keys` leaves a file that opens, with all its comments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("keys_driver.py")
TRIES = 100  # of each of two commands


@pytest.mark.slow
def test_killed_at_200_moments_the_file_always_opens(tmp_path: Path) -> None:
    """After SIGKILL every key is the old or the new one and opens, comments and mode are there."""
    done = subprocess.run(
        [sys.executable, "-W", "error", DRIVER, tmp_path, str(TRIES), "20261124"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told.pop("heavy") == []
    told.pop("seconds")
    assert len(told) == 4
    often = [found["random"] for found in told.values() if found["random"]]
    assert [sum(found.values()) for found in often] == [TRIES, TRIES]
    # Each kill came before or after the moment of the change; both have to occur.
    for state in ("before", "after"):
        assert sum(found.get(state, 0) for found in often) > 0
    for name, found in told.items():
        assert found["steps"]["before"] > 10, name
        assert found["steps"]["after"] > 1, name
