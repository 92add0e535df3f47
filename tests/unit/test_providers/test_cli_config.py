"""`amas-providers config`: check a file, print the schema, explain a field."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from amas.config.field_reference import all_fields
from amas.config.json_schema import schema_text
from amas.providers.cli.app import app

GOOD = "providers:\n  llm:\n    local: {}\n    openai: {api_key: '${OPENAI_API_KEY}'}\n"
BAD = "providers:\n  manager: {strategy: fastets}\n  llm:\n    openai: {timeot: 3}\n"


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Run a command of the group; return its exit code, its output, and what it says beside."""
    result = CliRunner().invoke(app, ["config", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a good file."""
    path = tmp_path / "providers.yaml"
    path.write_text(GOOD)
    return path


def test_a_good_file_is_ok_with_its_warnings(file: Path) -> None:
    """What is not ready is said, and the last line sums up; nothing is wrong."""
    code, out, err = run("validate", file)
    assert code == 0
    warning, verdict = out.splitlines()
    assert warning.startswith(f"warning: {file}:4:23: providers.llm.openai.api_key: ")
    assert verdict == f"{file}: ok: 2 providers (1 enabled), 1 warning"
    assert err == ""


def test_every_problem_has_a_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All come at once; the file may be named by the option or the variable as well."""
    file.write_text(BAD)
    expected = run("validate", file)
    assert expected[0] == 2
    places = [line.removeprefix(f"{file}:")[:5] for line in expected[1].splitlines()]
    assert places == ["2:23:", "4:14:", " 2 pr"]
    assert run("validate", "--config", file) == expected
    monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", str(file))
    assert run("validate") == expected


def test_a_program_gets_the_problems_as_json(file: Path) -> None:
    """Each has its file, line, column and message; what has no place has none."""
    code, out, _ = run("validate", file, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["ok"] is True
    assert report["providers"] == [
        {"name": "local", "enabled": True},
        {"name": "openai", "enabled": False},
    ]
    assert [warning["line"] for warning in report["warnings"]] == [4]
    file.write_text(BAD)
    code, out, _ = run("validate", file, "--json")
    report = json.loads(out)
    assert code == 2
    assert report["ok"] is False
    assert [(item["file"], item["line"], item["column"]) for item in report["problems"]] == [
        (str(file), 2, 23),
        (str(file), 4, 14),
    ]
    assert report["problems"][1]["message"].endswith("did you mean 'timeout'?")
    code, out, _ = run("validate", file.parent / "none.yaml", "--json")
    assert code == 2
    assert json.loads(out)["problems"][0]["line"] is None


def test_no_key_is_repeated(file: Path, fake_key: str) -> None:
    """A key that was pasted into the wrong place stays out of the output."""
    file.write_text(
        f"providers:\n  llm:\n    openai: {{timeout: {fake_key}}}\n    {fake_key}: {{}}\n"
    )
    for options in ([], ["--json"]):
        code, out, err = run("validate", file, *options)
        assert code == 2
        assert fake_key not in out + err


def test_without_a_file_the_command_says_what_to_write() -> None:
    """Nothing is guessed."""
    code, out, err = run("validate")
    assert (code, out) == (2, "")
    assert "validate FILE" in err


def test_aliases_are_counted(file: Path) -> None:
    """The summary has them, where there are any."""
    file.write_text("providers: {llm: {local: {}}, models: {fast: [local]}}\n")
    assert run("validate", file)[1] == f"{file}: ok: 1 provider (1 enabled), 1 model alias\n"


def test_the_schema_is_printed_as_it_is_shipped() -> None:
    """The output can be saved beside a configuration."""
    assert run("schema") == (0, schema_text(), "")


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("timeout", "providers.llm.*.timeout"),
        ("llm.openai.timeout", "providers.llm.*.timeout"),
        ("providers.llm.*.timeout", "providers.llm.*.timeout"),
        ("timeout:", "providers.llm.*.timeout"),
        ("manager.circuit_breaker.cooldown", "providers.manager.circuit_breaker.cooldown"),
        ("circuit_breaker.cooldown", "providers.manager.circuit_breaker.cooldown"),
        ("manager.policy.auth.retry", "providers.manager.policy.*.retry"),
        ("migration.llm_service.flag", "providers.migration.llm_service.flag"),
    ],
)
def test_a_field_is_explained_by_its_path_or_the_end_of_it(asked: str, name: str) -> None:
    """What it means, what it takes, its default, an example, and where it stands."""
    entry = next(entry for entry in all_fields() if entry.name == name)
    code, out, _ = run("explain", asked)
    assert code == 0
    assert out.startswith(f"{name}: {entry.title}\n\n")
    words = " ".join(out.split())
    assert entry.description in words
    assert f"takes {entry.kind}" in words
    assert f"default {entry.default} example {entry.example}" in words
    assert "${VAR}" in words
    assert "\n".join(f"  {line}" for line in entry.lines()) in out


def test_a_section_is_explained_with_its_fields() -> None:
    """So is a row of the user's own, and what is passed on below it."""
    code, out, _ = run("explain", "price")
    assert code == 0
    assert "Its fields:\n  input  " in out
    code, out, _ = run("explain", "llm.my_own")
    assert code == 0
    assert "providers.llm.my_own: a name of your choice" in out
    assert "\n  base_url " in out
    code, out, _ = run("explain", "llm.my_own.params.temperature")
    assert code == 0
    assert "passed on" in out
    assert "providers.llm.*.params: Parameters" in out


def test_secret_fields_are_explained_with_their_references() -> None:
    """Where a file or a sealed value may stand, it is said."""
    for name in ("api_key", "master_key", "webhook"):
        assert "keyring: and enc:" in " ".join(run("explain", name)[1].split())
    assert "enc:" not in run("explain", "strategy")[1]


def test_a_short_name_of_several_fields_lists_them() -> None:
    """Each with what it means, so that one can choose."""
    code, out, _ = run("explain", "enabled")
    assert code == 0
    listed = [line.strip() for line in out.splitlines() if line.startswith("  providers.")]
    assert listed == [e.name for e in all_fields() if e.path[-1] == "enabled"]
    assert "Whether calls are served at all." in out


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("timeot", "did you mean llm.*.timeout?"),
        ("llm.openai.base_ulr", "did you mean llm.*.base_url?"),
        ("manager.stratgy", "did you mean manager.strategy?"),
        ("zzzz", "`amas-providers config explain` lists all"),
        ("", "lists all"),
    ],
)
def test_an_unknown_field_is_answered_with_the_nearest(asked: str, hint: str) -> None:
    """It is a wrong usage, with a way out."""
    code, out, err = run("explain", asked)
    assert (code, out) == (2, "")
    assert hint in err


def test_all_fields_are_listed_and_nothing_is_wider_than_a_terminal() -> None:
    """Eighty columns hold every explanation."""
    code, out, _ = run("explain")
    assert code == 0
    assert all(f"\n  {entry.path[-1]} " in out for entry in all_fields())
    texts = [out, *(run("explain", entry.name)[1] for entry in all_fields()[::4])]
    wide = [line for text in texts for line in text.splitlines() if len(line) > 80]
    assert not [line for line in wide if ": {" not in line and ": [" not in line]


def test_an_unknown_part_of_the_reference_is_wrong_usage() -> None:
    """The parts are named."""
    code, _, err = run("reference", "--part", "everything")
    assert code == 2
    assert "providers" in err
    assert "fields" in err


def test_checking_a_file_waits_for_no_litellm(file: Path) -> None:
    """The commands are quick, because nothing is imported that only calls need."""
    program = (
        "import sys; from typer.testing import CliRunner; from amas.providers.cli.app import app;"
        f"result = CliRunner().invoke(app, ['config', 'validate', {str(file)!r}]);"
        "print(result.exit_code, 'litellm' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "0 False\n"
