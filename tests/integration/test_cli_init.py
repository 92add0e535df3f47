"""`amas-providers init`: from an empty folder to an answer, with no file written by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from typer.testing import CliRunner

from amas.config.json_schema import FILE_NAME, schema_text
from amas.config.provider_settings import load_settings
from amas.config.yaml_source import read_yaml
from amas.providers.cli.app import app
from amas.providers.cli.keys import files
from amas.providers.cli.rows import init
from amas.providers.cli.rows.finding import ollama_url
from amas.providers.cli.rows.starter import starter_text
from amas.providers.errors import ProviderConfigError
from amas.providers.llm.catalog import load_catalog
from amas.providers.testing.upstream import ThreadedUpstream


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def vendor() -> Iterator[ThreadedUpstream]:
    """Run a server that stands in for every vendor, Ollama included."""
    with ThreadedUpstream("vendor", reply="Hello.") as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, on a machine where no Ollama runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    return tmp_path


def run(*arguments: str, given: str = "", **environ: str) -> Done:
    """Run the command in this process."""
    result = CliRunner().invoke(app, arguments, input=given, env=environ)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def rows() -> dict[str, object]:
    """Return the rows of the file that was written."""
    return dict(read_yaml("providers.yaml").data["llm"] or {})


# --- from nothing to an answer --------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["--provider", "groq"], ["--provider", "my_vllm", "--model", "qwen3"]],
    ids=["known", "unknown"],
)
def test_one_command_leads_to_an_answer(
    vendor: ThreadedUpstream, fake_key: str, arguments: list[str]
) -> None:
    """A provider that is known and a server that is not answer after `init`, as it says."""
    done = run("init", "--yes", *arguments, "--base-url", vendor.url, GROQ_API_KEY=fake_key)
    assert done.code == 0, done.err
    assert fake_key not in Path("providers.yaml").read_text()
    assert 'amas-providers generate -c providers.yaml "hello"' in done.err
    done = run("generate", "-c", "providers.yaml", "hello", GROQ_API_KEY=fake_key)
    assert (done.code, done.out) == (0, "Hello.\n"), done.err


def test_what_is_found_is_written(vendor: ThreadedUpstream, fake_key: str) -> None:
    """Every key in the environment makes a row, and so does an Ollama that runs."""
    vendor.upstream.models = ["nomic-embed-text", "qwen3:8b", "llama3.1:8b"]
    done = run("init", "--yes", GROQ_API_KEY=fake_key, OPENAI_API_KEY="x", OLLAMA_HOST=vendor.url)
    assert done.code == 0, done.err
    assert rows() == {
        "openai": {
            "model": load_catalog()["openai"].default_model,
            "api_key": "${OPENAI_API_KEY}",
        },
        "groq": {"model": load_catalog()["groq"].default_model, "api_key": "${GROQ_API_KEY}"},
        "local": {"model": "llama3.1:8b", "base_url": vendor.url},
    }
    text = Path("providers.yaml").read_text()
    assert fake_key not in text
    assert "# fallback_order: [openai, groq, local]" in text
    assert Path("providers.yaml").stat().st_mode & 0o777 == 0o644
    assert "Found: groq (Groq)" in done.err


@pytest.mark.parametrize(
    ("models", "chosen"), [(["x-embed", "a", "b"], "a"), (["x-embed"], None), ([], None)]
)
def test_of_ollamas_models_one_that_chats_is_taken(
    vendor: ThreadedUpstream, models: list[str], chosen: str | None
) -> None:
    """Where the catalogue's model is not there, the first that chats is taken, or no Ollama."""
    vendor.upstream.models = models
    assert run("init", "--yes", OLLAMA_HOST=vendor.url).code == 0
    row = rows().get("local")
    assert row == (chosen and {"model": chosen, "base_url": vendor.url})


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://localhost:11434"),
        ("0.0.0.0", "http://localhost:11434"),
        (":8000", "http://localhost:8000"),
        ("box:8000", "http://box:8000"),
        ("http://box", "http://box:80"),
        ("https://box", "https://box:443"),
        ("'[::1]:9'", "http://[::1]:9"),
        ("box:port", "http://localhost:11434"),
    ],
)
def test_ollamas_own_variable_is_read_as_ollama_reads_it(host: str, url: str) -> None:
    """A host, a port, both or an address is what OLLAMA_HOST may have."""
    assert ollama_url(host) == url


# --- where there is nothing -----------------------------------------------------------------------


def test_without_anything_the_file_shows_what_to_uncomment() -> None:
    """A file without providers is written and loads, and what to do about it is said."""
    done = run("init")
    assert done.code == 0, done.err
    assert "no provider is enabled yet" in done.err
    assert "OPENAI_API_KEY" in done.err
    assert rows() == {}
    assert "no provider is enabled" in load_settings("providers.yaml", environ={}).warnings[0]


def test_every_suggestion_works_uncommented() -> None:
    """Each line that is commented out is a row that needs nothing but its variable."""
    text = starter_text([], "c.yaml")
    suggested = re.findall(r"(?m)^    # ((\w+): {.*)$", text)
    assert len(suggested) > 4
    for line, name in suggested:
        Path("c.yaml").write_text(text.replace(f"# {line}", line))
        settings = load_settings("c.yaml", environ=dict.fromkeys(load_catalog()[name].env, "x"))
        assert [row.name for row in settings.provider_configs() if row.enabled] == [name]


def test_a_variable_that_is_not_set_is_named() -> None:
    """A row whose key is not there yet is written, and the next step is to set it."""
    done = run("init", "--provider", "groq", "--provider", "mistral", MISTRAL_API_KEY="x")
    assert done.code == 0, done.err
    assert "Not set yet: export GROQ_API_KEY=…" in done.err
    assert "MISTRAL" not in done.err
    assert list(rows()) == ["groq", "mistral"]


# --- at a terminal --------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let somebody sit there."""
    monkeypatch.setattr(init, "at_terminal", lambda: True)


@pytest.mark.usefixtures("terminal")
def test_what_is_found_may_be_left_out_and_more_be_added(vendor: ThreadedUpstream) -> None:
    """Each finding is confirmed, a misspelt name is said to be one, and models are asked for."""
    answers = [
        *("n", "y"),  # openai, groq
        *("mistrall", ""),  # not known, and no address
        *("mistral", "m-1"),
        *("mine", vendor.url, ""),  # the server's only model
        *("other", vendor.url, "m-2"),
        *("mistral", "m-3"),  # again: the last one counts
        "",
    ]
    environ = {"OPENAI_API_KEY": "x", "GROQ_API_KEY": "x"}
    done = run("init", given="\n".join(answers) + "\n", **environ)
    assert done.code == 0, done.err
    assert "did you mean 'mistral'" in done.err
    found = {name: row["model"] for name, row in rows().items() if isinstance(row, dict)}
    groq = load_catalog()["groq"].default_model
    assert found == {"groq": groq, "mine": "test-model", "other": "m-2", "mistral": "m-3"}


@pytest.mark.usefixtures("terminal")
def test_a_key_is_no_answer_to_a_question() -> None:
    """What looks like a key is not repeated and not written, whatever was asked for."""
    key = "gsk" + "_" + "a1B2" * 8
    answers = [key, "mistral", key, "mistral", "m", ""]
    done = run("init", given="\n".join(answers) + "\n")
    assert done.code == 0, done.err
    assert done.err.count("looks like a key") == 2
    assert rows() == {"mistral": {"model": "m", "api_key": "${MISTRAL_API_KEY}"}}


@pytest.mark.usefixtures("terminal")
def test_who_leaves_the_questions_leaves_nothing_behind(folder: Path) -> None:
    """An end of input or Ctrl-C is exit code 130, and no file is there; --yes asks nothing."""
    assert run("init", GROQ_API_KEY="x").code == 130
    assert run("init", given="y\n", GROQ_API_KEY="x").code == 130
    assert list(folder.iterdir()) == []
    assert run("init", "--yes", GROQ_API_KEY="x").code == 0


# --- the file -------------------------------------------------------------------------------------


def test_a_file_that_is_there_is_never_replaced_unasked(folder: Path) -> None:
    """Without --force a file stays as it is; with it, its mode stays."""
    file = folder / "providers.yaml"
    file.write_text("mine")
    file.chmod(0o640)
    done = run("init", "--yes")
    assert (done.code, file.read_text()) == (2, "mine")
    assert "there is such a file already; add to it with" in done.err
    assert "--force" in done.err
    assert run("init", "--yes", "--force").code == 0
    assert file.read_text().startswith("# yaml-language-server")
    assert file.stat().st_mode & 0o777 == 0o640
    assert {each.name for each in folder.iterdir()} == {"providers.yaml", FILE_NAME}


def test_a_file_that_would_not_load_with_its_layers_is_not_written(folder: Path) -> None:
    """What an overlay says of rows that would be gone is told, and the file stays."""
    file = folder / "providers.yaml"
    file.write_text("mine")
    overlay = "providers:\n  manager: {fallback_order: [mine]}\n"
    (folder / "providers.production.yaml").write_text(overlay)
    command = ("init", "--yes", "--force", "--provider", "groq")
    done = run(*command, AMAS_ENVIRONMENT="production")
    assert (done.code, file.read_text()) == (2, "mine")
    assert "nothing is written" in done.err
    assert "providers.production.yaml:2:" in done.err
    assert run(*command).code == 0


def test_a_file_system_without_links_will_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no hard links the file is put in place another way, over nothing."""

    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("amas.providers.cli.keys.files.os.link", no_links)
    files.new_file("a", b"first")
    with pytest.raises(ProviderConfigError, match="there is such a file already"):
        files.new_file("a", b"second")
    assert [(each.name, each.read_bytes()) for each in folder.iterdir()] == [("a", b"first")]


def test_editors_find_the_schema_beside_it(folder: Path, fake_key: str) -> None:
    """The file names the schema that is written beside it, and fits it; one's own is kept."""
    assert run("init", "--yes", GROQ_API_KEY=fake_key).code == 0
    schema = folder / FILE_NAME
    first = (folder / "providers.yaml").read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={FILE_NAME}"
    assert schema.read_text() == schema_text()
    document = {"providers": read_yaml("providers.yaml").data}
    Draft7Validator(json.loads(schema.read_text())).validate(document)
    schema.write_text("{}")
    done = run("init", "sub.yaml", "--yes")
    assert (done.code, schema.read_text()) == (0, "{}")
    assert "kept as it was" in done.err
    assert run("init", "sub.yaml", "--yes", "--force").code == 0
    assert schema.read_text() == schema_text()


def test_without_the_schema_there_is_one_file(folder: Path) -> None:
    """With --no-schema nothing is written beside the file, and nothing refers to it."""
    assert run("init", "--yes", "--no-schema").code == 0
    assert [each.name for each in folder.iterdir()] == ["providers.yaml"]
    assert "$schema" not in Path("providers.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "m"], "give exactly one"),
        (["--provider", "groq", "--provider", "groq"], "groq: named twice"),
        (["--provider", "gruq"], "did you mean 'groq'"),
        (["--provider", "mine", "--base-url", "ftp://x", "--model", "m"], "mine.base_url"),
        (["no/such/folder.yaml"], "cannot be written: No such file or directory"),
        (["providers.yaml", "extra"], "a key is never one"),
        ([FILE_NAME], "this is the name of the schema"),
        ([FILE_NAME, "--force", "--no-schema"], "this is the name of the schema"),
    ],
)
def test_a_mistake_writes_nothing(folder: Path, arguments: list[str], said: str) -> None:
    """What cannot be written is the exit code 2, with what to do, and no file."""
    done = run("init", *arguments, "--yes")
    assert done.code == 2
    assert said in done.err
    assert list(folder.iterdir()) == []
