"""What callers cannot do: route a call, at any depth, name media where they may not, or send too much."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from amas.providers import InvalidRequestError, LiteLLMProvider, ProviderConfig, ProviderManager
from amas.providers.base.model_names import model_problem
from amas.providers.llm import opening
from amas.providers.llm.answer import HttpxTransport
from amas.providers.llm.catalog import CatalogEntry, load_catalog
from amas.providers.llm.http_client import HttpClient, NotingTransport
from amas.providers.manager.routing import make_request
from amas.providers.security import requests
from amas.providers.security.egress import Egress
from amas.providers.security.requests import ROUTING, RequestRules, inspect_call
from amas.providers.testing import FakeProvider

FORBID = RequestRules(media_urls="forbid")
LISTED = RequestRules(
    media_urls="allow-list", media_hosts=("img.example.com", "*.cdn.example", "10.0.0.5")
)


def message(**more: Any) -> list[dict[str, Any]]:
    """Return a prompt of one message."""
    return [{"role": "user", "content": "hello", **more}]


def image(url: object) -> list[dict[str, Any]]:
    """Return a prompt with an image at an address."""
    return message(content=[{"type": "image_url", "image_url": {"url": url}}])


# --- routing ---------------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {
        "headers": {"type": "object"},
        "model": {"type": "string", "default": "http://127.0.0.1/"},
        "api_key": {"type": "string"},
        "url": {"const": "http://169.254.169.254/"},
    },
}


@pytest.mark.parametrize(
    "name", sorted([*ROUTING, "aws_access_key_id", "vertex_project", "litellm_x"])
)
def test_routing_names_are_refused_wherever_they_stand(name: str) -> None:
    """A name that routes is refused beside the parameters and in every mapping that is no schema."""
    places: list[tuple[Any, dict[str, Any]]] = [
        ("hi", {name: "x"}),
        (message(**{name: "x"}), {}),
        (message(content=[{"type": "text", "text": "a", name: "x"}]), {}),
        (message(content=[{"type": "file", "file": {name: {"a": 1}}}]), {}),
        (message(tool_calls=[{"function": {"arguments": "{}", name: "x"}}]), {}),
        ("hi", {"tools": [{"type": "function", "function": {"name": "f"}, name: "x"}]}),
        ("hi", {"tools": [{"function": {"name": "f", name: "x", "parameters": SCHEMA}}]}),
        ("hi", {"response_format": {"type": "json_schema", name: "x"}}),
        ("hi", {"metadata": {"a": [{"b": {name: "x"}}]}}),
        ("hi", {"thinking": {"type": "enabled", name: "x"}}),
    ]
    for prompt, params in places:
        with pytest.raises(InvalidRequestError, match="a caller may not set"):
            inspect_call(prompt, params)


def test_schemas_and_arguments_are_data() -> None:
    """A property of a schema, or an argument of a tool call, may be called and hold anything."""
    inspect_call(
        [
            *message(),
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "functions.get:0", "type": "function",
                 "function": {"name": "f", "arguments": '{"headers": "http://127.0.0.1"}'}}]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "1", "name": "f", "input": SCHEMA["properties"]}],
             "annotations": [{"url_citation": {"url": "http://10.0.0.1/"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "http://127.0.0.1/ says no"},
        ],
        {
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": SCHEMA}},
                {"name": "g", "input_schema": SCHEMA},
            ],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "s", "schema": SCHEMA, "strict": True},
            },
            "system_prompt": "http://127.0.0.1/ is this machine",
            "stop": ["http://", "file:///"],
            "logit_bias": {"50256": -100},
        },
    )  # fmt: skip


@pytest.mark.parametrize("name", ["Api_Key", "api-key", "API-BASE", " headers", "Aws-Region"])
def test_other_spellings_of_routing_names_are_refused(name: str) -> None:
    """Neither case nor dashes nor blanks make another name of one that routes."""
    for prompt, params in ((message(**{name: "x"}), {}), ("hi", {name: "x"})):
        with pytest.raises(InvalidRequestError, match="a caller may not set"):
            inspect_call(prompt, params)


def test_addresses_in_parameters_follow_the_media_rules() -> None:
    """Under the name of an address, a parameter may have what a message may have."""
    inspect_call("hi", {"web_search_options": {"url": "https://img.example.com/", "x": "file:///"}})
    with pytest.raises(InvalidRequestError, match=r"^web_search_options\.url: .*private network"):
        inspect_call("hi", {"web_search_options": {"url": "http://10.0.0.1/"}})


@pytest.mark.parametrize("name", ["file_id", "file_data", "detail"])
@pytest.mark.parametrize("odd", ["\u200bhttp://10.0.0.1/", "\xa0http://10.0.0.1/"], ids=ascii)
def test_odd_addresses_are_found_under_other_names(name: str, odd: str) -> None:
    """What nobody sees before a scheme does not hide an address, nor in an id."""
    with pytest.raises(InvalidRequestError, match="printable ASCII"):
        inspect_call(message(content=[{"type": "file", "file": {name: odd}}]), {})


def test_the_error_says_where() -> None:
    """The way to what is refused is told, and nothing of the value."""
    with pytest.raises(InvalidRequestError) as caught:
        inspect_call(
            [*message(), {"role": "user", "content": [{"x": [{"api_key": "hunter"}]}]}], {}
        )
    assert caught.value.message.startswith("messages[1].content[0].x[0].api_key: a caller may not")
    assert "hunter" not in str(caught.value)
    with pytest.raises(InvalidRequestError, match=r"^tools\[0\]\.server_url: an address"):
        inspect_call("hi", {"tools": [{"type": "mcp", "server_url": "http://10.0.0.1/mcp"}]})


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "mcp", "server_url": "https://mcp.example.com", "headers": {"X": "y"}},
        {"type": "mcp", "server_url": "http://169.254.169.254/latest"},
        {"type": "advisor", "name": "advisor", "model": "other-model"},
        {"type": "x", "config": {"endpoint": "http://localhost/"}},
    ],
    ids=["headers", "metadata", "model", "endpoint"],
)
def test_tools_reach_no_inner_address_and_no_other_model(tool: Mapping[str, Any]) -> None:
    """A tool that a vendor calls for us may not be inside, have headers, or ask another model."""
    with pytest.raises(InvalidRequestError):
        inspect_call("hi", {"tools": [tool]})


def test_tools_with_public_addresses_follow_the_media_rules() -> None:
    """A remote tool is allowed as media from its host would be."""
    tools = [{"type": "mcp", "server_url": "https://img.example.com/mcp", "server_label": "x"}]
    inspect_call("hi", {"tools": tools})
    inspect_call("hi", {"tools": tools}, LISTED)
    with pytest.raises(InvalidRequestError, match="media_urls: forbid"):
        inspect_call("hi", {"tools": tools}, FORBID)


class Dumped:
    """An object of a vendor's library, as people put into messages."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def model_dump(self) -> dict[str, Any]:
        """Return it as data."""
        return self.data


def test_objects_are_looked_into() -> None:
    """What hides in an object that becomes data is found; a class that stands for a schema passes."""
    with pytest.raises(InvalidRequestError, match=r"tool_calls\[0\]\.api_base"):
        inspect_call(message(tool_calls=[Dumped({"api_base": "http://x"})]), {})
    inspect_call(message(tool_calls=[Dumped({"id": "1"})], x=object()), {"response_format": Dumped})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    ),
    st.lists(st.sampled_from(["a", "b", 0, 1]), max_size=6),
    st.sampled_from(sorted(ROUTING)),
)
def test_no_depth_hides_a_routing_name(value: Any, way: list[str | int], name: str) -> None:
    """Whatever lies around it, a name that routes is found."""
    hidden: Any = {name: value}
    for step in way:
        hidden = [value, hidden] if isinstance(step, int) else {"x": value, step: hidden}
    with pytest.raises(InvalidRequestError):
        inspect_call(message(extra=hidden), {})
    with pytest.raises(InvalidRequestError):
        inspect_call("hi", {"response_format": hidden})


async def test_the_manager_asks_nobody() -> None:
    """A call that is refused reaches no provider, neither as an answer nor as a stream."""
    fake = FakeProvider("fake")
    async with ProviderManager() as manager:
        await manager.register_provider(fake)
        for prompt, params in (
            (message(api_key="x"), {}),
            (image("http://127.0.0.1/a.png"), {}),
            ("hi", {"tools": [{"headers": {}}]}),
            ("hi", {"model": "../../admin"}),
        ):
            with pytest.raises(InvalidRequestError):
                await manager.generate(prompt, **params)
            with pytest.raises(InvalidRequestError):
                _ = [chunk async for chunk in manager.stream(prompt, **params)]
        assert fake.calls == []


def test_rules_are_given_to_the_request() -> None:
    """The rules that a manager has hold for the requests it makes."""
    with pytest.raises(InvalidRequestError, match="over 4 bytes"):
        make_request(
            "hello", {}, known=(), now=0, seconds=1, rules=RequestRules(max_prompt_bytes=4)
        )


# --- models ----------------------------------------------------------------------------------------

HOSTILE_MODELS = [
    "../../v2/admin", "a/../b", "..", ".", "a/./b", "/a", "a//b", "x?key=1", "x#y", "x\\y",
    "x\r\nHost: y", "x\x00", "x%2e%2e", "%2f", "\t", "m" * 501,
    "x/", "a/ b", "a /b", " a",
]  # fmt: skip
MODELS = [
    "gpt-5.4-mini", "meta-llama/Llama-3.3-70B-Instruct", "hf.co/org/model:Q4_K_M", "a@b/c", "v1.5",
    "arn:aws:bedrock:us-east-1::model/x", "..x", "x..", "my model", "…",
    "accounts/fireworks/models/x",
]  # fmt: skip


@pytest.mark.parametrize("model", HOSTILE_MODELS, ids=ascii)
async def test_models_that_would_change_the_address_are_refused(model: str) -> None:
    """No model's name leads to another path or query of the vendor's, also in embeddings."""
    assert model_problem(model) is not None
    provider = LiteLLMProvider(ProviderConfig("gemini", api_key="none"))
    for work in (provider.generate("hi", model=model), provider.embed(["hi"], model=model)):
        with pytest.raises(InvalidRequestError, match="model must be the name"):
            provider.target.model_named(model, provider="p")
        work.close()
    with pytest.raises(InvalidRequestError, match="model must be the name"):
        await provider.embed(["hi"], model=model)


@pytest.mark.parametrize("model", MODELS)
def test_names_of_models_pass(model: str) -> None:
    """What vendors call their models is no traversal."""
    assert model_problem(model) is None


class Recorder(httpx.AsyncBaseTransport):
    """Answers everything with a refusal, and notes where it was to go."""

    def __init__(self) -> None:
        self.urls: list[httpx.URL] = []

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.urls.append(request.url)
        return httpx.Response(404, json={"error": {"message": "no"}}, request=request)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Let every provider send to a recorder."""
    noted = Recorder()

    def connect(_egress: Egress) -> HttpClient:
        return HttpClient(NotingTransport(HttpxTransport(noted)))

    monkeypatch.setattr(opening, "open_http", connect)
    return noted


ROWS = [entry for entry in load_catalog().values() if entry.base_url]


def row_id(entry: CatalogEntry) -> str:
    """Name a test by its row."""
    return entry.name


@pytest.mark.parametrize("entry", ROWS, ids=row_id)
async def test_prefixes_of_others_do_not_reroute(entry: CatalogEntry, recorder: Recorder) -> None:
    """Whatever vendor a caller's model names, the request goes to the host of the provider asked."""
    provider = LiteLLMProvider(
        ProviderConfig(
            entry.name, api_key="none", model=entry.default_model or "m", health_probe="off"
        )
    )
    expected = httpx.URL(entry.base_url or "")
    for model in ("groq/llama", "anthropic/claude-x", "gemini/g", "openai/gpt-4o", "azure/x"):
        with pytest.raises(Exception, match=r".") as caught:
            await provider.generate("hi", model=model)
        assert type(caught.value).__module__.startswith("amas.")
    await provider.shutdown()
    assert len(recorder.urls) == 5
    assert {(url.scheme, url.host, url.port) for url in recorder.urls} == {
        (expected.scheme, expected.host, expected.port)
    }


# --- media -----------------------------------------------------------------------------------------

PUBLIC = ["https://img.example.com/a.png", "http://a.cdn.example/x?sig=1", "https://8.8.8.8/a",
          "https://[2606:4700::1111]/a", "HTTPS://IMG.example.com/A"]  # fmt: skip
INNER = [
    "http://127.0.0.1/a", "http://localhost:9000/a", "http://x.localhost/", "http://10.0.0.1/a",
    "http://192.168.1.1/", "http://100.64.0.1/", "http://0.0.0.0/", "http://[::1]/", "http://[fc00::1]/",
    "http://169.254.169.254/latest/meta-data", "http://metadata.google.internal/", "http://100.100.100.200/",
    "http://2130706433/", "http://0177.0.0.1/", "http://0x7f.1/", "http://127.1/", "http://[::ffff:10.0.0.1]/",
    "http://user@img.example.com/", "http://img.example.com@127.0.0.1/", "http:\\\\127.0.0.1\\a",
    "http://127.0.0.1:x/", "http://[::1", "http:/127.0.0.1/", "//127.0.0.1/a", "\\\\host\\share", "ht\ntp://127.0.0.1/", "h" + "\n" * 50 + "ttp://127.0.0.1/",
    "\x00http://127.0.0.1/", "http://\uff11\uff12\uff17.0.0.1/", "http://127.0.0.1./", "http://img%2eexample.com/",
    "file:///etc/passwd", "FILE:/etc/passwd", "ftp://img.example.com/a", "s3://bucket/key", "jar:http://x!/",
    "gopher://127.0.0.1/", "javascript:alert(1)", "http://", "https:///a", "/\t/127.0.0.1/a",
    " https://img.example.com/a", "\u200bhttps://img.example.com/x", "\ufeffhttps://img.example.com/x",
    "\xa0https://img.example.com/x", "http\u200b://img.example.com/x", "www.img.example.com/x",
    "img.example.com/a.png", "/etc/passwd", "", " data:image/png;base64,AAAA", "https://img.example.com/\xe9",
    "gs:///a", "gs:a", "/9j/4AAQSkZJRg",
]  # fmt: skip


@pytest.mark.parametrize("url", PUBLIC)
def test_public_media_pass(url: str) -> None:
    """By default a message may have the address of what lies on a public host."""
    inspect_call(image(url), {})
    with pytest.raises(InvalidRequestError, match="media_urls: forbid"):
        inspect_call(image(url), {}, FORBID)


@pytest.mark.parametrize("url", INNER, ids=ascii)
def test_inner_media_are_refused(url: str) -> None:
    """Neither private hosts, however they are written, nor other schemes are fetched for a caller."""
    for rules in (RequestRules(), FORBID, LISTED):
        with pytest.raises(InvalidRequestError, match="an address of media") as caught:
            inspect_call(image(url), {}, rules)
        assert "127.0.0.1" not in caught.value.message


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": "http://10.0.0.1/"},
        {"type": "image_url", "image_url": {"url": "http://10.0.0.1/", "detail": "low"}},
        {"type": "input_image", "image_url": "http://10.0.0.1/"},
        {"type": "video_url", "video_url": {"url": "http://10.0.0.1/"}},
        {"type": "audio_url", "audio_url": {"url": "http://10.0.0.1/"}},
        {"type": "input_audio", "input_audio": {"data": "http://10.0.0.1/", "format": "wav"}},
        {"type": "file", "file": {"file_id": "http://10.0.0.1/"}},
        {"type": "file", "file": {"file_data": "http://10.0.0.1/"}},
        {"type": "document", "source": {"type": "url", "url": "http://10.0.0.1/"}},
        {
            "type": "tool_result",
            "content": [{"type": "image", "source": {"url": "http://10.0.0.1/"}}],
        },
        {"type": "future", "somewhere": ["x", {"deep": "http://10.0.0.1/"}]},
        {"type": "text in an address", "image_url": {"text": "http://10.0.0.1/x"}},
        {"type": "input in an address", "imageUrl": {"input": [{"name": "http://10.0.0.1/x"}]}},
        {"type": "other spelling", "Image-URL": "http://10.0.0.1/"},
    ],
    ids=lambda part: part["type"],
)
def test_media_are_found_in_every_kind_of_part(part: Mapping[str, Any]) -> None:
    """Whatever a part is called, and however deep, an address in it is looked at."""
    with pytest.raises(InvalidRequestError, match="private network"):
        inspect_call(message(content=[{"type": "text", "text": "look"}, part]), {})
    with pytest.raises(InvalidRequestError, match="media_urls: forbid"):
        inspect_call(message(content=[part]), {}, FORBID)


def test_data_passes() -> None:
    """Data URLs, base64 and ids of files are no addresses, under any rule."""
    for rules in (RequestRules(), FORBID, LISTED):
        inspect_call(image("data:image/png;base64,AAAA"), {}, rules)
        inspect_call(
            message(content=[
                {"type": "input_audio", "input_audio": {"data": "//uQxAAA", "format": "mp3"}},
                {"type": "file", "file": {"file_id": "file-abc123"}},
                {"type": "text", "text": "http://127.0.0.1/ is this machine"},
            ], name="file:x"),
            {},
            rules,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        ("https://img.example.com/a", True),
        ("https://a.cdn.example/x", True),
        ("https://a.b.cdn.example/x", True),
        ("http://10.0.0.5/a", True),
        ("https://cdn.example/x", False),
        ("https://evilcdn.example/x", False),
        ("https://img.example.com.evil.example/", False),
        ("https://other.example.com/", False),
        ("http://10.0.0.6/a", False),
        ("gs://img.example.com/a", False),
    ],
)
def test_listed_hosts(url: str, passes: bool) -> None:
    """Under allow-list exactly the hosts that are listed pass."""
    if passes:
        inspect_call(image(url), {}, LISTED)
    else:
        with pytest.raises(InvalidRequestError):
            inspect_call(image(url), {}, LISTED)


def test_buckets_of_google() -> None:
    """Gemini's own addresses pass where all public ones do."""
    inspect_call(image("gs://bucket/a.png"), {})
    with pytest.raises(InvalidRequestError):
        inspect_call(image("gs://bucket/a.png"), {}, FORBID)


def test_metadata_is_refused_even_if_it_is_listed() -> None:
    """No list opens the way to a metadata service."""
    rules = RequestRules("allow-list", ("169.254.169.254", "metadata.google.internal"))
    for host in rules.media_hosts:
        with pytest.raises(InvalidRequestError, match="always refused"):
            inspect_call(image(f"http://{host}/"), {}, rules)


# --- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "character", ["a", "é", "€", "😀", "\ud800"], ids=["1", "2", "3", "4", "surrogate"]
)
@pytest.mark.parametrize("shape", ["text", "message", "system_prompt", "tools", "bytes"])
def test_bytes_are_counted_exactly(character: str, shape: str) -> None:
    """A call of just as many bytes as allowed passes, and one of one more does not."""
    text = character * 1000
    prompt: Any = "hi"
    params: dict[str, Any] = {}
    if shape == "text":
        prompt = text
    elif shape == "message":
        prompt = [{"role": "user", "content": text}]
    elif shape == "bytes":
        params = {"x": text.encode("utf-8", "surrogatepass"), "y": "€"}
    else:
        params = {shape: text if shape == "system_prompt" else [{"function": {"parameters": text}}]}
    around = {"text": 0, "message": 15, "system_prompt": 2, "tools": 20, "bytes": 5}
    size = len(text.encode("utf-8", "surrogatepass")) + around[shape]
    inspect_call(prompt, params, RequestRules(max_prompt_bytes=size))
    with pytest.raises(InvalidRequestError, match=r"security\.max_prompt_bytes"):
        inspect_call(prompt, params, RequestRules(max_prompt_bytes=size - 1))


def test_depth_is_bounded() -> None:
    """Mappings and lists within each other, also endlessly, are refused instead of followed."""
    deep: Any = "x"
    for _ in range(99):
        deep = [deep]
    inspect_call("hi", {"x": deep})
    for too_deep in ([[deep]], {"properties": {"a": deep}}):
        with pytest.raises(InvalidRequestError, match="over 100 levels deep"):
            inspect_call("hi", {"x": {"schema": too_deep}})
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidRequestError, match="over 100 levels deep"):
        inspect_call("hi", {"x": endless})


def test_numbers_of_values_and_messages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a list that refers to one list many times over nor endless messages take long."""
    monkeypatch.setattr(requests, "_MOST_VALUES", 1000)
    lists: list[Any] = [0]
    for _ in range(20):
        lists = [lists, lists]
    with pytest.raises(InvalidRequestError, match="over 1000 values"):
        inspect_call("hi", {"x": lists})
    monkeypatch.setattr(requests, "_MOST_MESSAGES", 2)
    inspect_call(message() * 2, {})
    inspect_call("a long text", {})
    with pytest.raises(InvalidRequestError, match="over 2 messages"):
        inspect_call(message() * 3, {})


def test_printable_texts_pass() -> None:
    """No text of a message is taken for anything else than a text."""
    inspect_call(message(content=string.printable * 10), {"user": "https://me.example.com"})
