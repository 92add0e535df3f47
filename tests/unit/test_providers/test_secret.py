"""Secrets show their mask wherever a text is shown, and texts are scrubbed of them."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amas.providers.secret import MASK, Secret, hide, is_secret_name, reveal, scrub

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
        "headers": {"X-Api-Key": VALUE, "X-Team": "red"},
        "credentials": {"nested": [VALUE, {"deep": VALUE}], "port": 5},
        "list": [{"token": VALUE}, "open"],
    }
    hidden = hide(plain)
    assert VALUE not in repr(hidden)
    assert hidden["headers"]["X-Team"] == "red"
    assert hidden["region"] == "eu"
    assert reveal(hidden) == plain
    assert type(reveal(hidden)["secret_key"]) is str
    assert hide(("a", "b")) == ["a", "b"]


def test_scrub_knows_every_live_secret() -> None:
    """A secret of no known shape is found as long as it lives, and no longer."""
    value = VALUE[::-1]
    secret = Secret(value)
    longer = Secret(value + "tail")
    assert scrub(f"<{value}> <{value}tail>") == f"<{MASK}> <{MASK}>"
    del secret, longer
    gc.collect()
    assert scrub(f"<{value}>") == f"<{value}>"


def test_scrub_leaves_placeholders() -> None:
    """Masking "none" or "test" would garble ordinary texts."""
    held = [Secret("none"), Secret("test")]
    assert scrub("none of the tests") == "none of the tests"
    assert len(held) == 2


SHAPES = [
    "sk-" + "a" * 20,
    "sk-ant-api03-" + "b" * 20,
    "sk-or-v1-" + "0" * 20,
    "AIza" + "c" * 35,
    "gsk_" + "d" * 20,
    "hf_" + "e" * 20,
    "r8_" + "f" * 20,
    "fw_" + "g" * 20,
    "xai-" + "h" * 20,
    "pplx-" + "i" * 20,
    "nvapi-" + "j" * 20,
    "csk-" + "k" * 20,
    "0123456789abcdef" * 2 + "." + "l" * 16,
]


@pytest.mark.parametrize("key", SHAPES)
def test_scrub_knows_the_shapes_of_keys(key: str) -> None:
    """Keys that nobody has told us of are known by their shapes."""
    assert scrub(f'{{"key": "{key}", x={key}}}') == f'{{"key": "{MASK}", x={MASK}}}'


def test_scrub_masks_bearer_tokens() -> None:
    """What travels as a bearer token is a secret whatever it looks like."""
    token = "plainword" * 2
    assert scrub(f"Authorization: Bearer {token}, next") == f"Authorization: Bearer {MASK}, next"


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
