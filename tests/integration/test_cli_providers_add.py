"""`amas-providers providers add` and `catalog`, and what the shell completes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from amas.config.provider_settings import load_settings
from amas.providers.cli.app import app
from amas.providers.cli.rows import adding, models
from amas.providers.cli.rows.loading import row_of
from amas.providers.cli.rows.planning import Plan, Wish, plan
from amas.providers.errors import ProviderConfigError
from amas.providers.llm.catalog import catalog, load_catalog
from amas.providers.security.master_key import generate
from amas.providers.security.secrets import make_opener
from amas.providers.testing.upstream import ThreadedUpstream

TEXT = """\
# Ours.
providers:
  manager: {deadline: 60}   # one minute
  llm:
    openai: {api_key: "${OPENAI_API_KEY}"}   # first
    # later: anthropic
# The end.
"""


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class House:
    """A configuration, a vendor that accepts one key, and the command."""

    def __init__(self, folder: Path, vendor: ThreadedUpstream, key: str) -> None:
        self.config = folder / "c.yaml"
        self.config.write_text(TEXT)
        self.vendor = vendor
        self.key = key
        self.environ: dict[str, str] = {}

    def add(self, *arguments: str, given: str = "") -> Done:
        """Run `providers add` in this process."""
        command = ["providers", "add", *arguments, "--config", str(self.config)]
        result = CliRunner().invoke(app, command, input=given, env=self.environ)
        assert isinstance(result.exception, SystemExit | None), result.exception
        assert self.key not in result.output
        return Done(result.exit_code, result.stdout, result.stderr)

    def added(self) -> str:
        """Return the one line that was added."""
        before, now = TEXT.splitlines(), self.config.read_text().splitlines()
        assert [line for line in now if line in before] == before
        (line,) = [line for line in now if line not in before]
        return line.strip()

    def untouched(self) -> bool:
        """Tell whether the file is as it was, with nothing beside it."""
        return self.config.read_text() == TEXT and len(list(self.config.parent.iterdir())) == 1


@pytest.fixture
def house(tmp_path: Path, fake_key: str) -> Iterator[House]:
    """Give out a configuration, and a vendor that wants the key."""
    with ThreadedUpstream("vendor", keys=fake_key) as vendor:
        yield House(tmp_path, vendor, fake_key)


# --- add ------------------------------------------------------------------------------------------


def test_a_known_provider_is_added_with_a_reference_to_its_variable(house: House) -> None:
    """The key in the environment is checked by the listing alone; the file gets its name only."""
    house.environ = {"GROQ_API_KEY": house.key}
    done = house.add("groq", "--base-url", house.vendor.url)
    assert done.code == 0, done.err
    model = load_catalog()["groq"].default_model
    assert house.added() == (
        f'groq: {{model: {model}, base_url: "{house.vendor.url}", api_key: "${{GROQ_API_KEY}}"}}'
    )
    assert "is added" in done.err
    assert "accepted" in done.err
    assert {request.endpoint for request in house.vendor.requests} == {"models"}


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["real", "dry"])
def test_a_refused_key_changes_nothing(house: House, dry: tuple[str, ...]) -> None:
    """The provider's refusal is the exit code 1, and the file is as it was."""
    house.environ = {"GROQ_API_KEY": f"not-{house.key[:9]}"}
    done = house.add("groq", "--base-url", house.vendor.url, *dry)
    assert done.code == 1
    assert "nothing is changed: the key is refused" in done.err
    assert "--no-check" in done.err
    assert house.untouched()


def test_an_unknown_server_is_added_by_its_address(house: House) -> None:
    """Any name with an address is an OpenAI-compatible server; its only model is found out."""
    house.vendor.upstream.keys = None
    done = house.add("my_vllm", "--base-url", f"{house.vendor.url}/v1")
    assert done.code == 0, done.err
    assert house.added() == (
        f'my_vllm: {{provider: custom, model: test-model, base_url: "{house.vendor.url}/v1",'
        " api_key: none}"
    )
    assert "it answers" in done.err


def test_a_dry_run_writes_the_row_to_the_screen(house: House) -> None:
    """With --dry-run the row goes to stdout and the file stays."""
    house.environ = {"GROQ_API_KEY": house.key}
    done = house.add("groq", "--as", "quick", "--base-url", house.vendor.url, "--dry-run")
    assert done.code == 0, done.err
    assert done.out.startswith("quick: {provider: groq, model: ")
    assert "would be added" in done.err
    assert house.untouched()


def test_a_key_that_is_piped_in_is_sealed(house: House) -> None:
    """With a master key, a key from standard input stands in the file sealed, and opens."""
    master = generate()
    house.environ = {"AMAS_MASTER_KEY": master.get_secret_value()}
    address = ("--base-url", house.vendor.url)
    done = house.add("groq", *address, "--key-from", "-", given=f"{house.key}\n")
    assert done.code == 0, done.err
    assert "sealed" in done.err
    settings = load_settings(house.config, environ={}, sealed=lambda _: make_opener([master]))
    row = next(each for each in settings.provider_configs() if each.name == "groq")
    assert row.key_value == house.key


@pytest.mark.parametrize(
    ("master", "answers", "code", "added"),
    [
        (True, "{key}", 0, "enc:v1:"),
        (False, "y\n{key}", 0, 'api_key: "${GROQ_API_KEY}"'),
        (False, "y\nnot-{key}", 1, None),
        (False, "n\n", 2, None),
        (False, "", 130, None),
    ],
    ids=["sealed", "reference", "refused", "declined", "left"],
)
def test_at_a_terminal_a_key_is_asked_for(
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    *,
    master: bool,
    answers: str,
    code: int,
    added: str | None,
) -> None:
    """A key without a variable is sealed by the master key, or else checked and referred to."""
    monkeypatch.setattr(adding, "at_terminal", lambda: True)
    house.environ = {"AMAS_MASTER_KEY": generate().get_secret_value()} if master else {}
    done = house.add("groq", "--base-url", house.vendor.url, given=answers.format(key=house.key))
    assert done.code == code, done.err
    assert house.untouched() if added is None else added in house.config.read_text()
    assert master or "there is no master key" in done.err
    assert ("export GROQ_API_KEY=" in done.err) == (not master and code in {0, 2})


@pytest.mark.slow
def test_a_key_is_typed_hidden_at_a_real_terminal(house: House) -> None:
    """The terminal shows the question and not the key, and the row is there."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "amas.providers.cli", "providers", "add", "groq"]
    command += ["--base-url", house.vendor.url, "--config", str(house.config)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = ""
        for question, answer in (("Go on like that?", "y"), ("it is not shown", house.key)):
            while question not in shown:
                shown += os.read(ours, 4096).decode()
            os.write(ours, f"{answer}\n".encode())
        with suppress(OSError):  # how the end of a terminal is told
            while piece := os.read(ours, 4096):
                shown += piece.decode()
        assert process.wait(timeout=20) == 0, shown
    os.close(ours)
    assert house.key not in shown
    assert "export GROQ_API_KEY=" in shown
    assert house.added().startswith("groq: ")


@pytest.mark.parametrize("base", [False, True], ids=["file", "base"])
@pytest.mark.parametrize("sealed", [False, True], ids=["reference", "sealed"])
def test_a_row_that_would_break_the_file_is_refused(
    house: House, tmp_path: Path, *, base: bool, sealed: bool
) -> None:
    """An alias of the new row's name, here or in a layer, is told, and nothing is written."""
    aliases = "  models: {mistral: [openai]}\n"
    (tmp_path / "base.yaml").write_text(f"providers:\n{aliases}")
    text = TEXT.replace("  llm:", f"{'  extends: base.yaml' + chr(10) if base else aliases}  llm:")
    house.config.write_text(text)
    house.environ = {"AMAS_MASTER_KEY": generate().get_secret_value()}
    how = ("--key-from", "-") if sealed else ()
    done = house.add("mistral", "--no-check", *how, given=house.key)
    assert done.code == 2
    assert "nothing is written" in done.err
    assert f"{'base.yaml:2:12' if base else 'c.yaml:4:12'}: providers.models.mistral" in done.err
    assert house.config.read_text() == text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["openai"], "c.yaml:5:5: 'openai' is configured already"),
        (["openia"], "did you mean 'openai'"),
        (["mistral"], "export MISTRAL_API_KEY=…   (get a key at https://"),
        (["a b"], "at most 64 letters"),
        (["groq", "--key-from", "not a name"], "takes the name of an environment variable"),
        (["groq", "--as", "no good"], "at most 64 letters"),
        (["mine", "--base-url", "no-address", "--model", "m", "--no-check"], "mine.base_url: "),
        (["mine", "--base-url", "https://x.example/v1", "--model", "m"], "export MINE_API_KEY=…"),
        (["oci", "--model", "m", "--no-check"], "give its base_url"),
        (["groq", "--as", ""], "at most 64 letters"),
        (["groq", "extra"], "a key is never one"),
        (["groq", "--key-from", "-"], "there is no master key"),
    ],
)
def test_a_mistake_gets_a_way_out(house: House, arguments: list[str], said: str) -> None:
    """What cannot be added is the exit code 2, with what to do; the file is as it was."""
    done = house.add(*arguments, given=house.key)
    assert done.code == 2
    assert said in done.err
    assert house.untouched()


@pytest.mark.parametrize(
    "command",
    [
        ["providers", "add", "groq", "--as"],
        ["providers", "add"],
        ["providers", "add", "groq", "--model"],
        ["providers", "add", "groq", "--key-from"],
        ["providers", "add", "groq", "--option", "organization={}"],
        ["providers", "add", "groq", "--base-url", "https://x.example/v1?key={}"],
        ["init"],
        ["init", "--provider"],
    ],
    ids=" ".join,
)
def test_what_looks_like_a_key_is_no_argument(house: House, command: list[str]) -> None:
    """A key as an argument is refused wherever it stands, and not repeated."""
    key = "gsk" + "_" + "a1B2" * 8
    command = [word.format(key) for word in command]
    command += [] if key in command[-1] else [key]
    environ = {"AMAS_PROVIDERS_CONFIG": str(house.config)}
    done = CliRunner().invoke(app, command, env=environ)
    assert done.exit_code == 2
    assert "looks like a key" in done.stderr
    assert key not in done.output
    assert house.untouched()


def test_a_file_with_mistakes_is_not_added_to(house: House) -> None:
    """The mistakes of the file are told first, each with its place."""
    house.config.write_text(TEXT.replace("deadline", "dedline"))
    done = house.add("groq", "--no-check")
    assert done.code == 2
    assert "c.yaml:3:13: providers.manager.dedline" in done.err


def test_a_row_without_its_variable_is_added_if_asked(house: House) -> None:
    """With --no-check the row is there at once, and takes part once its variable is set."""
    done = house.add("mistral", "--no-check")
    assert done.code == 0, done.err
    assert 'api_key: "${MISTRAL_API_KEY}"' in house.added()
    assert "takes part once MISTRAL_API_KEY is set" in done.err


def test_a_missing_file_is_made(house: House) -> None:
    """A file that is not there is made, readable for all, and that is said."""
    house.config.unlink()
    done = house.add("mistral", "--no-check", "--dry-run")
    assert (done.code, house.config.exists()) == (0, False)
    done = house.add("mistral", "--no-check")
    assert done.code == 0, done.err
    assert "a new file" in done.err
    assert house.config.stat().st_mode & 0o777 == 0o644
    assert list(load_settings(house.config, environ={}).llm) == ["mistral"]
    house.config.unlink()
    done = house.add("mistral", "--key-from", "-", given=house.key)
    assert (done.code, house.config.exists()) == (2, False)
    assert "amas-providers init" in done.err


def test_the_file_above_the_command_counts(house: House, tmp_path: Path) -> None:
    """`providers --config A add` means A, also where the variable names another file."""
    other = tmp_path / "other.yaml"
    command = ["providers", "--config", str(other), "add", "mistral", "--no-check"]
    environ = {"AMAS_PROVIDERS_CONFIG": str(house.config)}
    assert CliRunner().invoke(app, command, env=environ).exit_code == 0
    assert other.exists()
    assert house.config.read_text() == TEXT
    done = CliRunner().invoke(app, ["providers", "add", "mistral"])
    assert (done.exit_code, "say which file" in done.stderr) == (2, True)


def test_of_several_models_one_is_chosen(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with several models is listed; at a terminal one of them is asked for."""
    house.vendor.upstream.keys = None
    house.vendor.upstream.models = [f"m{index}" for index in range(12)]
    arguments = ("mine", "--base-url", house.vendor.url)
    done = house.add(*arguments)
    assert done.code == 2
    assert "with --model; its server has m0, m1" in done.err
    assert "and 2 more" in done.err
    monkeypatch.setattr(models, "at_terminal", lambda: True)
    assert house.add(*arguments, given="m3\n").code == 0
    assert "model: m3," in house.added()
    assert house.add(*arguments, "--as", "other").code == 130


def test_a_server_that_does_not_answer_cannot_name_its_models(house: House) -> None:
    """Without a model and without an answer, the user is to say which."""
    done = house.add("mine", "--base-url", "http://127.0.0.1:1")
    assert done.code == 2
    assert "with --model; its server does not tell (" in done.err


@pytest.mark.parametrize("name", [*load_catalog(), *sorted(catalog().others)])
def test_every_known_provider_makes_a_row_that_loads(name: str) -> None:
    """Whatever the catalogue or LiteLLM knows, its row is one that the loader accepts."""
    entry = load_catalog().get(name)
    wish = Wish(
        name=name,
        model=None if entry and entry.default_model else "m",
        base_url="https://x.example/v1" if entry is None or entry.base_url is None else None,
    )
    row = plan(wish, {})
    assert bool(row.variable) == str(row.fields.get("api_key", "none")).startswith("${")
    while (said := problem_of(row)) is not None:
        # Some need more than that; the message says what to write, each time something else.
        way_out = re.search(r"\.(\w+) is missing; write for example \1: \"?([^\"]+)", said)
        assert way_out, said
        wish = replace(wish, options=[*wish.options, "=".join(way_out.groups())])
        assert len(wish.options) < 5, said
        row = plan(wish, {})


def problem_of(row: Plan) -> str | None:
    """Return what the loader says against a row; None if it accepts it."""
    try:
        row_of(row)
    except ProviderConfigError as error:
        return error.problems[0]
    return None


def test_options_go_into_the_row(house: House, fake_key: str) -> None:
    """LiteLLM's own parameters are given one by one; a credential among them is a reference."""
    arguments = ("mine", "--base-url", house.vendor.url, "--model", "m", "--no-check")
    done = house.add(*arguments, "--option", "api_version=1", "--option", "client_secret=${S}")
    assert done.code == 0, done.err
    assert 'options: {api_version: "1", client_secret: "${S}"}' in house.config.read_text()
    for text in (f"client_secret={fake_key}", fake_key, "=x"):
        done = house.add("other", *arguments[1:], "--option", text)
        assert (done.code, "other" in house.config.read_text()) == (2, False)
    done = house.add("oci", *arguments[1:])
    assert (done.code, "go into options: of its row" in done.err) == (0, True)
    done = house.add("azure_deployments", *arguments[1:])
    assert (done.code, "--option NAME=VALUE" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Wish(name="s", model="m", base_url="http://10.1.2.3/v1", key_from="K"), {"local": True}),
        (Wish(name="s", model="m", base_url="http://10.1.2.3/v1"), {"api_key": "none"}),
        (Wish(name="s", model="m", base_url="https://s.example"), {"api_key": "${S_API_KEY}"}),
        (
            Wish(name="s", model="m", base_url="https://s.example", key_from="none"),
            {"api_key": "none"},
        ),
        (Wish(name="s", model="m", base_url="https://s.example", local=True), {"local": True}),
        (Wish(name="s", model="m", base_url="http://localhost:1", key_from="K"), {"local": None}),
        (Wish(name="s", model="m", base_url="http://localhost:1", keyed=True), {"local": None}),
        (Wish(name="ollama_chat", model="m"), {"provider": "ollama", "api_key": None}),
        (Wish(name="openai", model="groq/x"), {"provider": "openai"}),
        (Wish(name="openai", row_name="groq"), {"provider": "openai"}),
        (Wish(name="s", model="m", base_url="http://[x"), {"api_key": "${S_API_KEY}"}),
    ],
)
def test_a_row_says_what_its_address_needs(wish: Wish, expected: dict[str, object]) -> None:
    """A server of one's own is marked as such, and a name that misleads is explained."""
    fields = plan(wish, {}).fields
    assert {name: fields.get(name) for name in expected} == expected


def test_the_variable_that_is_set_has_the_key() -> None:
    """Of several variables of a vendor the one that is set is referred to."""
    first, second = load_catalog()["groq"].env[:2]
    assert plan(Wish(name="groq"), {second: "x", first: " "}).variable == second
    assert plan(Wish(name="groq"), {}).variable == first
    with pytest.raises(ProviderConfigError, match="neither the catalogue nor LiteLLM"):
        plan(Wish(name="nobody"), {})


# --- catalog --------------------------------------------------------------------------------------


def catalog_command(*arguments: str) -> Done:
    """Run `providers catalog`."""
    result = CliRunner().invoke(app, ["providers", "catalog", *arguments])
    return Done(result.exit_code, result.stdout, result.stderr)


def test_the_catalogue_is_listed_whole() -> None:
    """Every row is there by name, and so are LiteLLM's other prefixes."""
    told = json.loads(catalog_command("--json").out)
    assert [row["name"] for row in told["providers"]] == list(load_catalog())
    assert set(told["others"]) == catalog().others
    out = catalog_command().out
    assert all(f"\n{name} " in out for name in load_catalog())
    assert "by LiteLLM's own name" in out
    through = {row["name"] for row in told["providers"] if row["detour"]}
    assert through == {"azure_deployments", "bedrock", "vertex_ai"}
    assert "Through LiteLLM, where others are direct: azure_deployments (" in out


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("MISTRAL", 0, "https://console.mistral.ai/api-keys"),
        ("sagemaker", 0, "by LiteLLM's own name: sagemaker"),
        ("custom_openai", 0, "Any OpenAI-compatible server"),
        ("console.mistral", 0, "mistral"),
        ("embeddings", 0, "mistral"),
        ("a server here", 0, "ollama"),
        ("free", 1, "what a model costs is not among them"),
        ("mistrall", 1, "did you mean 'mistral'"),
    ],
)
def test_the_catalogue_is_searched(word: str, code: int, said: str) -> None:
    """A word is looked for in names, titles, prefixes, variables and models; none is exit code 1."""
    done = catalog_command("--search", word)
    assert done.code == code
    assert said in done.out + done.err
    assert "groq" not in done.out


# --- completion -----------------------------------------------------------------------------------


def completed(words: str, **environ: str) -> list[str]:
    """Return what bash would offer for the last word of a line."""
    asked = {
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
        "_AMAS_PROVIDERS_COMPLETE": "complete_bash",
    }
    result = CliRunner().invoke(app, [], prog_name="amas-providers", env=asked | environ)
    assert result.stderr == ""
    return result.stdout.split()


def test_names_are_completed(house: House) -> None:
    """The shell offers the known providers to add, and the configured ones to ask."""
    assert completed("amas-providers providers add mistr") == ["mistral"]
    config = str(house.config)
    assert completed(f"amas-providers generate -c {config} --provider ") == ["openai"]
    assert completed("amas-providers keys set o", AMAS_PROVIDERS_CONFIG=config) == ["openai"]
    assert completed("amas-providers generate --provider ", GROQ_API_KEY="x") == ["groq"]
    assert "manager.deadline" in completed("amas-providers config explain manager.")
    assert completed("amas-providers config explain timeo") == ["timeout"]
    assert "timeout" not in completed("amas-providers config explain ")
    house.config.write_text("providers:\n  extends: base.yaml\n  llm: {b: {model: groq/x}}\n")
    house.config.with_name("base.yaml").write_text("providers:\n  llm: {a: {model: groq/x}}\n")
    assert completed(f"amas-providers generate -c {config} --provider ") == ["a", "b"]
    assert completed("amas-providers generate --provider x", GROQ_API_KEY="x") == []


def test_what_a_call_may_ask_is_completed(house: House) -> None:
    """Aliases, providers and the models of their rows; environments and outcomes elsewhere."""
    house.config.write_text(
        "providers:\n  llm: {b: {model: b/vendor/x}, c: {model: [1]}, d: }\n"
        "  models: {fast: [b], bulk: {chain: [c]}}\n"
    )
    ask = f"amas-providers generate -c {house.config} --model "
    assert completed(ask) == ["fast", "bulk", "b", "c", "d", "b/vendor/x"]
    assert completed(f"{ask}b") == ["bulk", "b", "b/vendor/x"]
    for name in ("staging", "production", "a.b"):
        house.config.with_name(f"{house.config.stem}.{name}.yaml").touch()
    difference = f"amas-providers config diff -c {house.config} --environment "
    assert completed(difference) == ["production", "staging"]
    assert completed(f"{difference}s") == ["staging"]
    assert completed("amas-providers config diff --environment ") == []
    assert completed("amas-providers audit query --outcome c") == [
        *("connection", "context_window", "content_policy", "cancelled", "config")
    ]
    assert completed("amas-providers audit query --outcome fail") == ["failed"]


@pytest.mark.parametrize(
    ("shell", "said"), [("bash", "COMPREPLY"), ("zsh", "#compdef"), ("fish", "complete --command")]
)
def test_the_help_says_how_another_shell_is_served(shell: str, said: str) -> None:
    """What completes for a shell is printed by a variable, which the help names."""
    assert "_AMAS_PROVIDERS_COMPLETE=source_zsh" in CliRunner().invoke(app, ["--help"]).stdout
    environ = {"_AMAS_PROVIDERS_COMPLETE": f"source_{shell}"}
    assert said in CliRunner().invoke(app, [], prog_name="amas-providers", env=environ).stdout


@pytest.mark.parametrize("text", ["providers: [", "providers: {llm: 3}", "providers: 3", ""])
def test_completion_is_silent_on_broken_files(tmp_path: Path, text: str) -> None:
    """A file that cannot be read completes nothing, and says nothing."""
    config = tmp_path / "c.yaml"
    lines = [f"amas-providers generate -c {config} --{name} " for name in ("provider", "model")]
    assert [*map(completed, lines)] == [[], []]
    config.write_text(text)
    assert [*map(completed, lines)] == [[], []]


def test_nothing_heavy_is_loaded(house: House) -> None:
    """Catalogue, completion, and adding without a check do not import LiteLLM."""
    program = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from amas.providers.cli.app import app\n"
        "def run(*arguments, **environ):\n"
        "    done = CliRunner().invoke(app, arguments, prog_name='amas-providers', env=environ)\n"
        "    print(done.exit_code, sorted(HEAVY & sys.modules.keys()))\n"
        "HEAVY = {'litellm', 'openai', 'aiohttp', 'cryptography', 'httpx', 'amas.providers.manager'}\n"
        "run('providers', 'catalog')\n"
        "run(COMP_WORDS='amas-providers generate --provider ', COMP_CWORD='3',"
        " _AMAS_PROVIDERS_COMPLETE='complete_bash')\n"
        "HEAVY = {'litellm', 'openai', 'aiohttp'}\n"
        "run('providers', 'add', 'mistral', '--no-check')\n"
    )
    environ = os.environ | {"AMAS_PROVIDERS_CONFIG": str(house.config)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["0 []"] * 3
