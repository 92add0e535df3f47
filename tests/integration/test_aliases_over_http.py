"""Aliases from a file to the wire: what is sent to whom, and what the command and records say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from amas.providers import ProviderManager
from amas.providers.cli.app import app
from amas.providers.manager.observation import audit_key
from amas.providers.manager.threaded import ThreadedManager
from amas.providers.observability.audit.files import trail_files
from amas.providers.observability.audit.verification import verify
from amas.providers.security.master_key import MasterKey, generate
from amas.providers.testing.upstream import Fault, ThreadedUpstream

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("uncovered")]


@dataclass
class House:
    """Two upstreams, a third that no alias names, and a file that configures them."""

    one: ThreadedUpstream
    two: ThreadedUpstream
    other: ThreadedUpstream
    path: Path
    master: MasterKey

    def bodies(self) -> list[tuple[str, dict[str, Any]]]:
        """Return who was asked for an answer, and with which parameters and model, in order."""
        asked = [
            (item.arrived_at, name, item.json)
            for name, upstream in (("one", self.one), ("two", self.two), ("other", self.other))
            for item in upstream.requests
            if item.endpoint == "chat"
        ]
        hidden = {"messages", "stream", "stream_options"}
        return [
            (name, {key: value for key, value in body.items() if key not in hidden})
            for _, name, body in sorted(asked, key=lambda each: each[0])
        ]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Run the upstreams, and write the file."""
    master = MasterKey(generate())
    with (
        ThreadedUpstream("one") as one,
        ThreadedUpstream("two") as two,
        ThreadedUpstream("other") as other,
    ):
        rows: dict[str, dict[str, Any]] = {
            name: {
                "provider": "openai",
                "api_key": "none",
                "base_url": up.url,
                "model": f"own-{name}",
            }
            for name, up in (("other", other), ("one", one), ("two", two))
        }
        rows["one"] |= {"params": {"temperature": 0.9, "seed": 1}, "max_retries": 0}
        document = {
            "providers": {
                "security": {
                    "master_key": master.text.get_secret_value(),
                    "plaintext_keys": "allow",
                },
                "audit": {"path": str(tmp_path / "audit.jsonl")},
                "llm": rows,
                "models": {
                    "fast": {
                        "chain": ["one/vendor/small", "two"],
                        "params": {"temperature": 0.2, "max_tokens": 20},
                    }
                },
            }
        }
        path = tmp_path / "c.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        yield House(one, two, other, path, master)


FIRST = {"model": "vendor/small", "temperature": 0.2, "seed": 1, "max_tokens": 7}
SECOND = {"model": "own-two", "temperature": 0.2, "max_tokens": 7}


async def test_an_alias_says_model_and_defaults_to_each_of_its_chain(house: House) -> None:
    """Call before alias before provider, plain and streamed, and the records tell of it."""
    async with ProviderManager.from_config(house.path) as manager:
        plain = await manager.generate("hi", model="fast", max_tokens=7)
        house.one.fault(Fault(status=500))
        chunks = [chunk async for chunk in manager.stream("hi", model="fast", max_tokens=7)]
    assert (plain["provider"], plain["model"], plain["content"]) == (
        *("one", "vendor/small"),
        "one says: hi",
    )
    assert (chunks[-1].provider, chunks[-1].model) == ("two", "own-two")
    assert house.bodies() == [("one", FIRST), ("one", FIRST), ("two", SECOND)]
    files = trail_files(house.path.parent / "audit.jsonl")
    assert verify(files, [audit_key(house.master)]).ok
    records = [json.loads(line) for line in files[0].read_text().splitlines()]
    calls = [record for record in records if record["kind"] == "call"]
    assert [(call["alias"], call["provider"], call["model"]) for call in calls] == [
        ("fast", "one", "vendor/small"),
        ("fast", "two", "own-two"),
    ]
    assert [item["model"] for item in calls[1]["attempts"]] == ["vendor/small", "own-two"]


def test_the_command_takes_an_alias_for_a_model(house: House) -> None:
    """Its ``--model`` is the manager's ``model=``; who gave the answer goes to stderr."""
    arguments = [
        "generate",
        "hi",
        "--config",
        str(house.path),
        "--model",
        "fast",
        "--max-tokens",
        "7",
    ]
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.stdout) == (0, "one says: hi\n")
    assert "[one vendor/small (alias fast) · " in done.stderr
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (told["alias"], told["model"]) == ("fast", "vendor/small")
    other = CliRunner().invoke(app, ["generate", "hi", "-c", str(house.path), "--json"])
    assert "alias" not in json.loads(other.stdout)
    wrong = CliRunner().invoke(app, [*arguments, "--provider", "other"])
    assert wrong.exit_code == 2
    assert "provider 'other' is not one of model 'fast' (alias: one, two)" in wrong.stderr
    assert house.bodies()[:2] == [("one", FIRST)] * 2


def test_a_threaded_manager_knows_aliases(house: House) -> None:
    """It is the same manager, in a thread of its own."""
    threaded = ThreadedManager(lambda: ProviderManager.from_config(house.path))
    try:
        threaded.run_sync(lambda manager: manager.initialize_all_providers())
        answer = threaded.run_sync(lambda manager: manager.generate("hi", model="fast"))
    finally:
        threaded.close()
    assert answer["provider"] == "one"
