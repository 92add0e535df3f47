"""`amas-providers config show` and `diff`, and what the commands for keys make of layers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from amas.config.document import dotted
from amas.config.provider_settings import load_settings
from amas.providers.cli.app import app
from amas.providers.cli.config.values import Configuration, read_configuration, written_values
from amas.providers.secret import Secret
from amas.providers.security.master_key import MasterKey, generate
from amas.providers.security.secrets import seal

KEY = "opaque" * 4
OTHER = "hidden" * 4

BASE = f"""\
providers:
  manager: {{deadline: 60, state: "redis://user:{OTHER}@h:6379/0"}}
  migration: {{llm_service: shadow}}
  models: {{fast: [openai, groq]}}
  alerts: {{webhook: "${{HOOK}}"}}
  llm:
    openai: {{api_key: "{KEY}", timeout: 30}}
    groq: {{api_keys: ["${{G1}}", file:secret], options: {{extra_headers: {{X-Own: "{OTHER}"}}}}}}
"""
MAIN = """\
providers:
  extends: team/base.yaml
  llm:
    openai: {max_retries: 1}
    "my.own": {model: openai/x, base_url: "http://h:1/v1", api_key: none}
    broken: {model: openai/x, api_key: "${NO}"}
"""
OVERLAY = "providers:\n  llm: {openai: {timeout: 5}}\n"
ENVIRON = {"G1": "value" * 5, "HOOK": "https://h.example/" + OTHER}


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("team").mkdir()
    Path("team/base.yaml").write_text(BASE)
    Path("team/secret").write_text(OTHER + "file")
    Path("c.yaml").write_text(MAIN)
    Path("c.prod.yaml").write_text(OVERLAY)


def run(*arguments: str, **environ: str) -> Done:
    """Run a command on c.yaml; nothing it says has a secret in it."""
    words = [*arguments] if "-c" in arguments else [*arguments, "-c", "c.yaml"]
    result = CliRunner().invoke(app, words, env=ENVIRON | environ)
    said = result.stdout + result.stderr
    assert not any(secret in said for secret in (KEY, OTHER, ENVIRON["G1"])), said
    return Done(result.exit_code, result.stdout, result.stderr)


def test_show_says_what_is_written_and_where() -> None:
    """The layers as one section, references as they are, every value with its place."""
    assert run("config", "show", "c.yaml").out == run("config", "show").out
    done = run("config", "show", AMAS_ENVIRONMENT="Prod", AMAS_PROVIDERS__LLM__GROQ__TIMEOUT="7")
    assert done.code == 0
    assert done.out.startswith(
        "# laid over one another: team/base.yaml, c.yaml, c.prod.yaml\n"
        "# AMAS_ENVIRONMENT is Prod, hence c.prod.yaml\nproviders:\n"
    )
    for line in (
        "    deadline: 60  # team/base.yaml:2:23",
        "    state: redis://***@h:6379/0  # team/base.yaml:2:34",
        "      api_key: '***'  # team/base.yaml:7:23",
        "      timeout: 5  # c.prod.yaml:2:27",
        "      max_retries: 1  # c.yaml:4:27",
        "      api_keys: ['${G1}', 'file:secret']  # team/base.yaml:8:22, ${G1}, file:secret",
        "          X-Own: '***'  # team/base.yaml:8:79",
        "      timeout: '7'  # ${AMAS_PROVIDERS__LLM__GROQ__TIMEOUT}",
        "    webhook: ${HOOK}  # team/base.yaml:5:21, ${HOOK}",
    ):
        assert line in done.out.splitlines(), done.out
    assert list(yaml.safe_load(done.out)["providers"]["llm"]) == [
        *("openai", "groq", "my.own", "broken")
    ]


@pytest.mark.parametrize(
    ("environ", "name", "line"),
    [
        ({}, "c.yaml", "# AMAS_ENVIRONMENT is not set, so there is no overlay"),
        ({"AMAS_ENVIRONMENT": "x"}, "c.yaml", "# AMAS_ENVIRONMENT is x, and there is no c.x.yaml"),
        (
            {"AMAS_ENVIRONMENT": "prod"},
            "c.prod.yaml",
            "# AMAS_ENVIRONMENT is prod, which the file is for itself",
        ),
    ],
)
def test_show_says_what_names_the_overlay(environ: dict[str, str], name: str, line: str) -> None:
    """Also where there is none, so that nobody wonders why a file is not used."""
    assert run("config", "show", "-c", name, **environ).out.splitlines()[1] == line


def test_show_resolved_has_defaults_and_what_references_lead_to() -> None:
    """Every value has its origin: a place, a variable, a default, or why it is not what it says."""
    done = run("config", "show", "--resolved", AMAS_PROVIDERS__LLM__OPENAI__TIMEOUT="10")
    assert done.code == 0
    for line in (
        "      api_key: none  # c.yaml:5:69",
        "    max_retries: 3  # default",
        "      timeout: 10  # ${AMAS_PROVIDERS__LLM__OPENAI__TIMEOUT}",
        "      api_keys: ['***', '***']  # team/base.yaml:8:22, ${G1}, file:secret",
        "      enabled: false  # ${NO} is not set; set it, or remove the line",
        "      flag: shadow  # team/base.yaml:3:28",
        "      shadow_share: 0.05  # default",
        "      chain: [openai, groq]  # team/base.yaml:4:18",
        "    webhook: '***'  # team/base.yaml:5:21, ${HOOK}",
    ):
        assert line in done.out.splitlines(), done.out
    assert "warning: c.yaml:6:40: " in done.err
    # It is YAML, and has all of the configuration.
    shown = yaml.safe_load(done.out)["providers"]
    assert shown["llm"]["openai"]["timeout"] == 10
    assert shown["llm"].keys() == load_settings("c.yaml", environ=ENVIRON).llm.keys()


def test_show_prints_json() -> None:
    """By unambiguous path: the value and where it is from."""
    rows = json.loads(run("config", "show", "--json", "--resolved").out)
    assert rows["providers.llm.openai.max_retries"] == {"value": 1, "from": "c.yaml:4:27"}
    assert rows['providers.llm."my.own".timeout'] == {"value": 30, "from": "default"}
    assert rows["providers.llm.openai.api_key"]["value"] == "***"
    rows = json.loads(run("config", "show", "--json").out)
    assert rows['providers.llm."my.own".api_key']["value"] == "none"
    assert "providers.manager.max_retries" not in rows


def test_show_without_a_file_shows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file the providers are those whose keys are in the environment."""
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    done = CliRunner().invoke(app, ["config", "show", "--resolved"])
    assert "      api_key: '***'  # ${GROQ_API_KEY}" in done.stdout.splitlines()
    assert KEY not in done.stdout


def test_show_of_what_is_wrong_says_so() -> None:
    """A mistake is told as the loader tells it, whether references are followed or not."""
    Path("team/base.yaml").write_text("providers:\n  llm: {a: {timeot: 1}, a: {}}\n")
    for arguments in ([], ["--resolved"]):
        done = run("config", "show", *arguments)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("team/base.yaml:2:")


def test_what_is_masked_is_what_is_a_secret() -> None:
    """Of the credentials of a file those are shown that only say where they are."""
    text = f"""
providers:
  security: {{master_key: ["${{M}}", "{KEY}"]}}
  llm:
    a: {{proxy: "http://u:{KEY}@h", options: {{client_secret: "{KEY}", my_token: "${{T}}"}}}}
    b: {{proxy: "http://h", api_key: "enc:v1:shown", base_url: "https://u:{KEY}@h/v1?key={KEY}"}}
"""
    Path("c.yaml").write_text(text)
    configuration = read_configuration(Path("c.yaml"), {}, resolved=False)
    assert configuration == Configuration(configuration.layered, None)
    values = written_values(configuration.layered.document)
    assert {dotted(path): value.shown for path, value in values.items()} == {
        "providers.security.master_key": ["${M}", "***"],
        "providers.llm.a.proxy": "***",
        "providers.llm.a.options.client_secret": "***",
        "providers.llm.a.options.my_token": "${T}",
        "providers.llm.b.proxy": "http://h",
        "providers.llm.b.api_key": "enc:v1:shown",
        "providers.llm.b.base_url": "https://***@h/v1?key=***",
    }


@pytest.mark.parametrize(
    "words",
    [("show",), ("show", "--json"), ("show", "--resolved"), ("diff", "d.yaml"), ("validate",)],
)
def test_a_key_in_the_place_of_a_name_is_masked(words: tuple[str, ...], fake_key: str) -> None:
    """Names of providers, aliases, callers, options are shown but for what looks like a key."""
    text = f"""
providers:
  security: {{access: {{"{fake_key}": {{max_tokens: 10}}}}}}
  llm: {{"{fake_key}": {{provider: openai, options: {{x: {{"{fake_key}": [{{"{fake_key}": 10}}]}}}}}}}}
  models: {{"{fake_key}-x": {{chain: ["{fake_key}"], params: {{n: 10}}}}}}
"""
    Path("c.yaml").write_text(text)
    Path("d.yaml").write_text(text.replace("10", "20"))
    done = run("config", *words)
    assert fake_key not in done.out + done.err
    assert words == ("validate",) or "***" in done.out
    if words[0] == "diff":
        assert "providers.security.access.***.max_tokens: 10 -> 20" in done.out
        assert 'providers.llm.***.options.x.***: [{"***": 10}] -> [{"***": 20}]' in done.out


def test_diff_shows_what_differs_in_effect() -> None:
    """Values with defaults and references resolved; a secret that differs, and nothing of it."""
    other = MAIN.replace("max_retries: 1", f"api_key: {KEY}2, enabled: no")
    other = other.replace('    "my.own":', "    new: {timeout: 3}\n    plain:\n    other:")
    other = other.replace("llm:", "manager: {fallback_order: [groq], deadline: 60.0}\n  llm:", 1)
    Path("d.yaml").write_text(other)
    own = '{"api_key": "none", "base_url": "http://h:1/v1", "model": "openai/x"}'
    done = run("config", "diff", "d.yaml")
    assert done.code == 1
    assert done.out.splitlines() == [
        'providers.manager.fallback_order: (none) -> ["groq"]',
        "providers.llm.openai.enabled: true -> false",
        "providers.llm.openai.api_key: *** -> *** (differs)",
        "providers.llm.openai.max_retries: 1 -> (none)",
        f'providers.llm."my.own": {own} -> (none)',
        'providers.llm.new: (none) -> {"timeout": 3}',
        "providers.llm.plain: (none) -> (all defaults)",
        f"providers.llm.other: (none) -> {own}",
    ]


def test_diff_compares_environments() -> None:
    """The same file under another AMAS_ENVIRONMENT, and another file under it."""
    done = run("config", "diff", "--environment", "prod")
    assert (done.code, done.out) == (1, "providers.llm.openai.timeout: 30 -> 5\n")
    same = run("config", "diff", "--environment", "prod", AMAS_ENVIRONMENT="prod")
    assert (same.code, same.out) == (0, "")
    Path("d.yaml").write_text(MAIN)
    assert run("config", "diff", "d.yaml").code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["c.yaml", "d.yaml"],
        ["d.yaml", "-c", "c.yaml"],
        ["c.yaml", "--environment", "prod"],
        ["--environment", "prod", "-c", "c.yaml"],
        ["c.yaml", "c.yaml", "--environment", "prod"],
    ],
    ids=" ".join,
)
def test_diff_takes_its_files_by_place_or_by_option(words: list[str]) -> None:
    """Both files may simply follow the command, as with diff; or --config names the first."""
    Path("d.yaml").write_text(MAIN.replace("max_retries: 1", "max_retries: 2"))
    Path("c.prod.yaml").write_text("providers:\n  llm: {openai: {max_retries: 2}}\n")
    result = CliRunner().invoke(app, ["config", "diff", *words], env=ENVIRON)
    assert result.stdout == "providers.llm.openai.max_retries: 1 -> 2\n", result.stderr
    assert result.exit_code == 1


@pytest.mark.parametrize("arguments", [[], ["no.yaml"], ["--environment", "../x"]])
def test_diff_of_what_cannot_be_read_is_an_error(arguments: list[str]) -> None:
    """As with diff, 1 means a difference and 2 that nothing could be compared."""
    done = run("config", "diff", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err


@pytest.mark.parametrize(
    ("environment", "words"),
    [("prd", "there is c.prod.yaml"), ("nowhere", "there is no c.nowhere.yaml; make it")],
)
def test_diff_with_an_environment_without_overlay_is_an_error(environment: str, words: str) -> None:
    """That nothing differs would be no answer to a misspelt name."""
    done = run("config", "diff", "--environment", environment)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


# --- keys -----------------------------------------------------------------------------------------


def rows(**environ: str) -> dict[str, dict[str, Any]]:
    """Return what `keys list` says, by provider."""
    return {
        row["provider"]: row
        for row in json.loads(run("keys", "list", "--json", **environ).out)["keys"]
    }


def test_keys_of_all_layers_are_listed() -> None:
    """Each key says where it stands, if not in the file itself."""
    listed = rows(AMAS_PROVIDERS__LLM__BROKEN__API_KEY=KEY)
    assert (listed["openai"]["kept"], listed["openai"]["where"]) == (
        "plain text",
        "team/base.yaml:7:23",
    )
    assert listed["groq"]["where"] == "team/base.yaml:8:32"
    assert listed["my.own"]["where"] is None
    assert listed["broken"]["where"] == "${AMAS_PROVIDERS__LLM__BROKEN__API_KEY}"


def test_editing_says_where_else_a_key_stands() -> None:
    """A key is sealed into the file given, and one below or above it is pointed at."""
    environ = {"AMAS_MASTER_KEY": generate().get_secret_value()}
    result = CliRunner().invoke(
        app, ["keys", "set", "openai", "-c", "c.yaml"], input=OTHER, env=ENVIRON | environ
    )
    assert result.exit_code == 0, result.stderr
    assert "team/base.yaml:7:23: there is a key of 'openai' too, which no longer holds" in (
        result.stderr
    )
    assert "enc:v1:" in Path("c.yaml").read_text()
    assert Path("team/base.yaml").read_text() == BASE
    listed = rows(**environ)
    assert (listed["openai"]["kept"], listed["openai"]["where"]) == ("enc", None)
    Path("c.prod.yaml").write_text("providers: {llm: {openai: {api_key: '${G1}'}}}\n")
    environ["AMAS_ENVIRONMENT"] = "prod"
    result = CliRunner().invoke(
        app, ["keys", "set", "openai", "-c", "c.yaml"], input=OTHER, env=ENVIRON | environ
    )
    assert "c.prod.yaml:1:37: there is a key of 'openai' too, and it is that one" in result.stderr


def test_encrypting_leaves_other_files_and_names_them() -> None:
    """A key that stands as plain text in an extended file is for a run on that file."""
    done = run("keys", "encrypt", AMAS_MASTER_KEY=generate().get_secret_value())
    assert done.code == 0
    assert (
        "team/base.yaml:7:23: providers.llm.openai.api_key stands there as plain text" in done.err
    )
    assert Path("team/base.yaml").read_text() == BASE


def test_the_name_of_a_variable_is_no_key_to_be_sealed() -> None:
    """What names a variable in another tool's way is broken, and said to be written as ours."""
    master = generate()
    row = "{provider: openai, api_key: "
    text = (
        f"providers:\n  llm:\n    a: {row}A_KEY}}\n    b: {row}$(B_TOKEN)}}\n    c: {row}{KEY}}}\n"
    )
    Path("c.yaml").write_text(text)
    done = run("keys", "encrypt", AMAS_MASTER_KEY=master.get_secret_value())
    assert "a.api_key: is left: this is no key but a variable; write it as ${A_KEY}" in done.err
    assert "b.api_key: is left: this is no key but a variable; write it as ${B_TOKEN}" in done.err
    assert Path("c.yaml").read_text().startswith(text.partition(KEY)[0] + '"enc:v1:')


def test_a_master_key_that_other_files_need_is_kept() -> None:
    """Values sealed in an extended file must still open after a rotation of this one."""
    master = generate()
    place = "providers.llm.openai.api_key"
    token = seal(Secret(KEY), place, MasterKey(master), now=1_700_000_000)
    Path("team/base.yaml").write_text(BASE.replace(f'"{KEY}"', token))
    Path("master").write_text(master.get_secret_value())
    Path("master").chmod(0o600)
    Path("c.yaml").write_text(MAIN + "  security: {master_key: file:master}\n")
    assert rows()["openai"]["mark"] == "opens"
    done = run("keys", "rotate-master", "--new")
    assert done.code == 2
    assert "team/base.yaml:7:23" in done.err
    assert Path("master").read_text() == master.get_secret_value()
    Path("newer").write_text(f"{generate().get_secret_value()}\n{master.get_secret_value()}\n")
    Path("newer").chmod(0o600)
    Path("c.yaml").write_text(MAIN + "  security: {master_key: file:newer}\n")
    done = run("keys", "rotate-master")
    assert done.code == 0
    assert (
        f"keep {MasterKey(master).id}: sealed values stand in team/base.yaml:7:23 too" in done.err
    )


def test_the_audit_commands_read_all_layers() -> None:
    """The path of the records may stand in an extended file."""
    Path("team/base.yaml").write_text("providers:\n  audit: {path: none.jsonl}\n")
    Path("c.yaml").write_text("providers:\n  extends: team/base.yaml\n")
    done = run("audit", "verify", AMAS_MASTER_KEY=generate().get_secret_value())
    assert done.code == 2
    assert "none.jsonl: there are no records" in done.err
