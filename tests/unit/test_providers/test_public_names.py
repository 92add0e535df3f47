"""What the package shows to the outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import amas.providers

ROOT = Path(__file__).parents[3]
# Written apart, so that this file does not name what no file may name.
INDEX_HOSTS = ("pypi" + ".org", "python" + "hosted.org", "registry." + "npmjs", "deb." + "debian")


@pytest.mark.parametrize("name", amas.providers.__all__)
def test_public_name_can_be_imported(name: str) -> None:
    """Every name in __all__ is there, those that load on first use included."""
    assert getattr(amas.providers, name).__name__
    assert name in dir(amas.providers)


def test_public_names_are_sorted() -> None:
    """A sorted list shows at a glance what is there."""
    assert amas.providers.__all__ == sorted(amas.providers.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails like one of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'ProviderManger'"):
        _ = amas.providers.ProviderManger


@pytest.mark.parametrize("package", ["amas.providers", "src.amas.providers"])
def test_import_is_light(package: str) -> None:
    """Importing the package brings in no LiteLLM, no openai and no HTTP client."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {package}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=ROOT,
    )
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()
    }
    assert not imported & {"litellm", "openai", "aiohttp", "httpx", "yaml", "pydantic", "typer"}


def test_no_file_names_a_package_index() -> None:
    """The lock and everything else leave it to the user's settings where packages come from."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    found = [
        path
        for path in listed.stdout.splitlines()
        if any(host in (ROOT / path).read_text(errors="replace") for host in INDEX_HOSTS)
    ]
    assert found == []


def test_lock_is_hashed_and_within_the_range_of_litellm() -> None:
    """Every locked package has hashes, and LiteLLM is none of the stolen releases."""
    lock = (ROOT / "requirements.lock").read_text()
    entries = [block for block in lock.split("\n") if "==" in block and not block.startswith(" ")]
    assert all(entry.endswith("\\") for entry in entries)
    (litellm,) = [entry for entry in entries if entry.startswith("litellm==")]
    assert "1.82.7" not in litellm
    assert "1.82.8" not in litellm
