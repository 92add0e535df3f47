"""`amas-providers migrate`, started the way a person starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from amas.config.provider_settings import load_settings
from amas.providers import ProviderConfigError
from amas.providers.cli.app import app
from amas.providers.cli.ending import end
from amas.providers.cli.migrate import config as config_module
from amas.providers.cli.migrate.config import section
from amas.providers.cli.migrate.legacy_tables import SOURCES, TABLES, read_tables
from amas.providers.manager.provider_manager import ProviderManager
from amas.providers.testing.upstream import ThreadedUpstream

COMMAND = [sys.executable, "-X", "dev", "-W", "error", "-m", "amas.providers.cli", "migrate"]

TABLE = """\
llm_service:
  ollama: {name: Ollama, base_url: "http://localhost:11434", model: "llama3.1:70b", priority: 1, provider: local}
  deepseek: {name: DeepSeek, env: DEEPSEEK_API_KEY, base_url: "https://api.deepseek.com/v1", model: deepseek-chat, priority: 2, provider: deepseek}
universal_ai_manager:
  qwen:
    {name: Qwen Plus, env: QWEN_API_KEY, base_url: "https://dashscope.aliyuncs.com/compatible-mode/v1", model: qwen-plus, priority: 5,
     provider: dashscope, max_tokens: 8192, timeout: 30, was: {base_url: "https://dashscope.aliyuncs.com/api/v1"}}
  deepseek: {name: DeepSeek V3.1, env: DEEPSEEK_API_KEY, base_url: "https://api.deepseek.com/v1", model: deepseek-reasoner, priority: 1, provider: deepseek}
  own: {name: Own, env: OWN_API_KEY, base_url: "https://own.invalid/v1", model: "yes", priority: 9}
ultimate_fallback_system:
  deepseek: {name: DeepSeek V3.1, env: DEEPSEEK_API_KEY, base_url: "https://openrouter.ai/api/v1", model: "deepseek/deepseek-chat-v3.1:free", priority: 1, provider: openrouter}
"""


@dataclass
class Done:
    """How the command ended."""

    code: int
    out: str
    err: str


def run(*arguments: str, **environ: str) -> Done:
    """Run the command in this process."""
    result = CliRunner().invoke(app, ["migrate", *arguments], env=environ)
    return Done(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put tables in the place of the real ones."""

    def put(text: str) -> Path:
        path = tmp_path / "legacy_defaults.yaml"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setattr(config_module, "TABLES", path)
        return path

    return put


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """Write a small code base."""
    root = tmp_path / "code"
    (root / ".git").mkdir(parents=True)
    (root / "app.py").write_text(
        "import os\n"
        "from amas.services.llm_service import LLMService\n"
        "\n"
        "service = LLMService({})\n"
        'key = os.getenv("GLM_API_KEY")\n',
        encoding="utf-8",
    )
    (root / "broken.py").write_text("import openai\ndef\n", encoding="utf-8")
    return root


# --- scan -----------------------------------------------------------------------------------------


def test_scan_prints_a_line_for_each_use(code: Path) -> None:
    """Each line begins with the place, says what it is and what to do, and names the guide."""
    done = run("scan", str(code))
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.removeprefix(str(code)).split(" ")[0] for line in lines] == [
        "/app.py:2:1:", "/app.py:4:11:", "/app.py:5:7:", "/broken.py:1:1:",
    ]  # fmt: skip
    assert lines[0].endswith("[MIGRATION.md: llm_service]")
    assert " imports LLMService from llm_service -> may stay; later, ProviderManager" in lines[0]
    assert "calls LLMService() of llm_service (best effort) -> " in lines[1]
    assert "variable GLM_API_KEY -> " in lines[2]


def test_closing_lines_say_what_was_found_and_left_out(code: Path) -> None:
    """The end counts the uses, and names what was skipped or read otherwise."""
    told = run("scan", str(code)).err.splitlines()
    assert told[0] == "4 uses in 2 of 2 files"
    assert told[1].strip() == "llm_service 2, GLM_API_KEY 1, openai 1"
    assert f"1 times folder skipped: {code}/.git" in told
    assert f"1 times syntax error, read line by line: {code}/broken.py" in told


def test_long_lists_of_files_are_cut(tmp_path: Path) -> None:
    """Of many files with the same remark the first are named, and the others counted."""
    for number in range(8):
        (tmp_path / f"{number}.py").write_text("def\n", encoding="utf-8")
    (line,) = run("scan", str(tmp_path)).err.splitlines()[1:]
    assert line.startswith("8 times syntax error, read line by line: ")
    assert line.endswith("4.py, and 3 more")


def test_clean_code_base_is_told_so(tmp_path: Path) -> None:
    """Without any use there are no lines, and the end says so."""
    (tmp_path / "app.py").write_text("print('hello')\n", encoding="utf-8")
    assert run("scan", str(tmp_path)) == Done(0, "", "nothing to migrate in 1 files\n")


def test_scan_as_json_has_everything(code: Path) -> None:
    """A program reads one document with every finding and every note."""
    done = run("scan", str(code), "--json")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert document["path"] == str(code)
    assert document["files"] == 2
    assert document["summary"] == {"llm_service": 2, "GLM_API_KEY": 1, "openai": 1}
    assert {note["path"] for note in document["notes"]} == {f"{code}/.git", f"{code}/broken.py"}
    first = document["findings"][0]
    assert first.pop("todo").startswith("may stay; later, ")
    assert first == {
        "path": f"{code}/app.py", "line": 2, "column": 1, "kind": "import", "subject": "llm_service",
        "what": "imports LLMService from llm_service", "section": "llm_service", "certain": True,
    }  # fmt: skip


@pytest.mark.parametrize("path", ["no/such/folder", "x" * 5000, ""])
def test_path_that_does_not_exist_is_an_error(path: str, tmp_path: Path) -> None:
    """Nothing to read is wrong usage."""
    done = run("scan", str(tmp_path / path) if path else str(tmp_path / "\0"))
    assert (done.code, done.out) == (2, "")
    assert done.err


def test_names_of_files_cannot_disturb_the_terminal(tmp_path: Path) -> None:
    """Control characters and broken letters in a name are shown escaped."""
    name = os.fsdecode(b"\x1b[2J\n\xe4.py")
    (tmp_path / name).write_text("import openai\n", encoding="utf-8")
    done = run("scan", str(tmp_path))
    assert "\\x1b[2J\\n\\udce4.py:1:1: imports openai" in done.out
    assert len(done.out.splitlines()) == 1
    assert json.loads(run("scan", str(tmp_path), "--json").out)["findings"][0]["line"] == 1


def test_scan_needs_no_installed_service(code: Path) -> None:
    """A process of its own, without the scanned code's libraries, does it without a warning."""
    done = subprocess.run(
        [*COMMAND, "scan", "."], cwd=code, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith("app.py:2:1: ")
    assert done.stderr.startswith("4 uses in 2 of 2 files")


def test_reader_may_leave_early(tmp_path: Path) -> None:
    """`… | head -1` ends without a complaint."""
    (tmp_path / "app.py").write_text("import openai\n" * 5000, encoding="utf-8")
    scan = subprocess.Popen(
        [*COMMAND, "scan", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert scan.stdout is not None
    assert scan.stderr is not None
    scan.stdout.readline()
    scan.stdout.close()
    told = scan.stderr.read()
    scan.stderr.close()
    assert (scan.wait(timeout=60), told) == (0, b"")


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left"), 1)]
)
def test_interruption_and_full_disk_end_plainly(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    """What stops the command is an exit code, not a traceback."""

    def stop() -> int:
        raise error

    with pytest.raises(Exception, match=str(code)) as caught:
        end(stop)
    assert getattr(caught.value, "exit_code", None) == code


def test_help_of_migrate_loads_nothing_heavy() -> None:
    """The help of the sub-command waits for neither the scanner nor YAML."""
    program = (
        "import sys\nfrom amas.providers.cli.app import app\n"
        "app(['migrate', '--help'], standalone_mode=False)\n"
        "print([name for name in ('yaml', 'pydantic', 'litellm', 'ast') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert "scan" in done.stdout
    assert "config" in done.stdout
    assert "'yaml'" not in done.stdout.splitlines()[-1]


# --- config ---------------------------------------------------------------------------------------


def written(text: str) -> dict[str, Any]:
    """Return the providers of a written section."""
    llm: dict[str, Any] = yaml.safe_load(text)["providers"]["llm"]
    return llm


def test_each_variable_becomes_a_row_of_its_module(
    table: Callable[[str], Path], fake_key: str
) -> None:
    """The row has that module's corrected address and its model, and a reference to the key."""
    table(TABLE)
    done = run(
        "config", "--from", "universal_ai_manager",
        QWEN_API_KEY=fake_key, OWN_API_KEY=fake_key, DEEPSEEK_API_KEY=" ",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert written(done.out) == {
        "qwen": {
            "provider": "dashscope",
            "api_key": "${QWEN_API_KEY}",
            "base_url": "https://dashscope.aliyuncs.com/compatible-mode/v1",
            "model": "qwen-plus",
            "timeout": 30,
            "params": {"max_tokens": 8192},
        },
        "own": {
            "provider": "openai",
            "api_key": "${OWN_API_KEY}",
            "base_url": "https://own.invalid/v1",
            "model": "yes",
        },
    }
    assert "its address there was https://dashscope.aliyuncs.com/api/v1" in done.out
    assert yaml.safe_load(done.out)["providers"]["manager"] == {"strategy": "intelligent"}
    assert "2 providers enabled, 0 disabled" in done.err


def test_key_itself_is_never_written(tmp_path: Path, fake_key: str) -> None:
    """Neither the file nor what is said about it holds a key."""
    variables = {row.env for rows in read_tables().values() for row in rows if row.env}
    done = run("config", **dict.fromkeys(variables, fake_key))
    assert done.code == 0, done.err
    assert fake_key not in done.out + done.err


def test_same_variable_of_different_vendors_becomes_two_rows(
    table: Callable[[str], Path], fake_key: str
) -> None:
    """One of them is enabled, that of the vendor in the variable's name; a comment says why."""
    table(TABLE)
    done = run("config", "--from", "all", DEEPSEEK_API_KEY=fake_key)
    rows = written(done.out)
    assert list(rows) == ["deepseek", "deepseek_openrouter", "ollama"]
    assert "enabled" not in rows["deepseek"]
    assert rows["deepseek_openrouter"]["enabled"] is False
    assert rows["deepseek_openrouter"]["model"] == "deepseek/deepseek-chat-v3.1:free"
    assert (
        "# DEEPSEEK_API_KEY is one key, but llm_service and universal_ai_manager and manager"
        " sent it to api.deepseek.com." in done.out
    )
    assert "# universal_ai_manager asked for its model deepseek-reasoner" in done.out
    assert "# Enabled, since the name is that of a key of DeepSeek." in done.out


def test_key_that_says_it_is_openrouters_goes_there(
    table: Callable[[str], Path], fake_key: str
) -> None:
    """A key that begins as OpenRouter's do is not sent to the vendor of the variable's name."""
    table(TABLE)
    done = run("config", DEEPSEEK_API_KEY=f"sk-or-v1-{fake_key}")
    rows = written(done.out)
    assert rows["deepseek"]["enabled"] is False
    assert "enabled" not in rows["deepseek_openrouter"]
    assert "# Enabled, since the key begins as OpenRouter's do." in done.out


def test_ambiguous_variable_without_a_known_vendor_stays_with_the_first(
    table: Callable[[str], Path], fake_key: str
) -> None:
    """Where the catalogue knows neither upstream, the first module's is enabled."""
    row = 'x: {{name: X, env: X_API_KEY, base_url: "https://{}.invalid/v1", model: m, priority: 1}}'
    table(
        f"llm_service:\n  {row.format('one')}\nuniversal_ai_manager:\n  {row.format('two')}\n"
        f"ultimate_fallback_system:\n  {row.format('three')}\n"
    )
    rows = written(run("config", X_API_KEY=fake_key).out)
    assert list(rows) == ["x", "x_universal_ai_manager", "x_ultimate_fallback_system"]
    assert [row.get("enabled", True) for row in rows.values()] == [True, False, False]


def test_local_model_follows_the_hosts_variables(table: Callable[[str], Path]) -> None:
    """The old service asked Ollama without any key, and AMAS_LLM_… say where and what."""
    table(TABLE)
    environ = {"AMAS_LLM_HOST": "gpu", "AMAS_LLM_TIMEOUT": "300", "AMAS_LLM_MODEL": "qwen3"}
    done = run("config", "--from", "llm_service", **environ)
    assert written(done.out)["ollama"] == {
        "provider": "local",
        "base_url": "http://${AMAS_LLM_HOST:-localhost}:${AMAS_LLM_PORT:-11434}",
        "model": "${AMAS_LLM_MODEL:-llama3.1:70b}",
        "timeout": "${AMAS_LLM_TIMEOUT:-300}",
    }
    row = load_settings(yaml.safe_load(done.out), environ=environ).llm["ollama"]
    assert (row.base_url, row.model, row.timeout) == ("http://gpu:11434", "qwen3", 300)
    plain = written(run("config", "--from", "llm_service").out)["ollama"]
    assert (plain["base_url"], plain["model"]) == ("http://localhost:11434", "llama3.1:70b")


def test_hosts_manager_takes_rows_of_the_catalogue(fake_key: str) -> None:
    """It had variables only; where nothing gives an address, the row waits for one."""
    done = run(
        "config", "--from", "manager",
        OPENAI_API_KEY=fake_key, GEMINIAI_API_KEY=fake_key, CUSTOM_API_KEY=fake_key,
    )  # fmt: skip
    assert written(done.out) == {
        "openai": {"provider": "openai", "api_key": "${OPENAI_API_KEY}"},
        "gemini": {"provider": "gemini", "api_key": "${GEMINIAI_API_KEY}"},
        "custom": {
            "enabled": False,
            "provider": "custom",
            "api_key": "${CUSTOM_API_KEY}",
            "model": "default",
        },
    }
    assert "# Disabled: nothing says its base_url; add it." in done.out


def test_variables_of_address_and_model_are_referred_to(fake_key: str) -> None:
    """Where the host's variables give address and model, the row reads them from there."""
    environ = {
        "CUSTOM_API_KEY": fake_key, "CUSTOM_BASE_URL": "https://own.invalid/v1",
        "OLLAMA_API_KEY": fake_key, "OLLAMA_MODEL": "qwen3",
    }  # fmt: skip
    rows = written(run("config", "--from", "manager", **environ).out)
    assert rows["custom"] == {
        "provider": "custom",
        "api_key": "${CUSTOM_API_KEY}",
        "base_url": "${CUSTOM_BASE_URL}",
        "model": "default",
    }
    # The key is but a switch there: it is not sent over plain http.
    assert rows["ollama"] == {"provider": "ollama", "model": "${OLLAMA_MODEL}"}
    environ["OLLAMA_BASE_URL"] = "https://ollama.invalid"
    rows = written(run("config", "--from", "manager", **environ).out)
    assert rows["ollama"]["api_key"] == "${OLLAMA_API_KEY}"


def test_variables_of_settings_are_mentioned(fake_key: str) -> None:
    """AI_… variables fed nothing, and are named so that nobody wonders."""
    done = run("config", "--from", "manager", AI_OPENAI_API_KEY=fake_key)
    assert written(done.out) == {}
    assert done.out.endswith("never read by a provider:\n# AI_OPENAI_API_KEY\n")
    assert "no variable of manager is set" in done.err
    assert "no variable of any old module is set" not in done.err


@pytest.mark.parametrize("source", [*SOURCES, "all"])
def test_section_loads_and_is_valid(source: str, tmp_path: Path, fake_key: str) -> None:
    """With every old variable set, each section makes a manager without a warning."""
    variables = {row.env for rows in read_tables().values() for row in rows if row.env}
    environ = dict.fromkeys(variables, fake_key)
    file = tmp_path / "providers.yaml"
    done = run("config", "--from", source, "--output", str(file), **environ)
    assert (done.code, done.out) == (0, ""), done.err
    assert "warning" not in done.err
    assert f"amas-providers check --free --config {file}" in done.err
    text = file.read_text(encoding="utf-8")
    settings = load_settings(file, environ=environ)
    assert settings.warnings == ()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        manager = ProviderManager.from_config(file)
    assert set(manager.providers) == set(written(text))
    enabled = [row for row in written(text).values() if row.get("enabled", True)]
    by_key = [row["api_key"] for row in enabled if "api_key" in row]
    assert len(by_key) == len(set(by_key))
    wanted = SOURCES if source == "all" else (source,)
    known = {row.env for one in wanted for row in read_tables()[one] if row.env}
    told = {row["api_key"][2:-1] for row in written(text).values() if "api_key" in row}
    assert told == known - {"OLLAMA_API_KEY"}


def test_rows_keep_the_order_and_addresses_of_the_old_table(fake_key: str) -> None:
    """The real tables arrive unchanged: as many rows, in their order, where they went."""
    rows = read_tables()["universal_ai_manager"]
    environ = {row.env: fake_key for row in rows if row.env}
    llm = written(section("universal_ai_manager", environ))
    assert list(llm) == [row.pid for row in rows]
    assert [one["base_url"] for one in llm.values()] == [row.base_url for row in rows]
    assert [one["model"] for one in llm.values()] == [row.model for row in rows]


def test_written_section_answers_a_check(
    table: Callable[[str], Path], tmp_path: Path, fake_key: str
) -> None:
    """What was written works: `check --free` reaches the provider."""
    with ThreadedUpstream("vendor") as upstream:
        table(
            "universal_ai_manager:\n  deepseek:"
            f' {{name: D, env: DEEPSEEK_API_KEY, base_url: "{upstream.url}", model: deepseek-chat,'
            " priority: 1, provider: deepseek}\n"
        )
        file = tmp_path / "providers.yaml"
        arguments = ["config", "--from", "universal_ai_manager", "-o", str(file)]
        assert run(*arguments, DEEPSEEK_API_KEY=fake_key).code == 0
        result = CliRunner().invoke(
            app, ["check", "--free", "-c", str(file), "--json"], env={"DEEPSEEK_API_KEY": fake_key}
        )
    assert result.exit_code == 0, result.stderr
    assert [(row["provider"], row["ok"]) for row in json.loads(result.stdout)] == [
        ("deepseek", True)
    ]


def test_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    """Only --force replaces a file."""
    file = tmp_path / "providers.yaml"
    file.write_text("mine\n", encoding="utf-8")
    done = run("config", "-o", str(file))
    assert done.code == 2
    assert "--force overwrites it" in done.err
    assert file.read_text(encoding="utf-8") == "mine\n"
    assert run("config", "-o", str(file), "--force").code == 0
    assert file.read_text(encoding="utf-8").startswith("# Written by ")


@pytest.mark.parametrize("name", ["no/such/folder/x.yaml", "\0", "."])
def test_file_that_cannot_be_written_is_an_error(tmp_path: Path, name: str) -> None:
    """A wrong path is said, and nothing is written."""
    done = run("config", "-o", str(tmp_path / name))
    assert (done.code, done.out) == (2, "")
    assert done.err


@pytest.mark.parametrize(
    "text",
    [
        "- a list",
        "llm_service: {x: [",
        "llm_service: 5",
        "llm_service: {x: 5}",
        "llm_service: {x: {name: X, env: 'a b'}}",
        "llm_service: {'x\ny': {name: X}}",
        "llm_service: {x: {env: X}}",
        "llm_service: {x: {name: X, base_url: 'ftp://x', model: m, provider: nobody}}",
    ],
)
def test_damaged_tables_are_said(table: Callable[[str], Path], text: str) -> None:
    """A file that somebody damaged is named, and nothing is written."""
    table(text)
    done = run("config", "--from", "llm_service")
    assert (done.code, done.out) == (2, "")
    assert done.err


def test_missing_tables_are_said(tmp_path: Path) -> None:
    """Without the file of the old tables the command says which one is missing."""
    with pytest.raises(ProviderConfigError, match="cannot be read"):
        read_tables(tmp_path / "legacy_defaults.yaml")
    assert TABLES.name == "legacy_defaults.yaml"


def test_warnings_of_the_section_are_passed_on(table: Callable[[str], Path]) -> None:
    """What the configuration warns of is said where it is written."""
    table("llm_service: {x: {name: X, model: '${NOWHERE}', base_url: 'http://localhost:1/v1'}}")
    done = run("config", "--from", "llm_service")
    assert done.code == 0
    assert "warning: " in done.err
    assert "NOWHERE" in done.err
