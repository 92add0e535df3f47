"""`amas-providers keys`: keys are sealed, shown and rotated, and never seen."""

from __future__ import annotations

import getpass
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from amas.config import yaml_edit
from amas.config.provider_settings import load_settings
from amas.config.yaml_edit import YamlText
from amas.providers.cli.app import app
from amas.providers.cli.keys import app as keys_app
from amas.providers.cli.keys import asking, editing, files
from amas.providers.errors import ProviderConfigError
from amas.providers.secret import Secret
from amas.providers.security.master_key import MasterKey, generate
from amas.providers.security.secrets import make_opener
from amas.providers.testing.upstream import ThreadedUpstream

TEXT = """\
# Ours.
host: {a: 1}

providers:
    manager: {deadline: 60}      # one minute
    llm:
        openai:                  # first
            api_key: ${OPENAI_API_KEY}   # from the environment
            timeout:   30
        anthropic: {api_key: 'opaque-literal', timeout: 20}   # not sealed yet
        # of our own
        several:
            model: openai/x
            api_keys:
              - "opaque-one"     # first of two
              - ${SECOND}
        azure:
            model: azure/x
            base_url: https://x.example
            proxy: http://user:word@proxy:1
            options: {signing_secret: "opaque-option", api_version: "1"}
        local:
# The end.
"""


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class House:
    """A configuration, its master key, and the command."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "c.yaml"
        self.config.write_text(TEXT)
        self.config.chmod(0o640)
        self.masters = [generate()]
        self.environ: dict[str, str] = {}

    def run(self, *arguments: str, given: str = "") -> Done:
        """Run `keys` in this process."""
        environ: dict[str, str | None] = {
            "AMAS_PROVIDERS_CONFIG": str(self.config),
            "AMAS_MASTER_KEY": " ".join(key.get_secret_value() for key in self.masters),
            **self.environ,
        }
        result = CliRunner().invoke(app, ["keys", *arguments], input=given, env=environ)
        assert isinstance(result.exception, SystemExit | None), result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    def keys(self) -> dict[str, str | None]:
        """Return the keys that a service would have."""
        settings = load_settings(self.config, environ={}, sealed=self._opener)
        return {config.name: config.key_value for config in settings.provider_configs()}

    def _opener(self, _keys: Any) -> Callable[[str, str], str]:
        return make_opener(self.masters)

    def changed(self) -> list[tuple[str, str]]:
        """Return the lines that differ from the first text, none added."""
        now = self.config.read_text().splitlines()
        before = TEXT.splitlines()
        assert len(now) == len(before)
        return [(old, new) for old, new in zip(before, now, strict=True) if old != new]

    def listed(self) -> dict[str, dict[str, Any]]:
        """Return the rows of `list` by provider and field."""
        rows = json.loads(self.run("list", "--json").out)["keys"]
        return {f"{row['provider']}.{row['field']}": row for row in rows}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """Give out a configuration with keys of every kind."""
    monkeypatch.setattr("amas.providers.cli.output.sys.stdin", io.StringIO(), raising=False)
    return House(tmp_path)


# --- set ------------------------------------------------------------------------------------------


def test_set_changes_one_value_and_nothing_else(house: House, fake_key: str) -> None:
    """The reference gives way to a sealed value; comment, order, mode and all else stay."""
    done = house.run("set", "openai", given=fake_key + "\n")
    assert (done.code, done.out) == (0, "")
    assert "providers.llm.openai.api_key: key " in done.err
    assert "is sealed in place of ${VAR}" in done.err
    assert fake_key not in done.err
    ((old, new),) = house.changed()
    assert "from the environment" in new
    assert old.split("${")[0] == new.split('"enc:v1:')[0]
    assert house.keys()["openai"] == fake_key
    assert house.config.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in house.config.parent.iterdir()] == ["c.yaml"]


def test_set_adds_what_is_not_there_yet(house: House, fake_key: str) -> None:
    """A row of the catalogue, the key of an empty row, or one more of several are added."""
    for arguments in (["groq"], ["local"], ["several", "--key", "3"]):
        assert house.run("set", *arguments, given=fake_key).code == 0
    text = house.config.read_text()
    assert [line for line in TEXT.splitlines() if line not in text.splitlines()] == []
    assert house.keys()["groq"] == house.keys()["local"] == fake_key
    settings = load_settings(house.config, environ={}, sealed=house._opener)
    assert [Secret(key).get_secret_value() for key in settings.llm["several"].api_keys] == [
        *("opaque-one", fake_key)
    ]


def test_set_replaces_what_is_no_text(house: House, fake_key: str) -> None:
    """A number in the place of the key, or an empty text, gives way to the key."""
    for wrong in ("12345678", "''"):
        house.config.write_text(TEXT.replace("${OPENAI_API_KEY}", wrong))
        assert house.run("set", "openai", given=fake_key).code == 0
        assert house.keys()["openai"] == fake_key
        assert "# from the environment" in house.config.read_text()


def test_set_into_a_list_replaces_one(house: House, fake_key: str) -> None:
    """--key says which of several keys is meant."""
    assert house.run("set", "several", "--key", "1", given=fake_key).code == 0
    ((old, new),) = house.changed()
    assert "opaque-one" in old
    assert "first of two" in new


def test_a_dry_run_says_and_writes_nothing(house: House, fake_key: str) -> None:
    """--dry-run leaves the file as it is, whichever command it is given to."""
    assert "would be sealed" in house.run("set", "openai", "--dry-run", given=fake_key).err
    assert "would be sealed" in house.run("encrypt", "--dry-run").err
    assert house.changed() == []
    assert house.run("encrypt").code == 0
    sealed = house.config.read_bytes()
    house.masters.insert(0, generate())
    assert "would be sealed with" in house.run("rotate-master", "--dry-run").err
    assert house.config.read_bytes() == sealed


@pytest.mark.parametrize(
    "arguments",
    [
        *(["set", "openai", "{}"], ["set", "{}"], ["set", "openai", "--key", "{}"]),
        *(["set", "openai", "--value={}"], ["rotate", "openai", "{}"], ["encrypt", "{}"]),
        *(["{}"], ["list", "{}"], ["rotate-master", "{}"], ["generate-master", "{}"]),
    ],
    ids=lambda arguments: "-".join(arguments).replace("{}", "KEY"),
)
def test_a_key_as_argument_is_refused_and_not_repeated(
    house: House, fake_key: str, arguments: list[str]
) -> None:
    """Whatever stands where no argument belongs may be a key; the refusal says what to do."""
    done = house.run(*(part.format(fake_key) for part in arguments), given="x" * 20)
    assert done.code == 2
    assert done.err
    assert fake_key not in done.err + done.out
    assert house.changed() == []


@pytest.mark.parametrize(
    ("arguments", "given", "phrase"),
    [
        (["set", "opnai"], "k", "did you mean 'openai'?"),
        (["set", "openai"], "", "no key was given"),
        (["set", "openai"], "two words", "a key is one word"),
        (["set", "openai"], "kéy", "has characters that no key has"),
        *((["set", "openai"], "x" * length, "more than 4,096") for length in (4_097, 70_000)),
        (["rotate", "openai"], "x" * 4_097, "more than 4,096"),
        *(
            (["set", "openai"], reference, "this is a reference, not a key")
            for reference in ("${HOME}", "file:/etc/passwd", "keyring:a/b", "enc:v1:x")
        ),
        (["set", "several"], "k", "'several' has api_keys; say which with --key N"),
        (["set", "several", "--key", "4"], "k", "'several' has 2 api_keys"),
        (["set", "openai", "--key", "1"], "k", "'openai' has no list api_keys"),
        (["rotate", "groq"], "k", "use `keys set` for its first key"),
        (["rotate-master", "--new"], "", "--new needs providers.security.master_key to be file:"),
        (
            ["encrypt", "--print", "openai", "--field", "timeout"],
            "",
            "--field is api_key, proxy or",
        ),
        (["encrypt", "--print", "opnai"], "", "did you mean 'openai'?"),
    ],
    ids=lambda value: "-".join(value)[:60] if isinstance(value, list) else str(value)[:40],
)
def test_what_cannot_be_done_is_said(
    house: House, arguments: list[str], given: str, phrase: str
) -> None:
    """Each refusal is a sentence, with exit code 2, and nothing is written."""
    done = house.run(*arguments, given=given)
    assert (done.code, done.out) == (2, "")
    assert phrase in done.err
    assert house.changed() == []


def test_what_is_needed_is_said(house: House, tmp_path: Path) -> None:
    """Without a master key, a file, or a good one of either, the command says what to do."""
    masters, house.masters = house.masters, []
    assert "keys generate-master" in house.run("encrypt").err
    house.environ["AMAS_MASTER_KEY"] = "no base64!"
    assert "is not written in url-safe base64" in house.run("encrypt").err
    house.environ = {"AMAS_PROVIDERS_CONFIG": ""}
    house.masters = masters
    assert "--config FILE" in house.run("list").err
    house.environ = {"AMAS_PROVIDERS_CONFIG": str(tmp_path / "no.yaml")}
    done = house.run("list")
    assert (done.code, "no.yaml: No such file" in done.err) == (2, True)
    house.environ = {}
    house.config.write_text("providers: {llm: {a: {api_key: x, api_key: y}}}")
    assert "written twice" in house.run("encrypt").err
    house.config.write_text("providers: {security: {master_key: 'file:no'}, llm: {a: {}}}")
    done = house.run("encrypt")
    assert "no cannot be used: No such file" in done.err.replace("the file", "no")
    assert "there is no master key" in done.err


def test_a_master_key_outside_of_providers_is_noticed(house: House) -> None:
    """A master key at the top level is not read, so no command goes on without it."""
    house.masters = []
    house.config.write_text("security: {master_key: 'file:m'}\nproviders: {llm: {a: {}}}\n")
    for command in ("encrypt", "list"):
        done = house.run(command)
        assert done.code == 2
        assert "c.yaml:1:1: providers: `security:` stands beside it" in done.err
    house.config.write_text("security: {other: 1}\nproviders: {llm: {a: {}}}\n")
    assert "stands beside" not in house.run("encrypt").err


def test_a_master_key_that_does_not_fit_does_not_seal(house: House, fake_key: str) -> None:
    """If no other sealed value is of it nothing is sealed; if only some open, that is said."""
    assert house.run("set", "openai", given=fake_key).code == 0
    right = house.masters
    house.masters = [generate()]
    before = house.config.read_bytes()
    for arguments in (["set", "groq"], ["rotate", "anthropic", "--no-check"], ["encrypt"]):
        done = house.run(*arguments, given=fake_key)
        assert done.code == 2
        assert f"use that of id {MasterKey(right[0]).id}; if it is lost, remove" in done.err
    assert house.config.read_bytes() == before
    # The only sealed value may be set anew, whatever it was sealed with.
    assert house.run("set", "openai", "--dry-run", given=fake_key).code == 0
    house.masters += right
    assert house.run("set", "groq", given=fake_key).code == 0
    del house.masters[1]
    for arguments in (["set", "anthropic"], ["encrypt"]):
        done = house.run(*arguments, given=fake_key)
        assert done.code == 0
        assert "warning: does not open: providers.llm.openai.api_key; see" in done.err


# What is no key although it stands where one is expected, and what is said about it.
BROKEN = """\
providers:
    llm:
        openai: {api_key: 12345678, apikey: opaque, timeouts: 3}
        mistral: opaque
        groq: {api_keys: opaque}
        cohere: {api_keys: [1], proxy: }
"""


def test_what_is_broken_is_listed_and_left(house: House, fake_key: str) -> None:
    """Numbers, texts in the place of rows and misspelt fields are named, and never shown."""
    house.config.write_text(BROKEN)
    rows = house.listed()
    assert {name: row["mark"].split()[-1] for name, row in rows.items()} == {
        "openai.api_key": "quotes",
        "openai.apikey": "'api_key'?)",
        "mistral.None": "text",
        "groq.api_keys": "text",
        "cohere.api_keys[0]": "quotes",
    }
    done = house.run("list")
    assert done.code == 1
    assert "`amas-providers check` tells more" in done.err
    encrypted = house.run("encrypt")
    assert encrypted.code == 1
    assert encrypted.err.count("is left: ") == len(rows)
    assert "no key stands there" not in encrypted.err
    assert "opaque" not in done.out + done.err + encrypted.err
    assert house.run("set", "anthropic", given="x" * 4_096).code == 0
    for arguments in (["set", "mistral"], ["set", "groq", "--key", "1"]):
        assert "must be a" in house.run(*arguments, given=fake_key).err
    house.config.write_text("providers: {llm: [openai]}")
    assert house.listed()["None.llm"]["kept"] == "broken"
    assert "llm: must be a mapping" in house.run("set", "openai", given=fake_key).err
    house.config.write_text("providers:\n")
    assert house.listed() == {}
    assert "is not configured" in house.run("rotate", "openai", given=fake_key).err


def test_a_key_in_the_place_of_a_name_is_not_shown(house: House, fake_key: str) -> None:
    """A provider whose name is shaped like a key is masked by every command."""
    house.config.write_text(f"providers: {{llm: {{{fake_key}: {{api_key: opaque}}}}}}")
    for arguments in (["list"], ["list", "--json"], ["encrypt"]):
        done = house.run(*arguments)
        assert done.code == 0
        assert fake_key not in done.out + done.err


# --- how a key comes in ---------------------------------------------------------------------------


class Terminal(io.StringIO):
    """Standard input that is a terminal."""

    def isatty(self) -> bool:  # type: ignore[explicit-override]
        return True


def test_at_a_terminal_the_key_is_typed_hidden(
    monkeypatch: pytest.MonkeyPatch, fake_key: str
) -> None:
    """A terminal is asked without echo; one that cannot hide is refused."""
    monkeypatch.setattr(sys, "stdin", Terminal())
    asked: list[str] = []

    def typed(prompt: str) -> str:
        asked.append(prompt)
        return fake_key

    monkeypatch.setattr(getpass, "getpass", typed)
    assert asking.ask_for_key("openai") == fake_key
    assert asked == ["Key of openai (it is not shown): "]

    def shown(_prompt: str) -> str:
        import warnings

        warnings.warn("echo", getpass.GetPassWarning, stacklevel=1)
        return fake_key

    monkeypatch.setattr(getpass, "getpass", shown)
    with pytest.raises(ProviderConfigError, match="would show the key"):
        asking.ask_for_key("openai")

    def ended(_prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr(getpass, "getpass", ended)
    with pytest.raises(ProviderConfigError, match="no key was given"):
        asking.ask_for_key("openai")


# --- encrypt --------------------------------------------------------------------------------------


def test_encrypt_seals_every_plain_key(house: House) -> None:
    """Keys, one of several, credentials in options and in a proxy; references stay."""
    before = {name: key for name, key in house.keys().items() if key}
    done = house.run("encrypt")
    assert done.code == 0
    assert done.err.count("is sealed") == 4
    text = house.config.read_text()
    assert "opaque" not in text
    assert "word" not in text
    assert "'enc:v1:" in text  # quoted as it was
    assert len(house.changed()) == 4
    assert {name: key for name, key in house.keys().items() if key} == before
    settings = load_settings(house.config, environ={}, sealed=house._opener)
    assert settings.llm["azure"].options["signing_secret"] == "opaque-option"
    assert settings.llm["azure"].proxy == "http://user:word@proxy:1"
    assert "no key stands there as plain text" in house.run("encrypt").err


def test_encrypt_leaves_what_is_part_reference(house: House) -> None:
    """A default inside a reference cannot be sealed alone; it is left, and said."""
    house.config.write_text("providers: {llm: {openai: {api_key: '${NO:-opaque-default}'}}}")
    done = house.run("encrypt")
    assert done.code == 1
    assert "providers.llm.openai.api_key: is left" in done.err
    assert "opaque" not in done.err
    assert "opaque-default" in house.config.read_text()


def test_a_value_can_be_made_for_pasting(house: House, fake_key: str) -> None:
    """--print seals for one field, which opens there, and leaves the file alone."""
    done = house.run("encrypt", "--print", "anthropic", given=fake_key)
    assert (done.code, house.changed()) == (0, [])
    house.config.write_text(TEXT.replace("opaque-literal", done.out.strip()))
    assert house.keys()["anthropic"] == fake_key
    option = house.run(
        *("encrypt", "--print", "azure", "--field", "options.signing_secret"), given=fake_key
    )
    house.config.write_text(TEXT.replace("opaque-option", option.out.strip()))
    settings = load_settings(house.config, environ={}, sealed=house._opener)
    assert settings.llm["azure"].options["signing_secret"] == fake_key


# --- list -----------------------------------------------------------------------------------------


def test_list_shows_how_keys_are_kept_and_never_a_key(house: House, fake_key: str) -> None:
    """Kind, fingerprint, age, master key and mark of each; the same key has the same print."""
    key_file = house.config.with_name("key")
    key_file.write_text(fake_key)
    os.utime(key_file, (time.time() - 3 * 86_400 - 60,) * 2)
    house.config.write_text(
        TEXT.replace("${SECOND}", "file:key").replace(
            "        local:\n",
            "        local:\n        g: {api_key: none}\n        k: {api_key: 'keyring:bad'}\n",
        )
        + "    alerts: {webhook: '${HOOK}'}\n"
    )
    assert house.run("set", "anthropic", given=fake_key).code == 0
    house.environ["OPENAI_API_KEY"] = fake_key
    done = house.run("list", "--json")
    assert done.code == 1  # one is not to be had
    told = json.loads(done.out)
    rows = {f"{row['provider']}.{row['field']}": row for row in told["keys"]}
    assert {name: row["kept"] for name, row in rows.items()} == {
        "openai.api_key": "${VAR}",
        "anthropic.api_key": "enc",
        "several.api_keys[0]": "plain text",
        "several.api_keys[1]": "file",
        "azure.proxy": "plain text",
        "azure.options.signing_secret": "plain text",
        "g.api_key": "none",
        "k.api_key": "keyring",
        "None.alerts.webhook": "${VAR}",
        "azure.api_key": "none",
        "local.api_key": "none",
    }
    print_ = MasterKey(house.masters[0]).fingerprint(Secret(fake_key))
    same = [name for name, row in rows.items() if row["fingerprint"] == print_]
    assert same == ["openai.api_key", "anthropic.api_key", "several.api_keys[1]"]
    assert rows["anthropic.api_key"]["master_key"] == MasterKey(house.masters[0]).id
    assert told["master_keys"] == [MasterKey(house.masters[0]).id]
    assert "${HOOK} is not set" in rows["None.alerts.webhook"]["mark"]
    assert "write it as keyring:" in rows["k.api_key"]["mark"]
    table = house.run("list")
    assert "3 d" in table.out
    assert "0 d" in table.out
    assert "opens" in table.out
    assert "keys encrypt" in table.out
    assert f"{MasterKey(house.masters[0]).id} seals" in table.err
    shown = done.out + done.err + table.out + table.err
    for secret in (fake_key, "opaque", "word", house.masters[0].get_secret_value()):
        assert secret not in shown


def test_list_marks_what_does_not_open(house: House, fake_key: str) -> None:
    """Another master key, a moved value and a broken one are marked, each with its reason."""
    assert house.run("set", "openai", given=fake_key).code == 0
    text = house.config.read_text()
    token = text.split('"enc:')[1].split('"')[0]
    house.config.write_text(
        text.replace("opaque-literal", f"enc:{token}")
        .replace("opaque-one", f"enc:{token}!")
        .replace("${SECOND}", "'file:${'")
    )
    rows = house.listed()
    assert rows["openai.api_key"]["mark"] == "opens"
    assert "not what was sealed for llm.anthropic.api_key" in rows["anthropic.api_key"]["mark"]
    assert "something in it was changed" in rows["several.api_keys[0]"]["mark"]
    assert "${ begins no reference" in rows["several.api_keys[1]"]["mark"]
    assert rows["anthropic.api_key"]["created"] is None  # a time that is not proven
    house.masters = [generate(), *house.masters]
    assert f"{MasterKey(house.masters[1]).id} also open" in house.run("list").err
    del house.masters[1]
    row = house.listed()["openai.api_key"]
    assert f"configured: {MasterKey(house.masters[0]).id}" in row["mark"]
    house.masters = []
    house.config.write_text("providers: {security: {master_key: '${NO}'}}\n")
    done = house.run("list")
    assert "warning: " in done.err
    assert "${NO} is not set" in done.err
    assert "master keys: none" in done.err


# --- rotation -------------------------------------------------------------------------------------


def test_rotate_master_seals_everything_anew(house: House) -> None:
    """Afterwards the new master key alone opens all, ages stay, and it says what may go."""
    assert house.run("encrypt").code == 0
    before, keys = house.listed(), house.keys()
    house.masters.insert(0, generate())
    done = house.run("rotate-master")
    assert done.code == 0
    assert f"does not need these master keys any more: {MasterKey(house.masters[1]).id}" in done.err
    content = house.config.read_bytes()
    assert "every sealed value is sealed with" in house.run("rotate-master").err
    assert house.config.read_bytes() == content
    del house.masters[1]
    assert house.keys() == keys
    after = house.listed()
    assert {name: row["created"] for name, row in after.items()} == {
        name: row["created"] for name, row in before.items()
    }


def test_rotate_master_changes_nothing_unless_all_opens(house: House) -> None:
    """One value that does not open stops it before anything is written."""
    assert house.run("encrypt").code == 0
    text = house.config.read_text()
    token = text.split("'enc:")[1].split("'")[0]
    house.config.write_text(text.replace("${OPENAI_API_KEY}", f"enc:{token}"))
    content = house.config.read_bytes()
    house.masters.insert(0, generate())
    done = house.run("rotate-master")
    assert done.code == 2
    assert "providers.llm.openai.api_key" in done.err
    assert done.err.rstrip().endswith("nothing is changed")
    assert house.config.read_bytes() == content


@pytest.mark.parametrize("form", ["'file:master'", "['file:master', '${OLD:-}']"])
def test_rotate_master_can_make_the_new_one(house: House, form: str) -> None:
    """With the master key in a file, --new exchanges it there too; the file stays private."""
    file = house.config.with_name("master")
    assert house.run("generate-master", "--output", str(file)).code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    old = file.read_text()
    house.config.write_text(
        TEXT.replace("    llm:\n", f"    security: {{master_key: {form}}}\n    llm:\n")
    )
    house.environ["AMAS_MASTER_KEY"] = ""
    assert house.run("encrypt").code == 0
    assert "would be put in front" in house.run("rotate-master", "--new", "--dry-run").err
    assert file.read_text() == old
    assert house.run("rotate-master", "--new", "--keep-old").code == 0
    assert file.read_text().splitlines()[1:] == old.splitlines()
    done = house.run("rotate-master", "--new")
    assert done.code == 0
    assert "the old master key is removed" in done.err
    assert len(file.read_text().splitlines()) == 1
    assert file.stat().st_mode & 0o777 == 0o600
    house.masters = [Secret(file.read_text())]
    assert house.keys()["anthropic"] == "opaque-literal"
    assert file.read_text().strip() not in done.err


@pytest.mark.parametrize("form", ["{path: a.jsonl}", "{content: none}", "null"])
def test_the_records_of_a_trail_keep_their_master_key(house: House, form: str) -> None:
    """With an audit trail the old key stays, and none is named that may go."""
    has_trail = "path" in form
    file = house.config.with_name("master")
    assert house.run("generate-master", "--output", str(file)).code == 0
    old = file.read_text()
    more = f"    security: {{master_key: 'file:master'}}\n    audit: {form}\n"
    house.config.write_text(TEXT.replace("    llm:\n", f"{more}    llm:\n"))
    house.environ["AMAS_MASTER_KEY"] = ""
    assert house.run("encrypt").code == 0
    done = house.run("rotate-master", "--new")
    assert done.code == 0
    assert ("the old master key stays" in done.err) == has_trail
    assert ("the old master key is removed" in done.err) != has_trail
    assert file.read_text().splitlines()[1:] == (old.splitlines() if has_trail else [])
    file.write_text(f"{file.read_text()}{old}")
    again = house.run("rotate-master")
    for said in (done.err, again.err):
        assert ("does not need these master keys" in said) != has_trail
        kept = "keep each: records of the audit trail (audit.path) are verified with it"
        assert (kept in said) == has_trail


def test_of_two_rotations_the_first_does_not_remove_what_the_second_needs() -> None:
    """The old lines go only while one's own new key is still in front."""
    from amas.providers.cli.keys.rotation import _lines, _without_old

    mine, other, old = generate(), generate(), generate()
    assert _without_old(_lines([mine, old]), mine) == _lines([mine])
    assert _without_old(_lines([other, mine, old]), mine) == _lines([other, mine, old])


@pytest.fixture
def vendor() -> Iterator[ThreadedUpstream]:
    """Run a server that accepts one key."""
    with ThreadedUpstream("vendor", keys={"sk-" + "good" * 6}) as upstream:
        yield upstream


def test_rotate_checks_the_new_key_first(house: House, vendor: ThreadedUpstream) -> None:
    """A key that the vendor refuses changes nothing; one that it accepts is sealed."""
    good, bad = "sk-" + "good" * 6, "sk-" + "bad0" * 6
    text = TEXT.replace("timeout:   30", f"base_url: {vendor.url}")
    house.config.write_text(text)
    house.environ["OPENAI_API_KEY"] = good
    done = house.run("rotate", "openai", given=bad)
    assert done.code == 1
    assert "openai: the new key is not used, nothing is changed" in done.err
    assert bad not in done.err
    assert house.config.read_text() == text
    assert house.run("rotate", "openai", "--no-check", given=bad).code == 0
    assert house.keys()["openai"] == bad
    vendor.fault(status=403, on="models", times=None)  # which says nothing of the key
    assert house.run("rotate", "openai", given=bad + "x").code == 1
    assert house.keys()["openai"] == bad
    assert house.run("rotate", "openai", given=good).code == 0
    assert house.keys()["openai"] == good


def test_a_server_that_does_not_answer_keeps_the_old_key(house: House) -> None:
    """A check that cannot be made is no check that went well."""
    house.config.write_text(TEXT.replace("timeout:   30", "base_url: http://127.0.0.1:9"))
    done = house.run("rotate", "openai", given="sk-" + "new0" * 6)
    assert done.code == 1
    assert "${OPENAI_API_KEY}" in house.config.read_text()


# --- files ----------------------------------------------------------------------------------------


def test_two_at_once_lose_nothing(house: House, fake_key: str) -> None:
    """Commands that start together follow one another, and every key arrives."""
    house.config.write_text(
        f"providers: {{security: {{master_key: '{house.masters[0].get_secret_value()}'}}}}\n"
    )
    names = ["openai", "anthropic", "groq", "mistral", "gemini", "cohere"]
    ready = threading.Barrier(len(names))

    def store(name: str) -> None:
        ready.wait()
        editing.store_key(house.config, name, None, Secret(fake_key + name), dry_run=False)

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(store, names))
    assert house.keys() == {name: fake_key + name for name in names}


def test_a_change_by_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    """What an editor saved between reading and writing stays, and the command says so."""
    path = tmp_path / "c.yaml"
    path.write_text("one")

    def change(content: bytes) -> bytes:
        path.write_text("two")
        return content + b"!"

    with pytest.raises(ProviderConfigError, match="somebody else changed it"):
        files.edit_file(str(path), change)
    assert path.read_text() == "two"
    assert [each.name for each in tmp_path.iterdir()] == ["c.yaml"]


def test_a_link_stays_a_link_and_leftovers_go(tmp_path: Path) -> None:
    """The target is replaced where it is; what a killed command left there is removed."""
    target = tmp_path / "there"
    target.mkdir()
    (target / "c.yaml").write_text("one")
    (target / ".c.yaml.amas-keys").write_text("left")
    link = tmp_path / "c.yaml"
    link.symlink_to(target / "c.yaml")
    files.edit_file(str(link), lambda content: content + b"!")
    assert link.is_symlink()
    assert link.read_text() == "one!"
    assert [each.name for each in target.iterdir()] == ["c.yaml"]


def test_a_file_of_two_names_is_left(house: House, fake_key: str) -> None:
    """What stands in a hard-linked file would stay under the other name, so it is refused."""
    house.config.with_name("other").hardlink_to(house.config)
    for arguments in (["encrypt"], ["encrypt", "--dry-run"], ["set", "openai"]):
        done = house.run(*arguments, given=fake_key)
        assert done.code == 2
        assert "this file has 2 names" in done.err
    assert house.changed() == []


def test_the_temporary_file_is_private_before_it_has_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Owner and mode of the file are given to it last, and it is not there if that fails."""
    path = tmp_path / "c.yaml"
    path.write_text("one")
    path.chmod(0o644)
    seen: list[tuple[int, bytes]] = []

    def refuse(descriptor: int, _mode: int) -> None:
        status = os.fstat(descriptor)
        seen.append((status.st_mode & 0o777, (tmp_path / ".c.yaml.amas-keys").read_bytes()))
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    with pytest.raises(ProviderConfigError, match=r"c\.yaml: Operation not permitted"):
        files.edit_file(str(path), lambda _: b"two")
    assert seen == [(0o600, b"two")]
    assert [each.name for each in tmp_path.iterdir()] == ["c.yaml"]


def test_another_owner_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new file belongs to whom the old one belonged."""
    path = tmp_path / "c.yaml"
    path.write_text("one")
    real, owners = os.stat, []

    def foreign(file: Any, **arguments: Any) -> Any:
        status = real(file, **arguments)
        if file != str(path):
            return status
        return os.stat_result((*status[:4], 4321, 4322, *status[6:]))

    monkeypatch.setattr(os, "stat", foreign)
    monkeypatch.setattr(os, "fchown", lambda _, *owner: owners.append(owner))
    files.edit_file(str(path), lambda _: b"two")
    assert owners == [(4321, 4322)]


def test_generate_master_does_not_overwrite(house: House) -> None:
    """A file that is there is left alone; without --output the key goes to standard output."""
    file = house.config.with_name("master")
    file.write_text("precious")
    done = house.run("generate-master", "-o", str(file))
    assert (done.code, file.read_text()) == (2, "precious")
    assert "choose another name" in done.err
    done = house.run("generate-master", "-o", str(file / "inner"))
    assert (done.code, "cannot be written: Not a directory" in done.err) == (2, True)
    done = house.run("generate-master")
    assert done.code == 0
    assert f"master key {MasterKey(Secret(done.out)).id}" in done.err
    assert done.out.strip() not in done.err


# --- edits of the text ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        (b"providers: {llm: {a: {api_key: x}}}", ("llm", "a", "api_key"), b'"enc:v1:t"'),
        (
            b"providers:\n llm:\n  a:\n   api_key: |\n    x\n\n # c\n b: 1\n",
            None,
            b'"enc:v1:t"\n\n # c\n',
        ),
        (b"providers:\r\n llm:\r\n  a:\r\n   api_key: 'x'  # c\r\n", None, b"'enc:v1:t'  # c\r\n"),
        (
            b"\xef\xbb\xbfproviders: {llm: {a: {api_key: \xc3\xa9\xf0\x9f\x98\x80 }}}",
            None,
            b'"enc:v1:t" }',
        ),
        (
            b"providers: {llm: {a: {model: '${V}', api_key: ${K}}}}",
            None,
            b"'${V}', api_key: \"enc:",
        ),
    ],
    ids=["flow", "block", "crlf", "mark", "reference"],
)
def test_a_value_is_replaced_in_the_text_itself(text: bytes, path: Any, expected: bytes) -> None:
    """Whatever form the value has, nothing but the value becomes other bytes."""
    after = YamlText("c", text).replace({("llm", "a", "api_key"): "enc:v1:t"})
    assert expected in after
    begin = text.index(b"api_key: ") + 9
    assert after[:begin] == text[:begin]


@pytest.mark.parametrize(
    "text",
    [
        "providers: {llm: {a: {api_key: &k x}, b: {api_key: *k}}}",
        "providers: {llm: {a: &a {api_key: x}, b: *a}}",
        "providers: {llm: {a: &a {api_key: x}, b: {<<: *a}}}",
        "x: &x {api_key: x}\nproviders: {llm: {a: {<<: [*x]}}}",
    ],
)
def test_a_shared_value_is_not_replaced(text: str) -> None:
    """What an alias shares is sealed for one place only, so it must be written out first."""
    with pytest.raises(
        ProviderConfigError, match=r"c:\d:\d+: .*api_key: is shared through an anchor"
    ):
        YamlText("c", text.encode()).replace({("llm", "a", "api_key"): "enc:v1:t"})


def test_a_value_that_others_merge_but_do_not_use_is_replaced() -> None:
    """Only what is in effect counts; what stands outside of providers may be anything."""
    text = (
        "x: &x {<<: *x, a: 1}\ny: {<<: 5}\n? [a]\n: 1\n"
        "providers: {llm: {a: &a {api_key: x}, b: {<<: *a, api_key: y}}}"
    )
    after = YamlText("c", text.encode()).replace({("llm", "a", "api_key"): "enc:v1:t"})
    assert after.decode() == text.replace("api_key: x", 'api_key: "enc:v1:t"')


def test_set_goes_before_what_is_merged(house: House, fake_key: str) -> None:
    """A row that has its key from another one gets one of its own; the other row stays."""
    text = "providers:\n  llm:\n    openai: &o {api_key: opaque}\n    mistral: {<<: *o}\n"
    house.config.write_text(text)
    done = house.run("set", "mistral", given=fake_key)
    assert (done.code, "in place of" in done.err) == (0, False)
    assert house.keys() == {"openai": "opaque", "mistral": fake_key}
    house.config.write_text(text)
    for arguments in (["set", "openai"], ["encrypt"]):
        assert "is shared through an anchor" in house.run(*arguments, given=fake_key).err
    assert house.config.read_text() == text


T = "enc:v1:t"


@pytest.mark.parametrize(
    ("text", "path", "added"),
    [
        (
            "providers:\n  llm:\n    a:\n      timeout:   3  # c\n# end\n",
            "llm.g.api_key",
            (3, f'    g: {{api_key: "{T}"}}'),
        ),
        (
            "providers:\n  llm:\n    a:\n      timeout: 3",
            "llm.a.api_key",
            (3, f'      api_key: "{T}"'),
        ),
        (
            "providers:\n   llm:\n      a:   # c\n# end\n",
            "llm.a.api_key",
            (2, f'         api_key: "{T}"'),
        ),
        (
            "providers:\n  llm:\n    a:\n      model: |\n        m\n\n# end\n",
            "llm.a.api_key",
            (4, f'      api_key: "{T}"'),
        ),
        (
            "providers:\n  llm:\n    a:\n      api_keys:\n      - x  # c\n",
            "llm.a.api_keys.1",
            (4, f'      - "{T}"'),
        ),
        ("providers: # c\nhost: 1\n", "llm.g.api_key", (0, f'  llm: {{g: {{api_key: "{T}"}}}}')),
        (
            "providers:\n  llm:\n    my.own:\n    b: {timeout: 1}  # c",
            "llm.007.api_key",
            (3, f'    "007": {{api_key: "{T}"}}'),
        ),
    ],
    ids=["row", "field", "empty", "lines", "list", "section", "number"],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_an_addition_is_one_line_more(
    text: str, path: str, added: tuple[int, str], newline: str
) -> None:
    """A new entry stands behind the last of its kind; every other line is what it was."""
    content = text.replace("\n", newline).encode()
    *outer, last = (
        int(part) if len(part) == 1 and part.isdigit() else part for part in path.split(".")
    )
    before = content.decode().splitlines()
    yaml_text = YamlText("c", content)
    after = yaml_text.add((*outer, last), T)
    assert after.decode().splitlines() == [
        *before[: added[0] + 1],
        added[1],
        *before[added[0] + 1 :],
    ]
    assert after.count(b"\r") == (after.count(b"\n") if newline == "\r\n" else 0)


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        (
            "providers: {llm: {a: {timeout: 1}}}",
            ("llm", "a", "api_key"),
            '{timeout: 1, api_key: "enc:v1:t"}',
        ),
        ("providers: {llm: {a: {}}}", ("llm", "a", "api_key"), '{a: {api_key: "enc:v1:t"}}'),
        ("providers: {llm: {a: {api_keys: [x]}}}", ("llm", "a", "api_keys", 1), '[x, "enc:v1:t"]'),
        # Neither of these can be done by putting a text in: ruamel.yaml does it.
        (
            "providers: {llm: {a: {timeout: 1,}}} # c",
            ("llm", "a", "api_key"),
            '{timeout: 1, api_key: "enc:v1:t"}',
        ),
        (
            "providers:\n  llm:\n    a: ~  # c\n    b:\n      - ${K}\n",
            ("llm", "a", "api_key"),
            'api_key: "enc:v1:t"',
        ),
    ],
    ids=["flow", "empty-flow", "flow-list", "comma", "null"],
)
def test_an_addition_fits_the_form_of_what_is_there(text: str, path: Any, expected: str) -> None:
    """Into braces goes what belongs into braces; comments and references stay."""
    after = YamlText("c", text.encode()).add(path, T).decode()
    assert expected in after
    assert ("# c" in after) == ("# c" in text)
    assert ("${K}" in after) == ("${K}" in text)


def test_an_addition_that_would_change_more_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is an alias cannot be added to alone; a lost comment is noticed."""
    text = b"providers: {llm: {a: &a {timeout: 1}, b: *a}}  # c\n"
    with pytest.raises(ProviderConfigError, match=r"llm\.b: is shared through an anchor"):
        YamlText("c", text).add(("llm", "b", "api_key"), "enc:v1:t")
    monkeypatch.setattr(yaml_edit.YamlText, "_inserted", lambda *_: "")
    monkeypatch.setattr(
        yaml_edit.YamlText, "_round_trip", lambda *_: "providers: {llm: {a: {api_key: enc:v1:t}}}"
    )
    with pytest.raises(ProviderConfigError, match="cannot be changed without changing more"):
        YamlText("c", b"providers: {llm: {a: {}}}  # c").add(("llm", "a", "api_key"), "enc:v1:t")


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (OSError(28, "No space left"), 1), (BrokenPipeError(), 0)],
)
def test_interruption_and_full_disk_end_plainly(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    """What stops the command is an exit code, not a traceback."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    context: Any = type("Context", (), {"args": []})()

    def stop() -> int:
        raise error

    with pytest.raises(Exception, match=str(code)) as caught:
        keys_app._end(context, stop)
    assert getattr(caught.value, "exit_code", None) == code


def test_keys_load_nothing_heavy(house: House, fake_key: str) -> None:
    """Help waits for nothing, and no command but the check of `rotate` imports LiteLLM."""
    program = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from amas.providers.cli.app import app\n"
        "def run(*arguments, given=''):\n"
        "    code = CliRunner().invoke(app, ['keys', *arguments], input=given).exit_code\n"
        "    print(arguments[0], code, sorted(HEAVY & sys.modules.keys()))\n"
        "HEAVY = {'litellm', 'openai', 'aiohttp', 'cryptography', 'yaml', 'rich.table'}\n"
        "run('--help')\n"
        "HEAVY -= {'cryptography', 'yaml', 'rich.table'}\n"
        f"run('set', 'openai', given={fake_key!r})\n"
        "run('encrypt'), run('list'), run('rotate-master')\n"
        f"run('rotate', 'openai', '--no-check', given={fake_key!r})\n"
    )
    environ = os.environ | {
        "AMAS_PROVIDERS_CONFIG": str(house.config),
        "AMAS_MASTER_KEY": house.masters[0].get_secret_value(),
        "SECOND": "x",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        *("--help 0 []", "set 0 []", "encrypt 0 []", "list 0 []", "rotate-master 0 []"),
        "rotate 0 []",
    ]
