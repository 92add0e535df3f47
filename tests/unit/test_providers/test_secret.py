"""Secrets show their mask wherever a text is shown, and texts are scrubbed of them."""

from __future__ import annotations

import base64
import copy
import html
import itertools
import json
import pickle
import random
import time
import timeit
import traceback
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amas.providers import secret as secret_module
from amas.providers.secret import MASK, Secret, hide, is_secret_name, reveal, scrub
from amas.providers.secret_forms import KnownSecrets, unescaped

VALUE = "zq9" + "Lm4vXe7" * 3


def test_secret_shows_its_mask() -> None:
    """Printed, formatted, joined, encoded, dumped, sliced or measured, a secret is its mask."""
    secret = Secret(VALUE)
    assert str(secret) == f"{secret}" == "%s" % secret == MASK  # noqa: UP031 -- a way to show it
    assert repr(secret) == f"Secret('{MASK}')"
    assert json.dumps({"key": secret}) == json.dumps({"key": MASK})
    assert ", ".join([secret] * 2) == f"{MASK}, {MASK}"
    assert (secret[:4], len(secret), secret.encode()) == (MASK[:4], len(MASK), MASK.encode())
    assert secret.get_secret_value() == VALUE


def test_secret_in_a_pickle_is_the_mask() -> None:
    """A pickle leaves the process without the value."""
    data = pickle.dumps([Secret(VALUE)])
    assert VALUE.encode() not in data
    assert pickle.loads(data) == [MASK]


def test_secret_in_a_copy_is_itself() -> None:
    """Copies within the process keep the value."""
    secret = Secret(VALUE)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret
    assert Secret(secret).get_secret_value() == VALUE


def test_secret_in_a_traceback_is_masked() -> None:
    """A traceback that shows locals shows the mask."""

    def fail(key: Secret) -> None:
        raise ValueError(key)

    with pytest.raises(ValueError, match=r"\*") as caught:
        fail(Secret(VALUE))
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert VALUE not in "".join(line for line in shown.format() if "fail(Secret" not in line)


def test_secrets_are_compared_by_value() -> None:
    """Equality, inequality and hash are those of the value, also against plain texts."""
    assert Secret(VALUE) == Secret(f" {VALUE}\n") == VALUE
    assert Secret(VALUE) != Secret("other")
    assert Secret(VALUE) != MASK
    assert (Secret(VALUE) == 5) is False
    assert {Secret(VALUE): 1}[Secret(VALUE)] == 1


@pytest.mark.parametrize(
    "name",
    ["api_key", "aws_secret_access_key", "Authorization", "X-Api-Key", "token", "PASSWORD",
     "azure_ad_token", "Cookie", "vertex_credentials"],
)  # fmt: skip
def test_secret_names(name: str) -> None:
    """Fields of credentials are known by their names."""
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["api_version", "region", "temperature", "timeout"])
def test_other_names(name: str) -> None:
    """Ordinary options are not masked."""
    assert not is_secret_name(name)


def test_hide_and_reveal() -> None:
    """Credentials are hidden at any depth, and come out again as they were."""
    plain = {
        "region": "eu",
        "secret_key": VALUE,
        "headers": {"X-Api-Key": VALUE, "X-Team": "a red team"},
        "credentials": {"nested": [VALUE, {"deep": VALUE}], "port": 5},
        "list": [{"token": VALUE}, "open"],
    }
    hidden = hide(plain)
    assert VALUE not in repr(hidden)
    assert "a red team" not in repr(hidden)
    assert hidden["region"] == "eu"
    assert reveal(hidden) == plain
    assert type(reveal(hidden)["secret_key"]) is str
    assert hide(("a", "b")) == ["a", "b"]


def test_scrub_knows_every_secret() -> None:
    """A secret of no known shape is found, and of two that begin alike the longer one."""
    value = VALUE[::-1]
    held = [Secret(value), Secret(value + "tail")]
    assert scrub(f"<{value}> <{value}tail>") == f"<{MASK}> <{MASK}>"
    assert len(held) == 2


def test_secrets_that_are_gone_are_known_for_a_while() -> None:
    """An upstream may still repeat a key that has been rotated; the oldest are forgotten."""
    known = KnownSecrets(kept=2)
    values = [f"{letter}{VALUE}" for letter in "abcd"]
    for value in values:
        known.add(value)
        known.drop(value)
    known.drop("never known")
    known.add(values[2])
    text = " ".join(values)
    assert known.mask(text) == f"{values[0]} {values[1]} {MASK} {MASK}"


def test_a_secret_is_known_as_long_as_one_of_its_copies() -> None:
    """What another object, or another form of another secret, still holds is not forgotten."""
    known = KnownSecrets(kept=0)
    known.add(VALUE)
    known.add(VALUE)
    known.add(VALUE.encode().hex())
    known.drop(VALUE.encode().hex())
    known.drop(VALUE)
    known.add("x")
    assert known.mask(f"{VALUE} {VALUE.encode().hex()}") == f"{MASK} {MASK}"
    known.drop(VALUE)
    known.add("x")
    assert known.mask(VALUE) == VALUE


def test_dropped_objects_are_counted(uncovered: None) -> None:
    """Every Secret that dies is told of: nothing piles up."""
    for number in range(600):
        Secret(f"{VALUE}{number:04}")
    assert scrub(f"<{VALUE}0599>") == f"<{MASK}>"
    assert len(secret_module._known._gone) <= 256


@pytest.mark.parametrize(
    "encode",
    [
        str, json.dumps, repr, html.escape, lambda text: json.dumps(json.dumps(text)),
        lambda text: repr(json.dumps(text)), lambda text: quote(text, safe=""), quote_plus,
        lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
        lambda text: quote(quote(text, safe=""), safe=""),
        lambda text: "".join(f"\\u{ord(character):04X}" for character in text),
        lambda text: "".join(f"\\x{ord(character):02x}" for character in text),
        lambda text: "".join(f"&#{ord(character)};" for character in text),
        lambda text: "".join(f"&#x{ord(character):x};" for character in text),
        lambda text: repr(text.encode()),
        lambda text: "".join(f"&#{ord(character):07}" for character in text),
        lambda text: "".join(f"&#x{ord(character):06X};" for character in text),
        lambda text: "".join(f"\\U{ord(character):08x}" for character in text),
        lambda text: "".join(f"\\{byte:03o}" for byte in text.encode()),
        lambda text: text.encode().hex(":"),
        lambda text: "".join(map(str.swapcase, text.encode().hex(" ")[:9])) + text.encode().hex()[6:],
        lambda text: json.dumps(html.escape(text)).replace("&", "\\u0026").replace("/", "\\/"),
        lambda text: text.encode().hex(), lambda text: text.encode().hex().upper(),
        *(lambda text, n=n: base64.b64encode(f"{'u' * n}:{text}:x".encode()).decode()
          for n in range(3)),
        *(lambda text, n=n: base64.urlsafe_b64encode(f"{'u' * n}:{text}".encode()).decode()
          for n in range(3)),
        lambda text: quote(base64.b64encode(text.encode()).decode(), safe=""),
    ],
    ids=(f"encoding-{number}" for number in itertools.count()),
)  # fmt: skip
@pytest.mark.parametrize(
    "value", ["a\"b\\c/d+e=f&g<h>i'j", "plain-Key_0123456789", "pass wörd\nüber"]
)
def test_scrub_knows_encodings(value: str, encode: Callable[[str], str]) -> None:
    """A secret is found in every encoding that may carry it, also in two at once."""
    held = Secret(value)
    text = scrub(f"<{encode(value)}>")
    assert MASK in text
    assert len(text) < 30
    assert held.get_secret_value() == value


@pytest.mark.parametrize("end", ["\n", "\r\n", "\\n", "\\r\\n"], ids=ascii)
def test_scrub_knows_wrapped_base64(end: str) -> None:
    """A secret in base64 is found across the ends of lines, also escaped ones."""
    held = Secret(VALUE * 4)
    encoded = base64.encodebytes(f"before: {VALUE * 4} after".encode()).decode().strip()
    text = scrub(f"<{encoded.replace(chr(10), end)}>")
    assert MASK in text
    assert len(text) < 50
    assert held.get_secret_value() == VALUE * 4


def test_one_text_may_have_secrets_in_several_encodings() -> None:
    """What is found in one encoding does not end the search."""
    held = Secret(VALUE)
    data = VALUE.encode()
    escaped = "".join(f"\\u{byte:04x}" for byte in data)
    assert scrub(f"{VALUE} {escaped} {data.hex(':')}") == f"{MASK} {MASK} {MASK}"
    assert unescaped("a&#9999999;b&#xFFFFFF;c\\UFFFFFFFFd") == "abcd"
    assert held.get_secret_value() == VALUE


def test_unescaping_has_an_end() -> None:
    """Who wraps a text in more layers than anybody does is not followed to the last."""
    text = "/"
    for _ in range(6):
        text = "".join(f"&#{ord(character)};" for character in text)
        text = "".join(f"\\u{ord(character):04x}" for character in text)
        if len(text) > 10_000:
            break
    assert unescaped("\\u0026#92;u0026#47;") == "/"
    assert unescaped(text) != "/"


def test_scrub_knows_cut_secrets() -> None:
    """The first half of a key, or more, is masked; less of it is left."""
    held = Secret(VALUE)
    assert scrub(f"{VALUE[:12]}…") == f"{MASK}…"
    assert scrub(f"{VALUE[:20]}…") == f"{MASK}…"
    assert scrub(f"{VALUE[:11]}…") == f"{VALUE[:11]}…"
    assert held.get_secret_value() == VALUE


def test_scrub_is_quick_with_many_secrets(uncovered: None) -> None:
    """A short text takes no longer with a thousand secrets than with one."""
    line = "manager answered provider='openai' model='gpt-4o' latency_ms=12.3 id=" + "0af3" * 8

    def microseconds() -> float:
        return min(timeit.repeat(lambda: scrub(line), number=200, repeat=7)) / 200 * 1e6

    held = [Secret(VALUE)]
    alone = microseconds()
    held += [Secret(f"{random.Random(number).random()}{VALUE}") for number in range(1000)]
    assert microseconds() < 3 * alone
    assert len(held) == 1001


def test_scrub_leaves_placeholders() -> None:
    """Masking "none" or "test" would garble ordinary texts."""
    held = [Secret("none"), Secret("test")]
    assert scrub("none of the tests") == "none of the tests"
    assert len(held) == 2


SHAPES = {
    "openai": "sk-" + "a" * 20,
    "openai with digits": "sk-" + "a1" * 5,
    "anthropic": "sk-ant-api03-" + "b" * 20,
    "openrouter": "sk-or-v1-" + "0" * 20,
    "google": "AIza" + "c" * 35,
    "google oauth": "ya29." + "c" * 35,
    "groq": "gsk_" + "d" * 20,
    "huggingface": "hf_" + "e" * 20,
    "replicate": "r8_" + "f" * 20,
    "fireworks": "fw_" + "g" * 20,
    "xai": "xai-" + "h" * 20,
    "perplexity": "pplx-" + "i" * 20,
    "nvidia": "nvapi-" + "j" * 20,
    "cerebras": "csk-" + "k" * 20,
    "zhipu": "0123456789abcdef" * 2 + "." + "l" * 16,
    "aws": "AKIA" + "M" * 16,
    "github": "ghp_" + "n" * 36,
    "github fine": "github_pat_" + "o" * 36,
    "slack": "xoxb-" + "1" * 12,
    "jwt": "eyJ" + "q" * 20 + ".eyJ" + "r" * 20 + "." + "s" * 20,
}


@pytest.mark.parametrize("key", SHAPES.values(), ids=SHAPES)
def test_scrub_knows_the_shapes_of_keys(key: str) -> None:
    """Keys that nobody has told us of are known by their shapes."""
    assert scrub(f'{{"key": "{key}", x={key}}}') == f'{{"key": "{MASK}", x={MASK}}}'
    assert scrub(f"%22{key} \\n{key} \\u0022{key}") == f"%22{MASK} \\n{MASK} \\u0022{MASK}"


def test_scrub_masks_bearer_tokens() -> None:
    """What travels as a bearer token is a secret whatever it looks like."""
    token = "plainword" * 2
    assert scrub(f"Authorization: Bearer {token}, next") == f"Authorization: Bearer {MASK}, next"


TOKEN = "0af3" * 8


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"api-key: {TOKEN}", f"api-key: {MASK}"),
        (f"x-goog-api-key={TOKEN}", f"x-goog-api-key={MASK}"),
        (f"{{'azure_api_key': '{TOKEN}', 'n': 1}}", f"{{'azure_api_key': '{MASK}', 'n': 1}}"),
        (f'{{\\"client_secret\\": \\"{TOKEN}\\"}}', f'{{\\"client_secret\\": \\"{MASK}\\"}}'),
        (f"aws_secret_access_key = {TOKEN}+/", f"aws_secret_access_key = {MASK}"),
        (f"Authorization: {TOKEN}", f"Authorization: {MASK}"),
        ("Authorization: Basic dXNl", f"Authorization: Basic {MASK}"),
        (f"sent Basic {TOKEN}==, no", f"sent Basic {MASK}, no"),
        (f"sent bearer {TOKEN}, no", f"sent bearer {MASK}, no"),
        ("http://user:pass@proxy:80/x", f"http://{MASK}@proxy:80/x"),
        (f"https://{TOKEN}:@host", f"https://{MASK}@host"),
        (f"GET /v1?a=b&key={TOKEN}&c=d", f"GET /v1?a=b&key={MASK}&c=d"),
        ("https://h/x?api_key=abcdefgh", f"https://h/x?api_key={MASK}"),
        (f"https://hooks.slack.com/services/{TOKEN}", f"https://hooks.slack.com/{MASK}"),
        ("-----BEGIN PRIVATE KEY-----" + TOKEN + "-----END", f"-----BEGIN PRIVATE KEY-----{MASK}-----END"),
    ],
    ids=str,
)  # fmt: skip
def test_scrub_knows_where_credentials_stand(text: str, left: str) -> None:
    """What has no shape of its own is known by the name before it, or its place in a URL."""
    assert scrub(text) == left
    assert scrub(left) == left


@pytest.mark.parametrize(
    "text",
    [
        "5f2b7c9de8a14c0f9f0e8f6b6d1f2a3c", "5f2b7c9d-e8a1-4c0f-9f0e-8f6b6d1f2a3c",
        "commit 5f2b7c9de8a14c0f9f0e8f6b6d1f2a3c00112233", "request_id='req_000000000106'",
        "idempotency: 5f2b7c9de8a14c0f9f0e8f6b6d1f2a3c", "sha256:" + "0af3" * 16,
        "enc:v1:" + "Ab-_9" * 30, "api_key: enc:v1:" + "Ab-_9" * 30, "api_key: ${OPENAI_API_KEY_2}",
        "api_key: file:/run/secrets/openai_key_2", "api_key: keyring:amas/openai_key_of_2",
        "api_key has characters that no key has (space, control, non-ASCII); copy it anew",
        "the key is refused (HTTP 401 from the models listing); check api_key",
        "Basic authentication is required, bearer authentication is not",
        "invalid_api_key: Incorrect API key provided", "a risk-management task-force asks",
        "https://api.openai.com/v1/models?page=2", "max_tokens=1000000000000000000",
        "git@github.com:user/repo.git", "ssh://git@github.com/user", "C:\\new\\table 100% & more",
        "a password: none was given", "{'model': 'gpt-4o', 'key': 1, 'tokens': 12345678901234567}",
        "sk-estonian-dictionary-words", "sk-video-toolkit1-extra", "a Basic subscription2",
        "https://h/x?page_token=abcdefgh12345678&nextPageToken=abcdefgh&max_tokens=10000000",
        "Bearer authentications", "at 12:30@home see http://localhost:11434/api/chat",
    ],
)  # fmt: skip
def test_scrub_leaves_what_is_no_secret(text: str) -> None:
    """Identifiers, hashes, ciphertexts, references, addresses and prose stay as they are."""
    held = Secret(VALUE)
    assert scrub(text) == text
    assert held.get_secret_value() == VALUE


@given(st.text(alphabet="abc -_.:{}\n", max_size=80))
def test_scrub_leaves_ordinary_text(text: str) -> None:
    """A text without a secret stays as it is."""
    assert scrub(text) == text


@given(st.text(max_size=20), st.text(max_size=20))
def test_scrub_finds_a_secret_anywhere(before: str, after: str) -> None:
    """Wherever a live secret stands, it goes."""
    held = Secret(VALUE)
    assert VALUE not in scrub(before + VALUE + after)
    assert held.get_secret_value() == VALUE


@pytest.mark.parametrize(
    "piece",
    ["password=", "authorization: bearer ", "sk-", "://a:", "?key", "%25", "\\", "&amp;", "eyJa.",
     "0af3", "PRIVATE KEY-----", "bearer a", "api-key ", VALUE[:11], VALUE[:8], "0a:", "A" * 61 + "\n",
     "\\n", "&#1", "?next-"],
)  # fmt: skip
def test_scrub_is_not_slowed_down_by_hostile_texts(piece: str, uncovered: None) -> None:
    """What an upstream repeats endlessly costs time in proportion to its length."""
    held = Secret(VALUE)
    text = (piece * 66_000)[:66_000]
    began = time.process_time()
    scrub(text)
    assert time.process_time() - began < 2
    assert held.get_secret_value() == VALUE


def test_headers_are_hidden_but_for_those_that_tell_who_asks() -> None:
    """A gateway's own header may carry a key under any name; a title is an ordinary word."""
    hidden = hide({"headers": {"X-Custom": VALUE, "X-Title": "A service of ours"}})
    assert isinstance(hidden["headers"]["X-Custom"], Secret)
    assert not isinstance(hidden["headers"]["X-Title"], Secret)
