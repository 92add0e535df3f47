"""Every code block of the guides does what it says."""

from __future__ import annotations

import asyncio
import logging
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from typer.testing import CliRunner

from amas.config.provider_settings import load_settings
from amas.providers.cli.app import app
from amas.providers.cli.config.parts import Part
from amas.providers.cli.config.reference import markdown
from amas.providers.llm import catalog as catalog_module
from amas.providers.testing.upstream import ThreadedUpstream

ROOT = Path(__file__).parents[2]
GUIDES = [path for path in (ROOT / "README.md", ROOT / "MIGRATION.md") if path.exists()]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(
        kind, text, id=f"{guide.name}:{guide.read_text()[: found.start()].count(chr(10)) + 1}"
    )
    for guide in GUIDES
    for found in BLOCK.finditer(guide.read_text())
    for kind, text in [found.groups()]
]
FIRST_YAML = next(
    text for guide in GUIDES for kind, text in BLOCK.findall(guide.read_text()) if kind == "yaml"
)


@pytest.fixture
def vendors(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedUpstream]:
    """Let every vendor of the catalogue live on this machine."""
    with ThreadedUpstream("vendor") as upstream:
        known = catalog_module.catalog()
        moved = {
            name: replace(entry, base_url=upstream.url + entry.api_root)
            for name, entry in known.entries.items()
        }
        prefixes = {prefix: moved[entry.name] for prefix, entry in known.prefixes.items()}
        patched = replace(
            known, entries=MappingProxyType(moved), prefixes=MappingProxyType(prefixes)
        )
        monkeypatch.setattr(catalog_module, "catalog", lambda: patched)
        yield upstream


@pytest.mark.parametrize(("kind", "text"), BLOCKS)
def test_code_block_runs(
    kind: str,
    text: str,
    vendors: ThreadedUpstream,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fake_key: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A reader who copies a block gets what the guide promises."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", fake_key)
    monkeypatch.setenv("ANTHROPIC_API_KEY", fake_key)
    if "amas-providers init" not in text:
        (tmp_path / "providers.yaml").write_text(FIRST_YAML, encoding="utf-8")
    old_use = "from amas.services.llm_service import LLMService\n"
    (tmp_path / "service.py").write_text(old_use, encoding="utf-8")
    RUNNERS[kind](text, monkeypatch)
    assert "Error" not in capsys.readouterr().out


def run_python(text: str, _monkeypatch: pytest.MonkeyPatch) -> None:
    """Execute a program."""
    amas = logging.getLogger("amas")
    before = amas.handlers[:], amas.level, amas.propagate
    shared = [*logging.root.handlers, *filter(None, [logging.lastResort])]
    filters = [(handler, handler.filters[:]) for handler in shared]
    exec(compile(text, "<guide>", "exec"), {"__name__": "guide"})
    amas.handlers[:], amas.level, amas.propagate = before
    for handler, own in filters:
        handler.filters[:] = own
    asyncio.set_event_loop(None)


def run_diff(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Execute what comes after, and read what was before."""
    sides = {"-": "", "+": ""}
    for line in text.splitlines():
        for side in sides:
            if line[:1] in {side, " ", ""}:
                sides[side] += f"{line[1:]}\n"
    compile(sides["-"], "<before>", "exec")
    run_python(sides["+"], monkeypatch)


def run_yaml(text: str, _monkeypatch: pytest.MonkeyPatch) -> None:
    """Load a configuration."""
    Path("block.yaml").write_text(text, encoding="utf-8")
    environ = {name: f"value-of-{name}" for name in re.findall(r"\$\{(\w+)\}", text)}
    environ["ALERT_WEBHOOK"] = "https://alerts.example.com/hook"
    settings = load_settings("block.yaml", environ=environ)
    assert not settings.warnings
    assert all(config.enabled for config in settings.provider_configs())


def run_bash(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Execute the commands that are ours; those of make have to exist."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in filter(None, text.splitlines()):
        command, _, piped = line.partition(" | ")
        words = shlex.split(piped or command, comments=True)
        match words:
            case ["make", target]:
                assert target in targets
            case ["export", assignment]:
                monkeypatch.setenv(*assignment.split("=", 1))
            case ["amas-providers", *arguments]:
                given = shlex.split(command)[-1] if piped else None
                result = CliRunner().invoke(app, arguments, input=given)
                assert result.exit_code == 0, f"{line}\n{result.output}"
                assert result.output.strip()
            case _:
                pytest.fail(f"nobody runs {line!r}")


@pytest.mark.parametrize("part", list(Part))
def test_generated_part_is_up_to_date(part: Part) -> None:
    """The tables of providers and fields are those of the code, with no second list anywhere."""
    assert "\n".join(markdown(part)) in (ROOT / "README.md").read_text(encoding="utf-8"), (
        f"put what this prints into README.md: amas-providers config reference --part {part}"
    )


RUNNERS: dict[str, Any] = {
    "diff": run_diff,
    "python": run_python,
    "yaml": run_yaml,
    "bash": run_bash,
}
