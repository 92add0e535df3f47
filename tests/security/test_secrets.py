"""Keys at rest: what is sealed opens at its own place, with its own master key, and untouched."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keyring
import keyring.errors
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amas.config import files
from amas.config.provider_settings import ProvidersSettings, load_settings
from amas.providers.errors import ProviderConfigError
from amas.providers.manager.discovery import read_configuration
from amas.providers.secret import Secret
from amas.providers.security.keyring import open_keyring
from amas.providers.security.master_key import (
    MasterKey,
    decode,
    derive,
    encode,
    generate,
    read_master_keys,
)
from amas.providers.security.secrets import (
    make_opener,
    open_sealed,
    purpose_of,
    seal,
    take_apart,
)

KEY = "sk-" + "test" * 6
OPENAI = "providers.llm.openai.api_key"
MASTER = MasterKey(Secret(encode(sha256(b"one").digest())))
OTHER = MasterKey(Secret(encode(sha256(b"two").digest())))


@pytest.fixture(autouse=True)
def _settle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMAS_MASTER_KEY", raising=False)


def token(place: str = OPENAI, master: MasterKey = MASTER, value: str = KEY) -> str:
    """Seal a key."""
    return seal(Secret(value), place, master, now=1_800_000_000.9)


def refusal(text: str, place: str = OPENAI, *masters: MasterKey) -> str:
    """Return why a value does not open."""
    with pytest.raises(ProviderConfigError) as caught:
        open_sealed(text, place, masters or (MASTER,))
    assert KEY not in str(caught.value)
    return caught.value.message


def test_what_is_sealed_opens_again() -> None:
    """A value opens at its place to a secret, and tells when and with which key it was sealed."""
    text = token()
    opened = open_sealed(text, OPENAI, (OTHER, MASTER))
    assert isinstance(opened, Secret)
    assert opened.get_secret_value() == KEY
    sealed = take_apart(text)
    assert (sealed.key_id, sealed.created) == (MASTER.id, 1_800_000_000)
    assert KEY not in text
    assert token() != text  # a nonce is never used twice


@given(st.text().map("from hypothesis: {}.".format))
@settings(deadline=None)  # a busy machine is no mistake
def test_any_text_can_be_sealed(text: str) -> None:
    """Every text comes out as it went in."""
    assert open_sealed(token(value=text), OPENAI, (MASTER,)).get_secret_value() == text


@pytest.mark.parametrize(
    ("place", "purpose"),
    [
        ("providers.llm.a.api_key", "llm.a.api_key"),
        ("providers.llm.a.api_keys[0]", "llm.a.api_key"),
        ("providers.llm.a.api_keys[12]", "llm.a.api_key"),
        ('providers.llm."a.b".api_keys[1]', 'llm."a.b".api_key'),
        ("providers.llm.a.options.api_key", "llm.a.options.api_key"),
        ('providers.llm.a.options."api_keys[0]"', 'llm.a.options."api_keys[0]"'),
        ("providers.llm.a.proxy", "llm.a.proxy"),
        ("providers.alerts.webhook", "alerts.webhook"),
    ],
)
def test_all_keys_of_a_provider_have_one_purpose(place: str, purpose: str) -> None:
    """One key may become one of several; every other field is a purpose of its own."""
    assert purpose_of(place) == purpose


@pytest.mark.parametrize(
    "place",
    [
        "providers.llm.anthropic.api_key",
        "providers.llm.openai2.api_key",
        "providers.llm.openai.options.api_key",
        "providers.llm.openai.proxy",
        'providers.llm."openai.options".api_key',
        "providers.alerts.webhook",
    ],
)
def test_a_moved_value_does_not_open(place: str) -> None:
    """At another provider or field it is refused, with the field's name and what may have been."""
    message = refusal(token(), place)
    assert f"not what was sealed for {purpose_of(place)}" in message
    assert "moved here from another provider or field, or changed" in message


def test_another_master_key_is_named() -> None:
    """The error of a wrong master key has the ids of the right one and of those configured."""
    message = refusal(token(), OPENAI, OTHER)
    assert f"sealed with the master key of id {MASTER.id}" in message
    assert f"configured: {OTHER.id}" in message
    with pytest.raises(ProviderConfigError, match=rf"{MASTER.id}, and none can be read"):
        open_sealed(token(), OPENAI, ())


@pytest.mark.parametrize(
    ("place", "end"),
    [
        ("llm.a.api_key", " with `amas-providers keys set a`"),
        ("llm.a.api_keys[1]", " with `amas-providers keys set a --key 2`"),
        ('llm."a.b".api_key', " with `amas-providers keys set a.b`"),
        ("llm.a.proxy", ""),
    ],
)
def test_a_value_that_does_not_open_says_how_to_set_it_again(place: str, end: str) -> None:
    """Whatever is wrong with it, the refusal ends with the command, if it is a provider's key."""
    place = f"providers.{place}"
    for text, masters in (
        (token(), [MASTER]),
        (token(), [OTHER]),
        (token(), []),
        ("enc:v1:", [MASTER]),
    ):
        with pytest.raises(ProviderConfigError) as caught:
            open_sealed(text, place, masters)
        assert caught.value.message.endswith(f" set it again{end}")


def test_a_forged_id_does_not_bring_a_wrong_key_to_open_it() -> None:
    """A value whose id is exchanged for that of another master key does not open."""
    forged = token().replace(MASTER.id, OTHER.id)
    assert "moved here from another" in refusal(forged, OPENAI, MASTER, OTHER)


def test_no_changed_character_passes(uncovered: None) -> None:
    """Whatever one character becomes, or if it is lost or doubled, the value does not open."""
    text = token()
    for index, character in enumerate(text):
        others = {chr(ord(character) ^ 1 << bit) for bit in range(8)} | set("A-_=:. \n0fé")
        changed = [text[:index] + other + text[index + 1 :] for other in others - {character}]
        changed += [text[:index] + text[index + 1 :], text[: index + 1] + text[index:]]
        for each in changed:
            if each != text:
                assert refusal(each)
    for end in range(len(text)):
        assert refusal(text[:end])


@pytest.mark.parametrize(
    "text",
    [
        "enc:v2:{id}:" + "A" * 60,
        "enc:v1:" + "A" * 60,
        "enc:v1:{id}:",
        "enc:v1:{id}:" + "A" * 61,  # no base64
        "enc:v1:{id}:" + "A" * 20,  # too short for a tag
        "enc:v1:{upper}:" + "A" * 60,
    ],
)
def test_what_is_written_otherwise_is_no_sealed_value(text: str) -> None:
    """Another version, or a part that is missing, is told from a value that does not open."""
    mangled = text.format(id=MASTER.id, upper=MASTER.id.upper().replace("0", "O"))
    assert "not written as enc:v1: values are" in refusal(mangled)


def test_padding_bits_have_one_spelling() -> None:
    """Base64 that stands for the same bytes in other characters is refused."""
    assert decode("AA") == b"\0"
    for text in ("AB", "AA==", "A", "A/", "A+", "AA\n", "ÄÄ"):
        with pytest.raises(ValueError, match="base64"):
            decode(text)


def file_with(path: Path, text: bytes) -> ProvidersSettings:
    """Load a file with one provider of this key."""
    path.write_bytes(b"providers:\n  llm:\n    openai:\n      api_key: " + text + b"\n")
    return load_settings(
        path,
        environ={"AMAS_MASTER_KEY": MASTER.text.get_secret_value()},
        sealed=make_opener,
    )


@pytest.mark.parametrize("quote", ['"', "'", ""])
def test_no_changed_byte_in_a_file_makes_another_key(
    tmp_path: Path, quote: str, uncovered: None
) -> None:
    """Whichever bit of a value in a file is flipped, no key comes of it, and it is said why."""
    path = tmp_path / "c.yaml"
    whole = f"{quote}{token()}{quote}".encode()
    assert file_with(path, whole).provider_configs()[0].key_value == KEY
    inner = range(len(quote), len(whole) - len(quote))
    for index in inner:
        for bit in range(8):
            changed = bytearray(whole)
            changed[index] ^= 1 << bit
            with suppress(ProviderConfigError):  # no YAML any more
                settings = file_with(path, bytes(changed))
                (config,) = settings.provider_configs()
                assert config.key_value is None, bytes(changed)
                assert not config.enabled, bytes(changed)


WEAK: list[tuple[str, Callable[[], str], str]] = [
    ("short", lambda: encode(bytes(range(0, 240, 16))), "has 15 bytes, not 32"),
    ("long", lambda: encode(os.urandom(33)), "has 33 bytes, not 32"),
    ("standard-base64", lambda: base64.b64encode(b"\xfb\xff" * 16).decode(), "url-safe base64"),
    ("hex", lambda: os.urandom(32).hex(), "has 48 bytes, not 32"),
    ("password", lambda: "correct horse battery staple", "url-safe base64"),
    ("one-byte", lambda: encode(b"\x81" * 32), "can be guessed"),
    ("few-bytes", lambda: encode(bytes(i * i % 15 for i in range(32))), "can be guessed"),
    ("half-repeated", lambda: encode(bytes(range(100, 260, 10)[:16]) * 2), "can be guessed"),
    ("sequence", lambda: encode(bytes(range(32))), "can be guessed"),
    ("falling", lambda: encode(bytes(range(255, 223, -1))), "can be guessed"),
    ("readable", lambda: encode(b"correct-horse.battery/staple,ABC"), "can be guessed"),
]


@pytest.mark.parametrize(
    ("make", "phrase"), [row[1:] for row in WEAK], ids=[row[0] for row in WEAK]
)
def test_a_weak_master_key_is_refused(make: Callable[[], str], phrase: str) -> None:
    """What is not 32 random bytes in url-safe base64 is no master key, and is not shown."""
    text = make()
    with pytest.raises(ProviderConfigError, match=phrase) as caught:
        MasterKey(Secret(text))
    assert "keys generate-master" in str(caught.value)
    assert text not in str(caught.value)


def test_a_generated_master_key_is_good() -> None:
    """What is generated is accepted, with or without padding, is new each time, and is hidden."""
    text = generate()
    value = text.get_secret_value()
    assert MasterKey(Secret(value + "=")).id == MasterKey(text).id != MasterKey(generate()).id
    assert repr(MasterKey(text)) == f"MasterKey({MasterKey(text).id})"
    assert len(decode(value)) == 32


def test_several_master_keys_may_be_in_one_text() -> None:
    """Commas, blanks and lines separate them; one that is there twice counts once."""
    one, two = (key.text.get_secret_value() for key in (MASTER, OTHER))
    keys = read_master_keys([Secret(f"{one}, {two}\n"), Secret(f"\n{one}\r\n\r\n"), Secret("")])
    assert [key.id for key in keys] == [MASTER.id, OTHER.id]


def test_derived_keys_are_for_one_purpose_each() -> None:
    """Another purpose or master key gives another key; a fingerprint cannot be made without it."""
    derived = {derive(key, purpose) for key in (MASTER, OTHER) for purpose in ("audit", "x")}
    assert len(derived) == 4
    assert {len(key) for key in derived} == {32}
    prints = {key.fingerprint(Secret(value)) for key in (MASTER, OTHER) for value in (KEY, "x")}
    assert len(prints) == 4
    assert MASTER.fingerprint(Secret(KEY)) == MASTER.fingerprint(Secret(KEY))
    assert {len(each) for each in prints} == {12}


# --- in a configuration ---------------------------------------------------------------------------


def load(
    security: object = None, environ: dict[str, str] | None = None, **rows: object
) -> ProvidersSettings:
    """Load a configuration whose sealed values are opened."""
    document: dict[str, Any] = {"providers": {"llm": rows}}
    if security is not None:
        document["providers"]["security"] = security
    return load_settings(
        document, environ=environ or {}, sealed=make_opener, openers={"keyring": open_keyring}
    )


def text_of(key: MasterKey) -> str:
    """Return a master key's text."""
    return key.text.get_secret_value()


def test_sealed_values_of_every_field_open(fake_key: str) -> None:
    """Keys, credentials in options, a proxy and the webhook may be sealed; a key may move in."""
    place = "providers.llm.a"
    document = {
        "providers": {
            "security": {"master_key": ["${NEW}", "${OLD}"], "plaintext_keys": "forbid"},
            "alerts": {
                "webhook": token("providers.alerts.webhook", value="https://h.example/x"),
            },
            "llm": {
                "a": {
                    "api_keys": [
                        token(f"{place}.api_key"),
                        token(f"{place}.api_keys[7]", value="k2"),
                    ],
                    "options": {
                        "client_secret": token(f"{place}.options.client_secret", OTHER, "deep")
                    },
                    "proxy": token(f"{place}.proxy", value="http://u:p@h:1"),
                },
                "my.own": {"api_key": "  " + token('providers.llm."my.own".api_key') + "\n"},
            },
        }
    }
    settings = load_settings(
        document,
        environ={"NEW": text_of(MASTER), "OLD": text_of(OTHER)},
        sealed=make_opener,
    )
    assert settings.warnings == ()
    first, second = settings.provider_configs()
    assert [Secret(key).get_secret_value() for key in first.api_keys] == [KEY, "k2"]
    assert first.options["client_secret"] == "deep"
    assert first.proxy == "http://u:p@h:1"
    assert second.key_value == KEY
    assert settings.alerts is not None
    assert settings.alerts.webhook == "https://h.example/x"


def test_a_value_that_does_not_open_disables_its_provider_alone() -> None:
    """The others work on, and the warning says what happened and where to look."""
    settings = load(
        {"master_key": "${M}"},
        {"M": text_of(MASTER)},
        a={"api_key": token("providers.llm.b.api_key")},
        b={"api_key": token("providers.llm.b.api_key")},
    )
    a, b = settings.provider_configs()
    assert (a.enabled, b.key_value) == (False, KEY)
    (warning,) = settings.warnings
    assert "llm.a.api_key: the enc: value cannot be opened: it is not what was sealed" in warning
    assert warning.endswith("so 'a' is disabled; see `amas-providers keys list`")


def test_the_variable_is_the_default_of_the_master_key() -> None:
    """Without a setting AMAS_MASTER_KEY opens; a setting is not replaced by it."""
    sealed = {"api_key": token("providers.llm.a.api_key")}
    environ = {"AMAS_MASTER_KEY": text_of(MASTER)}
    settings = load({}, environ, a=sealed)
    assert settings.warnings == ()
    assert settings.security.master_key == (text_of(MASTER),)
    assert load({"master_key": None}, environ, a=sealed).disabled == {}
    chosen = load({"master_key": "${NO}"}, environ, a=sealed)
    assert "none can be read" in chosen.disabled["a"]
    assert "security.master_key: ${NO} is not set" in "".join(chosen.warnings)


def test_a_bad_master_key_fails_where_it_was_chosen() -> None:
    """A weak key in the configuration is a problem; in a variable nobody named it is a warning."""
    weak = encode(bytes(32))
    for chosen in ("${M}", ["${M}"], weak):
        with pytest.raises(ProviderConfigError, match=r"security\.master_key: the master key is"):
            load({"master_key": chosen}, {"M": weak}, a={})
    settings = load(None, {"AMAS_MASTER_KEY": "the host's"}, a={"api_key": token()}, b={})
    assert "AMAS_MASTER_KEY is not used: the master key is not written" in settings.warnings[0]
    assert "AMAS_MASTER_KEY is not used" in settings.disabled["a"]
    assert [config.enabled for config in settings.provider_configs()] == [False, True]


def test_of_several_master_keys_a_missing_one_is_left_out() -> None:
    """The others open; the one that was to be there is named, the optional one is not."""
    settings = load(
        {"master_key": ["${NO}", "${OLD}", "${NONE:-}"]},
        {"OLD": text_of(MASTER)},
        a={"api_key": token("providers.llm.a.api_key")},
    )
    assert settings.disabled == {}
    assert settings.security.master_key == (text_of(MASTER),)
    (warning,) = settings.warnings
    assert "master_key[0]: ${NO} is not set, so this master key is left out" in warning


@pytest.mark.parametrize("value", [12, ["${M}", 12], [""], {"a": 1}])
def test_a_master_key_that_is_no_text_is_a_mistake(value: object) -> None:
    """Numbers, mappings and empty texts are refused as in every other field."""
    with pytest.raises(ProviderConfigError, match=r"security\.master_key"):
        load({"master_key": value}, {"M": text_of(MASTER)}, a={})


def test_without_what_opens_them_sealed_values_are_no_keys() -> None:
    """Where nobody passes an opener, an enc: value disables its provider."""
    settings = load_settings({"providers": {"llm": {"a": {"api_key": token()}}}}, environ={})
    assert "no opener for enc: values" in settings.disabled["a"]


def test_plain_text_is_told_by_field(tmp_path: Path) -> None:
    """A proxy counts as plain text if it has credentials, an option if its name says so."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "providers:\n  llm:\n    a:\n      proxy: http://user:word@h:1\n    b:\n"
        "      proxy: http://h:1\n      options: {client_secret: opaque, api_version: '1'}\n"
    )
    settings = load_settings(path, environ={})
    assert [warning.split(" ")[1] for warning in settings.warnings] == [
        "providers.llm.a.proxy:",
        "providers.llm.b.options.client_secret:",
    ]
    path.write_text(path.read_text() + "  security: {plaintext_keys: forbid}\n")
    with pytest.raises(ProviderConfigError) as caught:
        load_settings(path, environ={})
    assert len(caught.value.problems) == 2
    assert "word" not in str(caught.value)
    assert "keys encrypt" in str(caught.value)


def test_the_manager_reads_sealed_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes the manager's providers opens what `keys set` has sealed."""
    path = tmp_path / "c.yaml"
    path.write_text(f"providers:\n  llm:\n    openai: {{api_key: '{token()}'}}\n")
    monkeypatch.setenv("AMAS_MASTER_KEY", text_of(MASTER))
    settings, (provider,) = read_configuration(path)
    assert settings.warnings == ()
    assert provider.config.key_value == KEY


# --- where the master key is ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "works"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False)]
)
def test_the_file_of_a_master_key_is_private(tmp_path: Path, mode: int, works: bool) -> None:
    """A file that others can read is not used, and the warning says how to mend it."""
    path = tmp_path / "master"
    path.write_text(text_of(MASTER) + "\n")
    path.chmod(mode)
    settings = load({"master_key": f"file:{path}"}, a={"api_key": token("providers.llm.a.api_key")})
    assert (settings.disabled == {}) is works
    if not works:
        assert (
            f"cannot be used: others than its owner have access (mode {mode:04o}, not 0600)"
            in "".join(settings.warnings)
        )
        assert "needs a file of your own" in "".join(settings.warnings)


@pytest.mark.parametrize(
    ("path", "owner", "mode", "works"),
    [
        ("/etc/master", 0, 0o600, True),
        ("/etc/master", 0, 0o444, False),
        ("/etc/master", 1234, 0o600, False),
        ("/run/secrets/master", 0, 0o444, True),
        ("/var/run/secrets/x/master", 0, 0o440, True),
        ("/run/secrets/master", 0, 0o666, False),
        ("/run/secrets/master", 1234, 0o400, False),
        ("/run/secretsX/master", 0, 0o444, False),
        ("/srv/master", 4321, 0o400, True),
        ("/run/secrets/master", 4321, 0o444, False),
    ],
)
def test_whose_file_a_master_key_may_be_in(
    monkeypatch: pytest.MonkeyPatch, path: str, owner: int, mode: int, works: bool
) -> None:
    """It is one's own or root's; a container's mounted secrets may be readable to all."""
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    status: Any = SimpleNamespace(st_uid=owner, st_mode=stat.S_IFREG | mode)
    if works:
        files._require_private(path, status)
    else:
        with pytest.raises(PermissionError):
            files._require_private(path, status)


def test_the_keyring_keeps_keys_and_master_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """keyring:service/username is looked up, also for the master key."""
    kept = {("amas", "master"): text_of(MASTER), ("amas", "a/b"): KEY}
    monkeypatch.setattr(keyring, "get_password", lambda service, name: kept.get((service, name)))
    settings = load(
        {"master_key": "keyring:amas/master"},
        a={"api_key": "keyring:amas/a/b"},
        b={"api_key": token("providers.llm.b.api_key")},
        c={"api_key": "keyring:amas/nobody"},
        d={"api_key": "keyring:amas"},
    )
    assert [config.key_value for config in settings.provider_configs()] == [KEY, KEY, None, None]
    assert "no such entry" in settings.disabled["c"]
    assert "write it as keyring:service/username" in settings.disabled["d"]


@pytest.mark.parametrize(
    ("error", "phrase"),
    [
        (keyring.errors.NoKeyringError(), "no keyring on this system"),
        (keyring.errors.KeyringLocked("secret detail"), "the keyring refuses: KeyringLocked"),
    ],
)
def test_a_keyring_that_refuses_says_so(
    monkeypatch: pytest.MonkeyPatch, error: Exception, phrase: str
) -> None:
    """Without a backend, or locked, the provider is disabled with the reason."""

    def refuse(_service: str, _name: str) -> str:
        raise error

    monkeypatch.setattr(keyring, "get_password", refuse)
    settings = load(None, a={"api_key": "keyring:s/u"})
    assert phrase in settings.disabled["a"]
    assert "detail" not in settings.disabled["a"]


def test_without_the_package_keyring_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The keyring is an extra."""
    monkeypatch.setitem(__import__("sys").modules, "keyring", None)
    with pytest.raises(ProviderConfigError, match=r"amas-providers\[keyring\]"):
        open_keyring("keyring:s/u", "")
