"""Rows that are added to a file, which keeps everything else."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from amas.config.yaml_edit import Row, YamlText, inline, key_text, scalar
from amas.providers.errors import ProviderConfigError

SHORT: Row = {"api_key": "${GROQ_API_KEY}"}
LONG: Row = {
    "provider": "custom",
    "model": "qwen3:8b",
    "base_url": "http://127.0.0.1:8000/v1",
    "api_key": "${VLLM_KEY}",
    "local": True,
    "options": {"api_version": "2024-10-21", "x": "${X}"},
}
FORMS = {
    "empty": ("providers:\n", "providers:\n  llm:\n    new: {%s}\n"),
    "no-rows": (
        "providers:\n    llm:   # rows\n        # a: {}\n# end\n",
        "providers:\n    llm:   # rows\n        new: {%s}\n        # a: {}\n# end\n",
    ),
    "beside-short": (
        "providers:\r\n  llm:\r\n    a: {api_key: '${A}'} # c\r\nhost: 1",
        "providers:\r\n  llm:\r\n    a: {api_key: '${A}'} # c\r\n    new: {%s}\r\nhost: 1",
    ),
    "braces": ("providers: {llm: {a: {}}}", "providers: {llm: {a: {}, new: {%s}}}"),
    "braces-of-lines": (
        "providers:\n  llm: {\n    a: {}, # last\n    # more\n  }\n",
        "providers:\n  llm: {\n    a: {}, # last\n    new: {%s}\n    # more\n  }\n",
    ),
    "braces-no-comma": (
        "providers:\r\n  llm: { a: {},\r\n    b: 'x' # last\r\n  }\r\n",
        "providers:\r\n  llm: { a: {},\r\n    b: 'x', # last\r\n    new: {%s}\r\n  }\r\n",
    ),
    "mark": (
        "\ufeffproviders:\n  llm: {}  # none\n",
        "\ufeffproviders:\n  llm: {new: {%s}}  # none\n",
    ),
    "last-line": (
        "providers:\n  llm:\n    a: {}",
        "providers:\n  llm:\n    a: {}\n    new: {%s}",
    ),
}


@pytest.mark.parametrize(("before", "after"), FORMS.values(), ids=FORMS)
def test_a_short_row_takes_one_line_in_the_form_of_the_file(before: str, after: str) -> None:
    """Comments, quotes, line ends, indentation and the byte order mark stay."""
    text = YamlText("c", before.encode()).add(("llm", "new"), SHORT).decode()
    assert text == after % 'api_key: "${GROQ_API_KEY}"'


@pytest.mark.parametrize(
    ("rows", "row"),
    [("    a: {}   # a\n", LONG), ("    a:   # a\n      model: x\n", SHORT)],
    ids=["long", "beside-open"],
)
def test_a_row_takes_lines_if_it_is_long_or_its_neighbour_does(rows: str, row: Row) -> None:
    """A row is written as its neighbours are, and never as one long line."""
    before = f"providers:\n  llm:\n{rows}    # b\n  manager: {{deadline: 3}}\n"
    text = YamlText("c", before.encode()).add(("llm", "new"), row).decode()
    lines = [f"      {field}: {inline(value)}\n" for field, value in row.items()]
    added = "    new:\n" + "".join(lines)
    assert text == before.replace(rows, rows + added)


def test_a_row_that_is_there_is_not_written_again() -> None:
    """A row of that name is refused, with its line and column."""
    text = YamlText("c.yaml", b"providers:\n  llm:\n    a: {}\n")
    with pytest.raises(ProviderConfigError, match=r"c\.yaml:3:8: .*is there already"):
        text.add(("llm", "a"), SHORT)


@pytest.mark.parametrize(
    "before",
    [
        "r: &r {a: {}}\nproviders:\n  llm: *r\n",
        "r: 1\nproviders:\n  llm: &r {a: {}}\nhost: [*r]\n",
        "r: 1\nproviders:\n  llm: &r {a: {}}\nhost: {<<: *r, b: 1}\n",
    ],
    ids=["alias", "anchor", "merged"],
)
def test_what_is_shared_with_others_is_not_added_to(before: str) -> None:
    """A row would come to every other user of the anchor, so it is refused with its place."""
    with pytest.raises(ProviderConfigError, match=r"^c:3:3: providers\.llm: is shared through an"):
        YamlText("c", before.encode()).add(("llm", "new"), SHORT)


def test_a_row_goes_in_where_lines_do_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be put on lines of its own is added by ruamel.yaml, comments kept."""
    before = b"providers:\n  llm:\n    a: {api_key: ${A}}   # mine\n"
    monkeypatch.setattr(YamlText, "_inserted", lambda *_: "")
    text = YamlText("c", before).add(("llm", "new"), LONG)
    assert b"# mine" in text
    assert YamlText("c", text).data["llm"] == {"a": {"api_key": "${A}"}, "new": LONG}


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=40))
def test_every_text_is_read_as_it_was_written(text: str) -> None:
    """Whatever stands in a field comes back as that text, in braces and on a line."""
    assert yaml.safe_load(f"a: {scalar(text)}") == {"a": text}
    assert yaml.safe_load(inline({"a": text, "b": True})) == {"a": text, "b": True}
    assert yaml.safe_load(f"{key_text(text)}: 1") == {text: 1}


@pytest.mark.parametrize("word", ["no", "On", "null", "true", "y", "1", "1.5", "~", "a: b", "#a"])
def test_a_word_that_means_something_else_is_quoted(word: str) -> None:
    """A name such as `no` stays a text, wherever it stands."""
    assert scalar(word).startswith('"')
    assert key_text(word).startswith('"')
