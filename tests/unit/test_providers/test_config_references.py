"""References: what they become, and what a missing one costs."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from amas.config.provider_settings import ProvidersSettings, load_settings
from amas.providers.errors import AuthenticationError, ProviderConfigError
from amas.providers.secret import Secret
from amas.providers.types import Price

KEY = "sk-" + "test" * 6


def provider(environ: dict[str, str] | None = None, **fields: Any) -> ProvidersSettings:
    """Load a configuration, as a mapping, of one provider named a."""
    return load_settings({"providers": {"llm": {"a": fields}}}, environ=environ or {})


def problem(environ: dict[str, str] | None = None, **fields: Any) -> str:
    """Return the only thing wrong with a provider named a."""
    with pytest.raises(ProviderConfigError) as caught:
        provider(environ, **fields)
    (line,) = caught.value.problems
    return line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${V}", "val"),
        ("http://${V}:${P}/v1", "http://val:80/v1"),
        ("${NO:-def}", "def"),
        ("${EMPTY:-def}", "def"),
        ("${V:-def}", "val"),
        ("${NO:-}x", "x"),
        ("$V $ $$ ${V}", "$V $ $$ val"),
        ("$${V}", "${V}"),
        ("$${V}${V}", "${V}val"),
        ("${NESTED}", "${V}"),
        ("${FILE}", "file:/etc/hostname"),
        ("  ${V}  ", "val"),
    ],
)
def test_variables_are_replaced_once(text: str, value: str) -> None:
    """Variables, defaults and escapes are replaced, and what comes out is not looked at again."""
    environ = {"V": "val", "P": "80", "EMPTY": "", "NESTED": "${V}", "FILE": "file:/etc/hostname"}
    settings = provider(environ, model=text)
    assert settings.llm["a"].model == value
    assert type(settings.llm["a"].model) is str
    assert settings.warnings == ()


def test_what_a_variable_holds_as_key_is_the_key(tmp_path: Path) -> None:
    """The content of a variable is a key even if it looks like a reference to a file."""
    secret = tmp_path / "secret"
    secret.write_text(KEY)
    (config,) = provider({"K": f"file:{secret}"}, api_key="${K}").provider_configs()
    assert config.key_value == f"file:{secret}"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("timeout", "10", 10),
        ("timeout", " 2.5 ", 2.5),
        ("timeout", "1e1", 10),
        ("max_retries", "2", 2),
        ("context_window", "128000", 128000),
        ("enabled", "true", True),
        ("enabled", "On", True),
        ("enabled", "0", False),
        ("model", "7", "7"),
    ],
)
def test_a_variables_text_is_converted_to_the_fields_type(
    name: str, text: str, value: object
) -> None:
    """Numbers and truth values may come out of variables, which hold text only."""
    settings = provider({"V": text}, **{name: "${V}"})
    assert getattr(settings.llm["a"], name) == value


@pytest.mark.parametrize(
    ("name", "text", "phrase"),
    [
        ("timeout", "30s", "must be a number, not what the variable holds"),
        ("timeout", "9" * 40, "must be a number"),
        ("timeout", "1e999", "must be a finite number"),
        ("max_retries", "1.5", "must be a whole number"),
        ("enabled", "maybe", "must be true or false, not what the variable holds"),
    ],
)
def test_a_variables_text_that_does_not_fit_is_a_problem_that_does_not_show_it(
    name: str, text: str, phrase: str
) -> None:
    """What a variable holds may be anything, a secret included; it is not in the message."""
    line = problem({"V": text}, **{name: "${V}"})
    assert phrase in line
    assert text not in line


def test_params_read_variables_as_json_and_options_as_text() -> None:
    """A temperature from a variable is a number, an API version from one is a text."""
    values = {"n": "${N}", "f": ["${F}"], "t": "${T}", "d": {"x": "${X}"}}
    environ = {"N": "3", "F": "0.5", "T": "true", "X": "abc"}
    settings = provider(environ, params=values, options=values).llm["a"]
    assert settings.params == {"n": 3, "f": [0.5], "t": True, "d": {"x": "abc"}}
    assert settings.options == {"n": "3", "f": ["0.5"], "t": "true", "d": {"x": "abc"}}
    assert type(settings.options["n"]) is str


@pytest.mark.parametrize(
    "text", ["${lower-case}", "${", "x${V", "${}", "${1A}", "${V:default}", "${A:-b"]
)
def test_a_reference_that_is_none_is_a_problem(text: str) -> None:
    """Half a reference is reported with how references are written, wherever it stands."""
    for fields in ({"model": text}, {"api_key": text}, {"options": {"x": text}}):
        assert "${ begins no reference; write ${NAME}" in problem({"V": "v"}, **fields)


def test_a_value_that_unfolds_without_bounds_is_a_problem() -> None:
    """Many references to a long variable stop at one MiB."""
    assert "unfolds to more than 1 MiB" in problem({"V": "x" * 1000}, model="${V}" * 2000)


def test_a_missing_variable_disables_its_provider_alone(tmp_path: Path) -> None:
    """The others work; the warning and the reason say what to set."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "providers:\n  llm:\n"
        "    a: {api_key: ${A_KEY}, base_url: 'http://${HOST}/v1', timeout: 5}\n"
        "    b: {api_key: none}\n"
    )
    settings = load_settings(path, environ={})
    todo = "so 'a' is disabled; set it, or remove the line"
    assert settings.warnings == (
        f"{path}:3:18: providers.llm.a.api_key: ${{A_KEY}} is not set, {todo}",
        f"{path}:3:38: providers.llm.a.base_url: ${{HOST}} is not set, {todo}",
    )
    a, b = settings.provider_configs()
    assert not a.enabled
    assert a.disabled_reason == (
        "${A_KEY} is not set, ${HOST} is not set; set it, or remove the line"
    )
    assert a.timeout == 5
    assert b.enabled
    assert b.disabled_reason is None
    assert not settings.llm["a"].enabled


def test_a_key_of_several_that_is_missing_is_left_out_with_a_warning(tmp_path: Path) -> None:
    """The provider goes on with the other keys, in their order, and the warning says which."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "providers:\n  llm:\n    a:\n      api_keys:\n"
        "        - ${K1}\n        - ${K2}\n        - ${K3:-}\n        - enc:v1:x\n        - ${K5}\n"
    )
    settings = load_settings(path, environ={"K2": KEY + "2", "K5": KEY + "5"})
    (config,) = settings.provider_configs()
    assert config.enabled
    assert config.api_keys == (Secret(KEY + "2"), Secret(KEY + "5"))
    assert config.key_value == KEY + "2"
    assert settings.warnings == (
        (
            f"{path}:5:11: providers.llm.a.api_keys[0]: ${{K1}} is not set, "
            "so this key is left out; set it, or remove the line"
        ),
        (
            f"{path}:8:11: providers.llm.a.api_keys[3]: no opener for enc: values is set up here, "
            "so this key is left out; set one up, or use ${VAR}"
        ),
    )


def test_a_provider_without_any_of_its_keys_is_disabled() -> None:
    """Only when no key is left the provider is disabled, and it says what all are missing."""
    settings = provider({}, api_keys=["${K1}", "${K2:-}"])
    (config,) = settings.provider_configs()
    assert not config.enabled
    assert (config.api_key, config.api_keys) == (None, ())
    assert config.disabled_reason == (
        "${K1} is not set, ${K2} is empty; set it, or remove the line"
    )
    assert [warning.split(", so")[0] for warning in settings.warnings[1:]] == [
        "providers.llm.a.api_keys[0]: ${K1} is not set",
        "providers.llm.a.api_keys[1]: ${K2} is empty",
    ]


def test_keys_from_everywhere_make_one_list(tmp_path: Path) -> None:
    """Variables, files and openers can stand side by side, each opened at its own place."""
    (tmp_path / "key").write_text(KEY + "f\n")
    places: list[str] = []

    def opener(text: str, place: str) -> str:
        places.append(place)
        return KEY + "e"

    keys = ["${K}", f"file:{tmp_path}/key", "enc:v1:x"]
    settings = load_settings(
        {"providers": {"llm": {"a": {"api_keys": keys}}}},
        environ={"K": KEY},
        openers={"enc": opener},
    )
    (config,) = settings.provider_configs()
    assert [key.get_secret_value() for key in config.api_keys if isinstance(key, Secret)] == [
        *(KEY, KEY + "f", KEY + "e")
    ]
    assert places == ["providers.llm.a.api_keys[2]"]
    assert settings.warnings == ()


def test_keys_that_turn_out_the_same_are_a_mistake_that_shows_neither() -> None:
    """Two variables with the same content are told by their places."""
    found = problem({"A": KEY, "B": KEY}, api_keys=["${A}", "${NO}", "${B}"])
    assert found == "providers.llm.a.api_keys[2]: is the same key as api_keys[0]; keep one"


def test_a_key_of_several_that_is_none_is_not_shown() -> None:
    """What a variable holds is checked like what stands in the file, and not repeated."""
    found = problem({"A": "sch" + "lüssel"}, api_keys=["${A}"])
    assert found.startswith("providers.llm.a.api_keys[0]: has characters that no key has")
    assert "lüssel" not in found


def test_a_provider_that_is_off_does_not_miss_its_keys() -> None:
    """With ``enabled: false`` none of several keys is followed or warned about."""
    settings = provider({}, enabled=False, api_keys=["${K1}", "file:/no/where", KEY])
    assert settings.disabled == {}
    assert settings.provider_configs()[0].api_keys == (Secret(KEY),)
    assert settings.warnings == (
        "providers.llm: no provider is enabled; add one, or set what is missing",
    )


def test_choices_numbers_and_prices_may_come_from_variables() -> None:
    """Every new field of a provider and the manager takes a reference."""
    environ = {
        "N": "7",
        "F": "0.25",
        "C": "json",
        "P": "off",
        "R": "restart",
        "X": "host",
        "T": "once",
    }
    fields = {
        **dict.fromkeys(("max_concurrency", "max_queue", "rpm", "tpm"), "${N}"),
        "weight": "${F}",
        "price": {"input": "${F}", "output": "${N}"},
        "health_probe": "${P}",
        "response_checks": ["${C}"],
        "policy": {"timeout": {"retry": "${T}", "circuit": "${EFFECT:-neutral}"}},
    }
    manager = {
        "retry_budget": "${F}",
        "stream_recovery": "${R}",
        "state_prefix": "${X}:a",
        "response_checks": ["${C}"],
        "circuit_breaker": {"minimum_calls": "${N}", "failure_rate": "${F}"},
    }
    settings = load_settings(
        {"providers": {"manager": manager, "llm": {"a": fields}}}, environ=environ
    )
    (config,) = settings.provider_configs()
    assert (config.max_concurrency, config.max_queue, config.rpm, config.tpm) == (7, 7, 7, 7)
    assert (config.weight, config.price) == (0.25, Price(0.25, 7))
    assert config.health_probe == "off"
    assert config.response_checks == frozenset({"json"})
    assert config.policy == {"timeout": {"retry": "once", "circuit": "neutral"}}
    assert (settings.manager.retry_budget, settings.manager.stream_recovery) == (0.25, "restart")
    assert settings.manager.state_prefix == "host:a"
    assert settings.manager.response_checks == frozenset({"json"})
    assert settings.manager.circuit_breaker.minimum_calls == 7
    assert settings.manager.circuit_breaker.failure_rate == 0.25


@pytest.mark.parametrize(
    ("environ", "text", "reason"),
    [
        ({}, "${K}", "${K} is not set; set it, or remove the line"),
        ({"K": ""}, "${K}", "${K} is empty; set it, or remove the line"),
        ({"K": " \n"}, "${K}", "${K} is empty; set it, or remove the line"),
        ({}, "${K:-}", "${K} is empty; set it, or remove the line"),
        ({"K": "\udcff"}, "${K}", "${K} is not UTF-8; set it, or remove the line"),
        ({}, "enc:v1:abc", "no opener for enc: values is set up here; set one up, or use ${VAR}"),
        ({}, "keyring:amas", "no opener for keyring: values is set up here; set one up, or use"),
    ],
)
def test_a_key_that_is_not_to_be_had_disables(
    environ: dict[str, str], text: str, reason: str
) -> None:
    """Unset, blank, garbled and unopenable keys all disable the provider and say why."""
    (config,) = provider(environ, api_key=text).provider_configs()
    assert not config.enabled
    assert config.api_key is None
    assert (config.disabled_reason or "").startswith(reason)


def test_a_blank_default_says_that_a_field_may_be_absent() -> None:
    """``${VAR:-}`` leaves the default of the field, without a word."""
    settings = provider(
        {},
        base_url="${URL:-}",
        timeout="${T:-}",
        params={"stop": "${STOP:-}", "n": 1},
        options={"tags": ["${TAG:-}", "b"]},
    )
    a = settings.llm["a"]
    assert (a.enabled, a.base_url, a.timeout, a.params) == (True, None, 30, {"n": 1})
    assert a.options == {"tags": ["", "b"]}
    assert settings.warnings == ()


@pytest.mark.parametrize("field", ["params", "capabilities", "enabled"])
def test_a_missing_variable_anywhere_in_a_provider_disables_it(field: str) -> None:
    """In a mapping, a list or ``enabled`` itself, a missing variable is a missing variable."""
    value = {"params": {"a": ["${NO}"]}, "capabilities": ["${NO}"], "enabled": "${NO}"}[field]
    settings = provider({}, **{field: value})
    assert settings.disabled == {"a": "${NO} is not set; set it, or remove the line"}


@pytest.mark.parametrize("off", [False, "${OFF}"])
def test_a_provider_that_is_off_needs_nothing(off: object) -> None:
    """With ``enabled: false`` no variable is missed, no file opened and no warning given."""
    opened: list[str] = []

    def opener(text: str, place: str) -> str:
        opened.append(place)
        return KEY

    fields = {"api_key": "enc:v1:x", "base_url": "http://${NO}", "enabled": off, "model": "${M}"}
    settings = load_settings(
        {"providers": {"llm": {"a": fields, "b": {}}}},
        environ={"OFF": "no", "M": "m"},
        openers={"enc": opener},
    )
    assert settings.warnings == ()
    assert settings.disabled == {}
    config = settings.provider_configs()[0]
    assert (config.enabled, config.disabled_reason, config.model) == (False, None, "m")
    assert opened == []


def test_a_missing_variable_elsewhere_leaves_the_default_with_a_warning() -> None:
    """Sections other than llm treat a key whose variable is missing as absent."""
    settings = load_settings(
        {
            "providers": {
                "manager": {
                    "deadline": "${NO}",
                    "fallback_order": ["b", "${NO}"],
                    "circuit_breaker": {"window": "${NO}"},
                    "state": "${REDIS:-}",
                },
                "security": {"master_key": "${MASTER}"},
                "alerts": {"webhook": "${HOOK}"},
                "llm": {"a": {}, "b": {}},
            }
        },
        environ={"HOOK": " "},
    )
    assert settings.manager.deadline == 120
    assert settings.manager.fallback_order == ()
    assert settings.manager.state == "memory"
    assert settings.security.master_key == ()
    assert settings.alerts is not None
    assert settings.alerts.webhook is None
    assert [warning.split(": ")[0] for warning in settings.warnings] == [
        "providers.manager.deadline",
        "providers.manager.fallback_order[1]",
        "providers.manager.circuit_breaker.window",
        "providers.security.master_key",
        "providers.alerts.webhook",
    ]
    assert all("(treated as absent)" in warning for warning in settings.warnings)


@pytest.mark.parametrize("text", ["${NO}", "${NO:-}"])
@pytest.mark.parametrize("field", ["models", "max_tokens", "budget_usd_per_day"])
def test_a_missing_variable_in_an_access_rule_is_a_problem(field: str, text: str) -> None:
    """Leaving a restriction out would grant more than was asked for."""
    rule = {field: [text] if field == "models" else text}
    with pytest.raises(ProviderConfigError, match=rf"security\.access\.x\.{field}"):
        load_settings({"providers": {"security": {"access": {"x": rule}}}}, environ={})


def test_values_of_all_sections_may_come_from_variables() -> None:
    """Numbers, enumerations, secrets and lists of every section take references."""
    settings = load_settings(
        {
            "providers": {
                "manager": {"strategy": "${S}", "fallback_order": ["${A}"], "max_retries": "${N}"},
                "security": {
                    "master_key": "${M}",
                    "plaintext_keys": "${P}",
                    "access": {"x": {"max_tokens": "${N}", "budget_usd_per_day": "${F}"}},
                },
                "audit": {"content": "${C}"},
                "alerts": {"webhook": "${W}", "min_interval": "${N}"},
                "llm": {"a": {"capabilities": ["${CAP}"], "max_retries": None}},
            }
        },
        environ={
            "S": "fastest",
            "A": "a",
            "N": "7",
            "M": KEY,
            "P": "allow",
            "C": "hash",
            "W": "https://hooks.example/x",
            "F": "1.5",
            "CAP": "tools",
        },
    )
    assert (settings.manager.strategy, settings.manager.fallback_order) == ("fastest", ("a",))
    assert [key.get_secret_value() for key in settings.security.master_key] == [KEY]
    assert settings.security.access["x"].max_tokens == 7
    assert settings.security.access["x"].budget_usd_per_day == 1.5
    assert settings.alerts is not None
    assert settings.alerts.webhook == "https://hooks.example/x"
    assert settings.audit is not None
    assert settings.audit.content == "hash"
    (config,) = settings.provider_configs()
    assert (config.max_retries, config.capabilities) == (7, frozenset({"tools"}))


@pytest.mark.parametrize("form", ["file:{}", "file://{}", "file:${{DIR}}/key"])
def test_a_key_may_be_in_a_file(tmp_path: Path, form: str) -> None:
    """``file:`` gives the content without the line break and the byte order mark."""
    path = tmp_path / "key"
    path.write_bytes(b"\xef\xbb\xbf" + KEY.encode() + b"\r\n")
    (config,) = provider({"DIR": str(tmp_path)}, api_key=form.format(path)).provider_configs()
    assert config.key_value == KEY


def test_a_relative_file_is_looked_for_beside_the_configuration(tmp_path: Path) -> None:
    """``file:key`` in a file means the folder of that file."""
    (tmp_path / "key").write_text(KEY)
    path = tmp_path / "c.yaml"
    path.write_text("providers: {llm: {a: {api_key: 'file:key'}}}")
    assert load_settings(path).provider_configs()[0].key_value == KEY


def test_file_is_for_secret_fields_only(tmp_path: Path) -> None:
    """Elsewhere ``file:`` is a text like any other."""
    assert provider({}, model="file:/etc/hostname").llm["a"].model == "file:/etc/hostname"


def test_secret_options_may_be_references_too(tmp_path: Path) -> None:
    """An option whose name says that it is a credential may stand in a file."""
    (tmp_path / "key").write_text(KEY)
    settings = provider({}, options={"aws_secret_access_key": f"file:{tmp_path}/key"})
    option = settings.llm["a"].options["aws_secret_access_key"]
    assert option.get_secret_value() == KEY
    assert KEY not in repr(settings) + repr(settings.provider_configs())


def _unreadable(folder: Path) -> dict[str, str]:
    (folder / "empty").write_text(" \n")
    (folder / "bad").write_bytes(b"\xff\xfe")
    (folder / "large").write_bytes(b"x" * 65_537)
    os.mkfifo(folder / "pipe")
    return {
        f"{folder}/none": "No such file",
        str(folder): "Is a directory",
        f"{folder}/pipe": "not a regular file",
        f"{folder}/empty": "value is empty",
        f"{folder}/bad": "is not UTF-8",
        f"{folder}/large": "larger than 64 KiB",
        f"{folder}/a\0b": "no possible path",
        "key-by-mistake": "the file cannot be read",
    }


def test_a_file_that_cannot_be_read_counts_as_missing(tmp_path: Path) -> None:
    """Every way in which a file fails disables the provider, and only absolute paths are shown."""
    for path, phrase in _unreadable(tmp_path).items():
        settings = provider({}, api_key=f"file:{path}")
        assert phrase in settings.disabled["a"]
        assert "key-by-mistake" not in settings.disabled["a"]


def test_a_socket_is_no_file_with_a_key(tmp_path: Path) -> None:
    """What cannot even be opened disables the provider as well."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert "cannot be read" in provider({}, api_key=f"file:{tmp_path}/s").disabled["a"]


def test_openers_get_the_text_and_its_place() -> None:
    """A plug-in opens the texts of its scheme, in every secret field."""
    calls: list[tuple[str, str]] = []

    def opener(text: str, place: str) -> str:
        calls.append((text, place))
        return KEY

    settings = load_settings(
        {
            "providers": {
                "security": {"master_key": "keyring:amas"},
                "llm": {"a": {"api_key": "enc:v1:xyz"}, "b": {"model": "enc:v1:xyz"}},
            }
        },
        environ={},
        openers={"enc": opener, "keyring": opener},
    )
    assert calls == [
        ("keyring:amas", "providers.security.master_key"),
        ("enc:v1:xyz", "providers.llm.a.api_key"),
    ]
    assert settings.provider_configs()[0].key_value == KEY
    assert settings.llm["b"].model == "enc:v1:xyz"


@pytest.mark.parametrize(
    ("error", "phrase"),
    [
        (ProviderConfigError("the master key is not the right one"), "not the right one"),
        (AuthenticationError(f"refused {KEY}"), "refused **********"),
        (ValueError(KEY), "the enc: value cannot be opened: ValueError"),
        (None, "the enc: value is empty"),
    ],
)
def test_an_opener_that_fails_disables_and_leaks_nothing(
    error: Exception | None, phrase: str
) -> None:
    """Whatever an opener raises costs its provider only, and what it says is scrubbed."""

    def opener(text: str, place: str) -> str:
        if error:
            raise error
        return " "

    settings = load_settings(
        {"providers": {"llm": {"a": {"api_key": "enc:v1:x"}}}},
        environ={},
        openers={"enc": opener},
    )
    assert phrase in settings.disabled["a"]
    assert KEY not in repr(settings)


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``environ`` the variables of the process are used."""
    monkeypatch.setenv("AMAS_TEST_KEY", KEY)
    settings = load_settings({"providers": {"llm": {"a": {"api_key": "${AMAS_TEST_KEY}"}}}})
    assert settings.provider_configs()[0].key_value == KEY


LITERAL = "plain" + "text" * 5


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("api_key", LITERAL, True),
        ("api_key", "${NO:-" + LITERAL + "}", True),
        ("api_key", "${K}", False),
        ("api_key", "${K:-none}", False),
        ("api_key", "none", False),
        ("api_key", "enc:v1:x", False),
        ("api_keys", ["${K}", LITERAL], True),
        ("api_keys", ["${NO:-" + LITERAL + "}"], True),
        ("api_keys", ["${K}", "enc:v1:x", "file:/no/where"], False),
        ("options", {"aws_secret_access_key": LITERAL}, True),
        ("options", {"aws_secret_access_key": "os.environ/AWS"}, False),
        ("options", {"vertex_credentials": "/etc/sa.json"}, False),
        ("options", {"region": LITERAL}, False),
    ],
)
def test_a_key_in_the_file_is_warned_about_or_forbidden(
    tmp_path: Path, field: str, value: object, found: bool
) -> None:
    """By policy, a plain key gives one warning, one problem or nothing; references never do."""
    path = tmp_path / "c.yaml"
    head = "providers:\n  security: {plaintext_keys: POLICY}\n  llm:\n    a:\n"
    text = head + f"      {field}: {json.dumps(value)}\n"

    path.write_text(text.replace("POLICY", "warn"))
    settings = load_settings(path, environ={"K": KEY}, openers={"enc": lambda *_: KEY + "e"})
    warnings = [warning for warning in settings.warnings if "left out" not in warning]
    assert len(warnings) == found
    assert all(
        w.startswith(f"{path}:5:") and "the key of 'a' stands in this file" in w for w in warnings
    )

    path.write_text(text.replace("POLICY", "allow"))
    settings = load_settings(path, environ={"K": KEY}, openers={"enc": lambda *_: KEY + "e"})
    assert not any("plain text" in warning for warning in settings.warnings)

    path.write_text(text.replace("POLICY", "forbid"))
    if found:
        with pytest.raises(ProviderConfigError, match=r":5:\d+: .* plain text") as caught:
            load_settings(path, environ={"K": KEY})
        assert LITERAL not in str(caught.value)
    else:
        load_settings(path, environ={"K": KEY}, openers={"enc": lambda *_: KEY + "e"})


def test_a_master_key_in_the_file_is_warned_about_and_a_webhook_is_not(tmp_path: Path) -> None:
    """The master key is a key; the address of a webhook is where it has to be."""
    path = tmp_path / "c.yaml"
    path.write_text(
        f"providers:\n  security: {{master_key: {LITERAL}}}\n"
        "  alerts: {webhook: https://hooks.example/T1}\n  llm: {a: {}}\n"
    )
    (warning,) = load_settings(path).warnings
    assert f"{path}:2:26: providers.security.master_key: the master key stands" in warning


def test_a_key_in_a_mapping_is_not_in_a_file() -> None:
    """Keys from a mapping were in memory already; no policy looks at them."""
    source = {
        "providers": {"security": {"plaintext_keys": "forbid"}, "llm": {"a": {"api_key": KEY}}}
    }
    assert load_settings(source).warnings == ()
