"""What commands import: LiteLLM, whose import takes seconds, is for those that ask a provider."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from amas.providers.security.master_key import generate

# Each as it is typed, with all it needs.
QUIET = (
    "--help",
    "init new.yaml --yes",
    "report records.jsonl",
    "migrate scan .",
    "migrate config",
    "keys generate-master",
    "keys set one --config c.yaml --dry-run",
    "keys encrypt --config c.yaml --dry-run",
    "keys list --config c.yaml",
    "keys rotate-master --config c.yaml --dry-run",
    "keys rotate one --config c.yaml --no-check --dry-run",
    "audit verify records.jsonl",
    "audit tail records.jsonl",
    "audit query records.jsonl",
    "config validate c.yaml",
    "config show c.yaml",
    "config diff c.yaml c.yaml",
    "config schema",
    "config explain llm.openai.timeout",
    "config reference --part fields",
    "providers catalog",
    "providers add groq --config c.yaml --key-from SOME_KEY --no-check --dry-run",
)
# These ask for health or models, or serve: with an HTTP client, and without LiteLLM.
LOOKING = (
    "status --config c.yaml",
    "check --free --config c.yaml",
    "providers --config c.yaml",
    "providers add ollama --as two --base-url http://127.0.0.1:1 --config c.yaml --dry-run",
    "keys rotate one --config c.yaml --dry-run",
    "upstream --port PORT",
)
USAGE = 2
CALLING = {"generate", "check", "demo"}
"""Commands that call models."""

CHILD = """
import json, sys

HEAVY = {"litellm", "openai"}

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name in HEAVY:
            wanted.add(name)
            raise ModuleNotFoundError(name)

wanted = set()
sys.meta_path.insert(0, Refusing())
import typer
from typer.testing import CliRunner
from amas.providers.cli.app import app

def names(command, before=()):
    for name, inner in getattr(command, "commands", {}).items():
        yield from names(inner, (*before, name))
    if not hasattr(command, "commands") or command.invoke_without_command:
        yield " ".join(before)

found = {}
for line in json.load(sys.stdin):
    wanted.clear()
    ended = CliRunner().invoke(app, line.split(), input="k" * 20)
    wanted |= {"aiohttp"} & sys.modules.keys()
    found[line] = [sorted(wanted), ended.exit_code, ended.output[-300:]]
print(json.dumps([found, sorted(names(typer.main.get_command(app)))]))
"""
CONFIG = """
providers:
  security: {master_key: "${AMAS_MASTER_KEY}"}
  llm:
    one: {provider: openai, model: a, api_key: "${SOME_KEY}", base_url: "http://127.0.0.1:1", local: true}
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, tuple[list[str], int, str]], list[str]]:
    """Run all the commands in one process; return what became of each, and all that there are."""
    folder: Path = tmp_path_factory.mktemp("commands")
    (folder / "c.yaml").write_text(CONFIG, encoding="utf-8")
    (folder / "records.jsonl").touch()
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    master_key = generate().get_secret_value()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-c", CHILD],
            input=json.dumps([line.replace("PORT", port) for line in (*QUIET, *LOOKING)]),
            cwd=folder,
            env=kept | {"SOME_KEY": "k" * 20, "AMAS_MASTER_KEY": master_key},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    found, names = json.loads(done.stdout)
    return {line.replace(port, "PORT"): each for line, each in found.items()}, names


@pytest.mark.parametrize("line", QUIET)
def test_commands_that_call_no_model_import_no_litellm(
    line: str, told: tuple[dict[str, tuple[list[str], int, str]], list[str]]
) -> None:
    """Whatever asks no provider neither waits for LiteLLM nor for an HTTP client."""
    imported, code, output = told[0][line]
    assert (imported, code != USAGE) == ([], True), output


@pytest.mark.parametrize("line", LOOKING)
def test_commands_that_only_look_import_no_litellm(
    line: str, told: tuple[dict[str, tuple[list[str], int, str]], list[str]]
) -> None:
    """Whoever only asks for health, models or a key's validity does not wait for LiteLLM."""
    imported, code, output = told[0][line]
    assert (imported, code != USAGE) == (["aiohttp"], True), output


def test_every_command_is_looked_at(
    told: tuple[dict[str, tuple[list[str], int, str]], list[str]],
) -> None:
    """A new command is in one of the lists above."""
    lines = (*QUIET, *LOOKING)
    seen = {name for name in told[1] if any(f"{line} ".startswith(f"{name} ") for line in lines)}
    assert set(told[1]) - {""} == seen | CALLING
