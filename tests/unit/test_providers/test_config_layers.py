"""Layers of a configuration: extended files, the file, its overlay and variables."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amas.config.document import Document, Place, Source
from amas.config.merging import merge
from amas.config.provider_settings import (
    ProvidersSettings,
    load_migration,
    load_security,
    load_settings,
    read_document,
)
from amas.config.yaml_source import parse_yaml
from amas.providers.errors import ProviderConfigError

KEY = "sk-" + "test" * 6
OTHER = "sk-" + "over" * 6

# Comments of these files say what they are for: BOM and CRLF must not disturb.
BASE = f"""\
providers:
  manager: {{deadline: 60, fallback_order: [openai, local]}}
  llm:
    openai: {{api_keys: ["{KEY}", "{KEY}2"], timeout: 30, params: {{temperature: 1, top_p: 1}}}}
    local: {{timeout: 9}}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(**texts: str) -> None:
    """Write files: ``base=…`` is base.yaml, ``c_production=…`` is c.production.yaml."""
    for name, text in texts.items():
        Path(f"{name.replace('_', '.')}.yaml").write_text(text)


def section(text: str) -> str:
    """Return a file with nothing but the lines of a section."""
    return "providers:\n" + "".join(f"  {line}\n" for line in text.splitlines())


def load(name: str | os.PathLike[str] = "c.yaml", **environ: str) -> ProvidersSettings:
    """Load a file."""
    return load_settings(name, environ=environ, known_providers=("openai", "groq", "fireworks-ai"))


def problems(name: str | Mapping[str, Any] = "c.yaml", **environ: str) -> list[str]:
    """Return what is wrong with a file."""
    with pytest.raises(ProviderConfigError) as caught:
        load_settings(name, environ=environ, known_providers=("openai", "groq"))
    return list(caught.value.problems)


# --- extends --------------------------------------------------------------------------------------


def test_a_file_lies_over_what_it_extends() -> None:
    """Mappings are merged, lists and scalars replaced; the lowest layer's providers come first."""
    write(
        base=BASE,
        c=section(
            "extends: base.yaml\n"
            "manager: {fallback_order: [local]}\n"
            "llm:\n  groq: {}\n  openai: {timeout: 5, params: {temperature: 0}}"
        ),
    )
    loaded = load()
    assert list(loaded.llm) == ["openai", "local", "groq"]
    assert loaded.manager.deadline == 60
    assert loaded.manager.fallback_order == ("local",)
    assert loaded.llm["openai"].timeout == 5
    assert loaded.llm["openai"].params == {"temperature": 0, "top_p": 1}
    assert loaded.llm["local"].timeout == 9
    assert loaded.source == "c.yaml"
    assert loaded.extends == ("base.yaml",)
    assert loaded.files == ("base.yaml", "c.yaml")


def test_of_several_files_the_later_ones_win_and_each_counts_once() -> None:
    """A file that two extended ones extend lies below both, so that neither is undone by it."""
    root = section("manager: {deadline: 1, max_retries: 1, retry_budget: 0.1}")
    write(
        root=root,
        a=section("extends: root.yaml\nmanager: {deadline: 2, max_retries: 2}"),
        b=section("extends: root.yaml\nmanager: {deadline: 3}"),
        c=section("extends: [a.yaml, b.yaml]"),
    )
    manager = load().manager
    assert (manager.deadline, manager.max_retries, manager.retry_budget) == (3, 2, 0.1)
    assert load().files == ("root.yaml", "a.yaml", "b.yaml", "c.yaml")


def test_paths_are_relative_to_the_file_that_says_them() -> None:
    """What a file in another folder extends, and its file: secrets, are looked for there."""
    Path("team/keys").mkdir(parents=True)
    Path("team/keys/openai").write_text(KEY)
    Path("team/base.yaml").write_text(
        section("extends: more.yaml\nllm: {openai: {api_key: 'file:keys/openai'}}")
    )
    Path("team/more.yaml").write_text(section("manager: {deadline: 7}"))
    write(c=section("extends: team/base.yaml"))
    loaded = load(Path("c.yaml").absolute())
    assert loaded.manager.deadline == 7
    assert loaded.warnings == ()
    assert loaded.provider_configs()[0].key_value == KEY


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("extends: no.yaml", "c.yaml:2:12", "no.yaml: there is no such file"),
        ("extends: [base.yaml, no.yaml]", "c.yaml:2:24", "no.yaml: there is no such file"),
        ("extends: .", "c.yaml:2:12", "this is a directory"),
        (r'extends: "a\0b"', "c.yaml:2:12", "this is no possible path"),
        ("extends: ${X}/base.yaml", "c.yaml:2:12", "variables are not followed here"),
        ("extends: 3", "c.yaml:2:12", "must be the path of a file, or a list of them"),
        ("extends: ['']", "c.yaml:2:13", "not an empty text"),
        ("extends: [base.yaml, [base.yaml]]", "c.yaml:2:24", "not a list"),
        ("extends: {file: base.yaml}", "c.yaml:2:12", "not a mapping"),
        ("extend: base.yaml", "c.yaml:2:3", "did you mean 'extends'?"),
        ("extends: c.yaml", "c.yaml:2:12", "leads back to a file on the way (c.yaml → c.yaml)"),
        ("extends: ./loop.yaml", "loop.yaml:2:12", "(c.yaml → loop.yaml → c.yaml)"),
    ],
)
def test_a_mistake_in_extends_is_reported_at_the_entry(text: str, where: str, words: str) -> None:
    """Whatever is wrong with an entry, the message has its place."""
    write(base=BASE, loop=section("extends: ./c.yaml"), c=section(text))
    (line,) = problems()
    assert line.startswith(f"{where}: providers.extend")
    assert words in line


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("llm: {}\n", "base.yaml:1:1"),
        ("", "base.yaml:1:1"),
        ("providers:\n\tllm: {}\n", "base.yaml:2:1"),
    ],
)
def test_an_extended_file_that_cannot_be_used_is_told_with_who_extends_it(
    text: str, where: str
) -> None:
    """A file without the section, or that is no YAML, has its own place and that of the entry."""
    write(base=text, c=section("extends: base.yaml"))
    (line,) = problems()
    assert line.startswith(f"{where}: ")
    assert line.endswith("(extended by c.yaml:2:12)")


def test_a_mapping_extends_absolute_paths_alone(tmp_path: Path) -> None:
    """A mapping has no folder, and nothing that code passes is changed by variables."""
    write(base=BASE)
    (line,) = problems({"providers": {"extends": "base.yaml"}})
    assert "give an absolute path" in line
    source = {"providers": {"extends": str(tmp_path / "base.yaml"), "manager": {"deadline": 5}}}
    before = copy.deepcopy(source)
    loaded = load_settings(
        source, environ={"AMAS_PROVIDERS__MANAGER__DEADLINE": "9", "AMAS_ENVIRONMENT": "x"}
    )
    assert (loaded.manager.deadline, loaded.source) == (5, None)
    assert loaded.files == (str(tmp_path / "base.yaml"),)
    assert source == before
    # A key in the file is one in a file, whoever extends it.
    assert sum("plain text" in warning for warning in loaded.warnings) == 2


def test_how_deep_and_how_many_files_are_bounded() -> None:
    """A chain of seventeen files is refused where it goes on, and so are too many beside another."""
    for number in range(20):
        write(**{f"f{number}": section(f"extends: f{number + 1}.yaml")})
    write(f17=section("manager: {}"))
    assert "through more than 16 files" in problems("f0.yaml")[0]
    assert load("f1.yaml").files[0] == "f17.yaml"
    for number in range(65):
        write(**{f"m{number}": "providers:\n"})
    write(c=section(f"extends: [{', '.join(f'm{number}.yaml' for number in range(65))}]"))
    assert "more than 64 files" in problems()[0]


# --- the overlay ----------------------------------------------------------------------------------


def test_the_environment_names_an_overlay() -> None:
    """The file of the environment's name lies over the main file, and is watched if not there."""
    write(c=BASE, c_production=section("llm: {openai: {timeout: 5}}"))
    assert load().files == ("c.yaml",)
    for name in ("production", "Production ", "PRODUCTION"):
        loaded = load(AMAS_ENVIRONMENT=name)
        assert loaded.llm["openai"].timeout == 5
        assert loaded.files == ("c.yaml", "c.production.yaml")
        assert loaded.source == "c.yaml"
    loaded = load(AMAS_ENVIRONMENT="eu-west_1")
    assert loaded.llm["openai"].timeout == 30
    assert loaded.files == ("c.yaml", "c.eu-west_1.yaml")
    assert not any("eu-west" in warning for warning in loaded.warnings)
    assert load("c.production.yaml", AMAS_ENVIRONMENT="production").files == ("c.production.yaml",)


def test_an_overlay_extends_nothing() -> None:
    """What it extends would have to lie below the main file, so that is where to write it."""
    write(base=BASE, c=BASE, c_x=section("extends: base.yaml"))
    (line,) = problems(AMAS_ENVIRONMENT="x")
    assert line.startswith("c.x.yaml:2:3: providers.extends: ")
    assert "write it into c.yaml" in line


@pytest.mark.parametrize("text", ["logging: {}\n", ""])
def test_an_overlay_of_the_hosts_own_is_told_and_harmless(text: str) -> None:
    """An overlay without the section may be meant for the host; a misspelt one should be seen."""
    write(c=section("llm: {local: {}}"), c_x=text)
    (warning,) = load(AMAS_ENVIRONMENT="x").warnings
    assert warning.startswith("c.x.yaml:1:1: ")
    write(c_x="providers:\n" + text)
    assert load(AMAS_ENVIRONMENT="x").warnings == ()


def test_a_broken_overlay_is_an_error() -> None:
    """An overlay that is no YAML is not passed over."""
    write(c=BASE, c_x="providers: [")
    assert problems(AMAS_ENVIRONMENT="x")[0].startswith("c.x.yaml:")


def test_an_environment_is_no_path() -> None:
    """A name that could lead into another folder is refused, and said to be the variable's."""
    write(c=BASE)
    (line,) = problems(AMAS_ENVIRONMENT="../x")
    assert line.startswith("${AMAS_ENVIRONMENT}: ")


# --- what removes what ----------------------------------------------------------------------------


def test_null_removes_what_is_below_and_nothing_written_leaves_it() -> None:
    """A provider set to null is gone; a key with nothing behind it says nothing."""
    write(
        base=BASE.replace("[openai, local]", "[local]"),
        c=section("extends: base.yaml\nmanager:\nllm:\n  openai: ~\n  local:\n  groq:"),
    )
    loaded = load()
    assert list(loaded.llm) == ["local", "groq"]
    assert loaded.llm["local"].timeout == 9
    write(c=section("extends: base.yaml\nmanager: null\nllm: {openai: {timeout: null}}"))
    loaded = load()
    assert loaded.manager.deadline == 120
    assert loaded.llm["openai"].timeout == 30


def test_a_key_takes_the_place_of_keys_below_and_keys_that_of_a_key() -> None:
    """api_key and api_keys exclude one another within a layer, and replace one another across."""
    write(base=BASE, c=section(f"extends: base.yaml\nllm: {{openai: {{api_key: {OTHER}}}}}"))
    (config, _) = load().provider_configs()
    assert (config.key_value, config.api_keys) == (OTHER, ())
    loaded = load(AMAS_PROVIDERS__LLM__OPENAI__API_KEYS=f"[{KEY}, {KEY}3]")
    assert [len(row.api_keys) for row in loaded.llm.values()] == [2, 0]
    assert loaded.llm["openai"].api_key is None
    both = f"extends: base.yaml\nllm: {{openai: {{api_key: {OTHER}, api_keys: [{KEY}]}}}}"
    write(c=section(both))
    assert "excludes api_key" in problems()[0]


# --- variables ------------------------------------------------------------------------------------


def test_variables_lie_over_everything() -> None:
    """Parts of the name are matched without regard to case, - and . in names, and __ in them."""
    write(
        base=BASE,
        c=section(
            "extends: base.yaml\nsecurity: {access: {Bot.One: {max_tokens: 5}}}\n"
            "llm: {my-vllm: {}, a__b: {}}"
        ),
        c_x=section("llm: {openai: {timeout: 5}}"),
    )
    loaded = load(
        AMAS_ENVIRONMENT="x",
        AMAS_PROVIDERS__LLM__OPENAI__TIMEOUT=" 10 ",
        AMAS_PROVIDERS__LLM__MY_VLLM__ENABLED="off",
        AMAS_PROVIDERS__LLM__A__B__TIMEOUT="2.5",
        AMAS_PROVIDERS__llm__openai__params__max_tokens="7",
        AMAS_PROVIDERS__SECURITY__ACCESS__BOT_ONE__MAX_TOKENS="6",
        AMAS_PROVIDERS__MANAGER__FALLBACK_ORDER="[a__b, 'local']",
        AMAS_PROVIDERS__MANAGER__CIRCUIT_BREAKER="{cooldown: 3}",
        AMAS_PROVIDERS__MANAGER__POLICY__AUTH__RETRY="no",
        AMAS_PROVIDERS__MIGRATION__LLM_SERVICE="shadow",
        AMAS_PROVIDERS__MANAGER__DEADLINE="null",
        AMAS_PROVIDERS__MANAGER__MAX_RETRIES="",
        AMAS_PROVIDERS_CONFIG="elsewhere",
    )
    assert loaded.llm["openai"].timeout == 10
    assert loaded.llm["openai"].params == {"temperature": 1, "top_p": 1, "max_tokens": 7}
    assert not loaded.llm["my-vllm"].enabled
    assert loaded.llm["a__b"].timeout == 2.5
    assert loaded.security.access["Bot.One"].max_tokens == 6
    assert loaded.manager.fallback_order == ("a__b", "local")
    assert loaded.manager.circuit_breaker.cooldown == 3
    assert loaded.manager.policy == {"auth": {"retry": "no"}}
    assert loaded.migration.llm_service.flag == "shadow"
    assert (loaded.manager.deadline, loaded.manager.max_retries) == (120, 3)


def test_a_provider_can_be_made_of_variables() -> None:
    """Its name is the catalogue's if that knows it, and in small letters otherwise."""
    write(c=section("llm: {local: {}}"))
    loaded = load(
        AMAS_PROVIDERS__LLM__GROQ__API_KEY=KEY,
        AMAS_PROVIDERS__LLM__FIREWORKS_AI__API_KEY=OTHER,
        AMAS_PROVIDERS__LLM__OWN='{model: openai/x, base_url: "http://h:1/v1"}',
    )
    assert sorted(loaded.llm) == ["fireworks-ai", "groq", "local", "own"]
    assert loaded.llm["own"].base_url == "http://h:1/v1"
    # Secrets of variables do not stand in any file.
    assert loaded.warnings == ()
    write(c=section("security: {plaintext_keys: forbid}\nllm: {local: {}}"))
    (_, config) = load(AMAS_PROVIDERS__LLM__GROQ__API_KEY=KEY).provider_configs()
    assert config.key_value == KEY


def test_what_a_variable_holds_is_a_value() -> None:
    """References in it are none, a number may be a text, and a key is taken as it is."""
    write(c=section("llm: {a: {}}"))
    loaded = load(
        AMAS_PROVIDERS__LLM__A__MODEL="${HOME}",
        AMAS_PROVIDERS__LLM__A__BASE_URL="http://h/${X",
        AMAS_PROVIDERS__LLM__A__EMBEDDING_MODEL="7",
        AMAS_PROVIDERS__LLM__A__OPTIONS='{api_version: "${V}", my_secret: "os.environ/X_Y"}',
        AMAS_PROVIDERS__LLM__A__API_KEY="[file:" + KEY,
        AMAS_PROVIDERS__SECURITY__MASTER_KEY="{" + KEY,
    )
    row = loaded.llm["a"]
    assert (row.model, row.embedding_model, row.base_url) == ("${HOME}", "7", "http://h/${X")
    (config,) = loaded.provider_configs()
    assert config.key_value == "[file:" + KEY
    assert config.options["api_version"] == "${V}"
    assert loaded.security.master_key[0].get_secret_value() == "{" + KEY
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("LLM__OPENAI__TIMEOT", "1", "there is no 'timeot' below it; did you mean TIMEOUT?"),
        ("LLN__OPENAI__TIMEOUT", "1", "providers: there is no 'lln' below it; did you mean LLM?"),
        ("EXTENDS", "x", "it may be MANAGER, "),
        ("", "x", "there is no '' below it"),
        ("LLM__", "x", "providers.llm: there is no '' below it"),
        ("LLM__OPENAI__TIMEOUT__X", "1", "set it as a whole, by AMAS_PROVIDERS__LLM__OPENAI__TIM"),
        ("LLM__OPENAI__API_KEYS__0", KEY, "providers.llm.openai.api_keys: has nothing below it"),
        ("SECURITY__ACCESS__BOT__MAX_TOKENS", "1", "write its entry into the file"),
        ("LLM__OPENAI__TIMEOUT", "soon", "providers.llm.openai.timeout: must be a number"),
        ("MANAGER__FALLBACK_ORDER", "[a", "fallback_order: is no YAML: a comma or the closing"),
        ("MANAGER__FALLBACK_ORDER", "[nobody]", "no provider 'nobody' is configured"),
        ("MANAGER__HEDGE", "{after: 1, after: 2}", "'after' is written twice"),
        ("MANAGER__STRATEGY", "\udcff", "lone surrogate"),
        ("llm__openai__timeout", "x", "${AMAS_PROVIDERS__LLM__OPENAI__TIMEOUT} sets the same"),
        ("LLM__MY_VLLM__TIMEOUT", "1", "this means both 'my-vllm' and 'my.vllm'"),
        ("LLM__OPENIA__TIMEOUT", "1", "providers.llm.openia: unknown"),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(name: str, value: str, words: str) -> None:
    """The message begins with the variable, has the way out, and never what a secret one holds."""
    write(c=BASE + "    my-vllm:\n    my.vllm:\n")

    def check(config: Any) -> None:
        if config.name == "openia":
            raise ProviderConfigError("unknown")

    environ = {f"AMAS_PROVIDERS__{name}": value}
    if name.islower():
        environ["AMAS_PROVIDERS__LLM__OPENAI__TIMEOUT"] = "5"
    with pytest.raises(ProviderConfigError) as caught:
        load_settings("c.yaml", environ=environ, check=check)
    (line,) = caught.value.problems
    assert line.startswith(f"${{AMAS_PROVIDERS__{name}}}: providers")
    assert words in line
    assert KEY not in line


# --- places ---------------------------------------------------------------------------------------


def test_mistakes_of_every_layer_are_told_at_their_places_in_order() -> None:
    """Each message has the file, line and column of its own layer, the lowest layer first."""
    write(
        base=section("manager: {deadline: soon}\nllm:\n  a: {timeot: 1, timeout: 2}"),
        c=section("extends: base.yaml\nllm:\n  b: {enabled: perhaps}\n  b: {}"),
        c_x=section("# a line\nllm: {a: {weight: -1}}\nmanager: {fallback_order: [a, c]}"),
    )
    lines = problems(AMAS_ENVIRONMENT="x", AMAS_PROVIDERS__LLM__B__TIMEOUT="never")
    assert [line.split(": ")[0] for line in lines] == [
        "base.yaml:2:23",
        "base.yaml:4:9",
        "c.yaml:4:18",
        "c.yaml:5:5",
        "c.x.yaml:3:21",
        "c.x.yaml:4:33",
        "${AMAS_PROVIDERS__LLM__B__TIMEOUT}",
    ]


def test_a_key_in_any_file_is_plain_text_there() -> None:
    """plaintext_keys holds for all files, whichever layer sets it, and names the file."""
    write(
        base=section(f"llm: {{a: {{api_key: {KEY}}}}}"),
        c=section(f"extends: base.yaml\nllm: {{b: {{api_key: {KEY}2}}}}"),
        c_x=section(f"llm: {{c: {{api_key: {KEY}3}}}}"),
    )
    places = ["base.yaml:2:22", "c.yaml:3:22", "c.x.yaml:2:22"]
    warnings = load(AMAS_ENVIRONMENT="x").warnings
    assert [warning.split(": ")[0] for warning in warnings] == places
    lines = problems(AMAS_ENVIRONMENT="x", AMAS_PROVIDERS__SECURITY__PLAINTEXT_KEYS="forbid")
    assert [line.split(": ")[0] for line in lines] == places
    assert KEY not in " ".join((*lines, *warnings))


@pytest.mark.parametrize("name", ["base.yaml", "c.yaml", "c.x.yaml"])
@pytest.mark.parametrize("change", ["mark", "crlf", "alias", "latin"])
def test_what_holds_for_a_file_holds_for_every_layer(name: str, change: str) -> None:
    """A byte order mark, CRLF and aliases are fine in each layer, another encoding in none."""
    write(
        base=section("manager: {deadline: 1}\nllm: {a: {timeout: 1}}"),
        c=section("extends: base.yaml\nmanager: {deadline: 1}\nllm: {a: {timeout: 1}}"),
        c_x=section("manager: {deadline: 1}\nllm: {a: {timeout: 1}}"),
    )
    path = Path(name)
    text = path.read_text()
    changed = {
        "mark": b"\xef\xbb\xbf" + text.encode(),
        "crlf": text.replace("\n", "\r\n").encode(),
        "alias": text.replace("{timeout: 1}", "&x {timeout: 1}, b: *x").encode(),
        "latin": text.encode() + "# ü".encode("latin-1"),
    }
    path.write_bytes(changed[change])
    if change == "latin":
        assert problems(AMAS_ENVIRONMENT="x")[0].startswith(f"{name}:")
        return
    loaded = load(AMAS_ENVIRONMENT="x")
    assert list(loaded.llm) == (["a", "b"] if change == "alias" else ["a"])


def test_single_sections_are_read_from_all_layers() -> None:
    """The commands for keys and the flags of the old services see what the layers say."""
    write(
        base=section("migration: {llm_service: off}\nsecurity: {max_prompt_bytes: 5}"),
        c=section("extends: base.yaml\nllm: {a: broken}"),
        c_x=section("security: {media_urls: forbid}"),
    )
    environ = {"AMAS_ENVIRONMENT": "x", "AMAS_PROVIDERS__SECURITY__PLAINTEXT_KEYS": "allow"}
    security, warnings = load_security("c.yaml", environ=environ)
    assert (security.max_prompt_bytes, security.media_urls) == (5, "forbid")
    assert (security.plaintext_keys, warnings) == ("allow", ())
    assert load_migration("c.yaml", environ=environ).llm_service.flag == "off"


# --- properties -----------------------------------------------------------------------------------

_LEAVES = st.integers(0, 9) | st.booleans() | st.lists(st.integers(0, 9), max_size=2)
# What is a mapping in one layer is one in all: a scalar between two mappings separates them.
_ROWS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("api_key", "api_keys", "timeout", "0"), _LEAVES)
)
_SECTIONS = st.fixed_dictionaries(
    {}, optional={"llm": st.dictionaries(st.sampled_from("abc"), _ROWS), "x": _ROWS, "y": _LEAVES}
)


def _document(name: str, data: Any) -> Document:
    return parse_yaml(name, json.dumps({"providers": data}, indent=1).encode())


@settings(max_examples=60, deadline=None)
@given(_SECTIONS, _SECTIONS, _SECTIONS)
def test_merging_is_associative(one: Any, two: Any, three: Any) -> None:
    """Laid over one another in any grouping, the same comes out; nothing is lost from the top."""

    def layers() -> list[Document]:
        return [_document(f"{n}.yaml", data) for n, data in enumerate((one, two, three))]

    a, b, c = layers()
    left = merge([merge([a, b], a.source), c], a.source)
    a, b, c = layers()
    right = merge([a, merge([b, c], a.source)], a.source)
    whole = merge(layers(), a.source)
    assert left.data == right.data == whole.data
    assert set(three) <= set(whole.data)


def _leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    entries = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in entries:
        if isinstance(value, dict | list):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


@settings(max_examples=60, deadline=None)
@given(st.lists(_SECTIONS, min_size=1, max_size=4))
def test_every_value_is_where_its_place_says(sections: list[Any]) -> None:
    """After merging, the text at a value's place is the value, in the file of its layer."""
    documents = [_document(f"{number}.yaml", data) for number, data in enumerate(sections)]
    texts = {
        f"{number}.yaml": json.dumps({"providers": data}, indent=1).splitlines()
        for number, data in enumerate(sections)
    }
    merged = merge(documents, documents[0].source)
    for path, value in _leaves(merged.data):
        place = merged.place(path)
        assert place.source is not None
        line = texts[str(place.source.name)][place.line - 1]
        assert line[place.column - 1 :].startswith(json.dumps(value))
        if isinstance(path[-1], str):
            key = merged.place(path, at_key=True)
            assert line[key.column - 1 :].startswith(json.dumps(path[-1]))


def test_random_layers_load_or_say_where_they_are_wrong() -> None:
    """Whatever stands in three layers and in variables, every problem begins with a place."""
    rng = random.Random(20_261_128)
    pieces = [
        *("llm: {a: {timeout: 1}}", "llm: {a: null}", "llm:", "llm: {b: {}}", "manager: null"),
        *("migration: {llm_service: off}", "manager: {deadline: 9}", "# nothing", "metrics: {}"),
        *("extends: base.yaml", "security: {access: {b: {max_tokens: 1}}}", "llm: {a: {x: 1}}"),
        *("manager: {deadline: -1}", "llm: [a]"),
    ]
    names = ["LLM__A__TIMEOUT", "LLM__A", "LLM", "MANAGER__DEADLINE", "SECURITY__ACCESS__B"]
    seen = {True: 0, False: 0}
    for _ in range(100):
        texts = {name: section("\n".join(rng.sample(pieces, 2))) for name in ("base", "c", "c_x")}
        write(**texts)
        environ = {
            f"AMAS_PROVIDERS__{rng.choice(names)}": rng.choice(["1", "{}", "x", "null"])
            for _ in range(rng.randrange(2))
        }
        try:
            load(AMAS_ENVIRONMENT="x", **environ)
        except ProviderConfigError as error:
            for problem in error.problems:
                assert problem.startswith(("base.yaml:", "c.yaml:", "c.x.yaml:", "${AMAS_")), (
                    problem
                )
            seen[False] += 1
        else:
            seen[True] += 1
    assert min(seen.values()) > 0


def test_a_document_of_one_layer_is_left_as_it_is() -> None:
    """Without layers nothing is merged, and places need no source of their own."""
    write(c=BASE)
    layered = read_document("c.yaml", {})
    assert layered.document.place(("llm", "openai")) == Place(4, 13)
    assert layered.document.source == Source("c.yaml", ".")
