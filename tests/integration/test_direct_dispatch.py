"""The direct way to the wire is LiteLLM's own, byte for byte: every row, every kind of call.

``make slow`` asks the vendors below, ``make direct`` all of the catalogue; `conftest.py` puts what
they have found into a table. ``make direct LITELLM=1.110.2`` asks another version of LiteLLM.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from typing_extensions import override

from amas.providers import LiteLLMProvider, ProviderConfig, ProviderError
from amas.providers.llm import way
from amas.providers.llm.catalog import CatalogEntry, load_catalog
from amas.providers.llm.direct.dispatch import DirectDispatch
from amas.providers.llm.dispatch import Dispatch, OpenStream
from amas.providers.llm.params import Call
from amas.providers.testing.upstream import Fault, RecordedRequest, Upstream

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("uncovered"),
    pytest.mark.slow,
]

USUAL = frozenset(
    [
        "openai",
        "anthropic",
        "gemini",
        "ollama",
        "cohere",
        "mistral",
        "deepseek",
        "groq",
        "openrouter",
        "xai",
        "together",
        "fireworks",
        "cerebras",
        "nvidia",
        "moonshot",
        "dashscope",
        "zai",
        "perplexity",
        "codestral",
    ]
)
# Which rows are direct is said in one place only, so none can be that is not asked here.
DIRECT = [entry for entry in load_catalog().values() if entry.detour is None]
ROWS = [entry for entry in DIRECT if "AMAS_ALL_ROWS" in os.environ or entry.name in USUAL]
KEY = "our" + "-key" * 5
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks it up.",
        "parameters": {
            "type": "object",
            "properties": {"q": {"type": "string"}},
            "required": ["q"],
        },
    },
}
OTHER_TOOL = {"type": "function", "function": {"name": "count", "parameters": {"type": "object"}}}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def says(role: str, content: Any, **more: Any) -> dict[str, Any]:
    """Make a message."""
    return {"role": role, "content": content, **more}


def calls(*names: str) -> list[dict[str, Any]]:
    """Make the calls of tools in an assistant's message."""
    return [
        {
            "id": f"call_{i}",
            "type": "function",
            "function": {"name": name, "arguments": '{"q":"a"}'},
        }
        for i, name in enumerate(names)
    ]


CORPUS: Mapping[str, tuple[Any, dict[str, Any]]] = {
    "plain": ("hello there", {}),
    "system prompt": ("hello", {"system_prompt": "be brief"}),
    "developer": ([says("developer", "be brief"), says("user", "hello")], {}),
    "turns": ([says("user", "a"), says("assistant", "b"), says("user", "c")], {}),
    "two of a role": ([says("user", "a"), says("user", "b")], {}),
    "empty": ([says("user", "a"), says("assistant", ""), says("user", "c")], {}),
    "unicode": ('Grüße 你好 \u2028 \x85 🎉 "quoted" \\ \n\t', {}),
    "long": ("word " * 20_000, {}),
    "sampling": ("x", {"temperature": 0.3, "top_p": 0.9, "max_tokens": 7}),
    "sampling again": ("other", {"temperature": 0.3, "top_p": 0.9, "max_tokens": 7}),
    "zero": ("x", {"temperature": 0, "seed": 0}),
    "longest": ("x", {"max_completion_tokens": 9}),
    "stop": ("x", {"stop": ["a", "b"]}),
    "stop word": ("x", {"stop": "a"}),
    "penalties": ("x", {"frequency_penalty": 0.1, "presence_penalty": 0.2, "seed": 7, "user": "u"}),
    "top k": ("x", {"top_k": 5}),
    "log probabilities": ("x", {"logprobs": True, "top_logprobs": 2}),
    "bias": ("x", {"logit_bias": {"50256": -100}}),
    "tier": ("x", {"service_tier": "flex", "safety_identifier": "s", "prompt_cache_key": "k"}),
    "verbosity": ("x", {"verbosity": "low"}),
    "prediction": ("x", {"prediction": {"type": "content", "content": "y"}}),
    "reasoning": ("x", {"reasoning_effort": "low"}),
    "thinking": ("x", {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000}),
    "tools": ("x", {"tools": [TOOL, OTHER_TOOL], "tool_choice": "auto"}),
    "a tool": (
        "x",
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look_up"}}},
    ),
    "no tool": ("x", {"tools": [TOOL], "tool_choice": "none", "parallel_tool_calls": False}),
    "tool results": (
        [
            says("user", "x"),
            says("assistant", None, tool_calls=calls("look_up", "count")),
            says("tool", "one", tool_call_id="call_0"),
            says("tool", "two", tool_call_id="call_1"),
        ],
        {"tools": [TOOL, OTHER_TOOL]},
    ),
    "a tool's own keys": ("x", {"tools": [{**TOOL, "cache_control": {"type": "ephemeral"}}]}),
    "schema": (
        "x",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
            }
        },
    ),
    "json": ("x in JSON", {"response_format": {"type": "json_object"}}),
    "image": (
        [
            says(
                "user",
                [
                    {"type": "text", "text": "what?"},
                    {"type": "image_url", "image_url": {"url": PIXEL}},
                ],
            )
        ],
        {},
    ),
    "search": ("x", {"web_search_options": {"search_context_size": "low"}}),
}

STATUSES = (400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529)
CODES = (
    "insufficient_quota",
    "context_length_exceeded",
    "content_filter",
    "model_not_found",
    "overloaded",
    "rate_limit_exceeded",
)
FAULTS: Mapping[str, Fault] = {
    **{f"status {status}": Fault(status=status) for status in STATUSES},
    **{code: Fault(code=code) for code in CODES},
    "retry after": Fault(status=429, retry_after=7),
    "a page": Fault(status=502, malformed=True),
    "malformed": Fault(malformed=True),
    "no choice": Fault(empty=True),
    "no content": Fault(empty="content"),
    "redirect": Fault(redirect="http://127.0.0.1:1/"),
    "reset": Fault(reset=True),
    "cut": Fault(cut_after=2),
    "truncated": Fault(truncate_after=2),
    "cut at once": Fault(truncate_after=0),
    "error in the stream": Fault(stream_error_after=2),
    "error at once": Fault(stream_error_after=0),
}
# What openai's SDK says of itself, and what depends on the length of the rest.
OF_THE_CLIENT = ("x-stainless-", "accept", "connection", "content-length", "host", "user-agent")


def row_id(entry: CatalogEntry) -> str:
    """Name a test by its row."""
    return entry.name


@pytest.fixture(autouse=True)
def _whatever_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the installed LiteLLM count as tested: here it is."""
    major, minor, *_ = way.installed_litellm().split(".")
    monkeypatch.setattr(way, "TESTED", (int(major), int(minor)))


class Detours(Dispatch):
    """LiteLLM's own way, with a list of what takes it although the row is direct.

    Args:
        way: LiteLLM's own way.
    """

    def __init__(self, way: Dispatch) -> None:
        self._way = way
        self.count = 0

    @override
    async def complete(self, call: Call, *, request_id: str) -> Any:
        self.count += 1
        return await self._way.complete(call, request_id=request_id)

    @override
    async def open_stream(self, call: Call, *, request_id: str) -> OpenStream:
        self.count += 1
        return await self._way.open_stream(call, request_id=request_id)


@dataclass(frozen=True)
class Found:
    """What `conftest.py` puts into its table: how many cases, how many differ, what is not direct."""

    provider: str
    cases: int
    different: int
    by_litellm: tuple[str, ...] = ()


def told(by_litellm: AbstractSet[tuple[str, bool]]) -> tuple[str, ...]:
    """Name the cases of which not all, or only the stream, went direct."""
    return tuple(
        f"{case} (streamed)" * ((case, False) not in by_litellm) or case
        for case in CORPUS
        if (case, True) in by_litellm or (case, False) in by_litellm
    )


def watch_detours(provider: LiteLLMProvider) -> Detours:
    """See which calls of a direct provider take LiteLLM's own way."""
    direct = provider._dispatch
    assert isinstance(direct, DirectDispatch)
    direct._otherwise = detours = Detours(direct._otherwise)
    return detours


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up() -> AsyncIterator[Upstream]:
    """Run an upstream."""
    async with Upstream("ours") as upstream:
        yield upstream


async def started(up: Upstream, entry: CatalogEntry, dispatch: str) -> LiteLLMProvider:
    """Start a row's provider that goes this way."""
    provider = LiteLLMProvider(
        ProviderConfig(
            entry.name,
            api_key=KEY,
            base_url=up.url + urlsplit(entry.base_url or "").path,
            model=None if entry.default_model else "test-model",
            local=True,
            timeout=10,
            dispatch=dispatch,
            options={"headers": {"X-Team": "a"}},
        )
    )
    assert await provider.initialize(), provider.last_error
    return provider


def as_sent(request: RecordedRequest) -> tuple[Any, ...]:
    """Return everything of a request that is the vendor's business."""
    headers = {
        name.lower(): value
        for name, value in request.headers.items()
        if not name.lower().startswith(OF_THE_CLIENT)
    }
    return request.method, request.path, dict(request.query), headers, request.body


def without_chance(value: Any) -> Any:
    """Leave out what differs between any two calls, such as names that LiteLLM makes up."""
    if isinstance(value, dict):
        return {
            key: without_chance(item)
            for key, item in value.items()
            if key not in {"id", "latency_ms", "request_id"}
        }
    return [without_chance(item) for item in value] if isinstance(value, list | tuple) else value


async def outcome(provider: LiteLLMProvider, prompt: Any, params: Any, *, stream: bool) -> Any:
    """Ask, and return the answer, the pieces, or the error."""
    prompt, params = copy.deepcopy((prompt, params))
    pieces = []
    try:
        if not stream:
            return without_chance(dict(await provider.generate(prompt, **params)))
        async for piece in provider.stream(prompt, **params):
            pieces.append(without_chance(asdict(piece)))  # noqa: PERF401 -- what came before an error counts
    except ProviderError as error:
        # LiteLLM quotes bytes as Python writes them, and the upstream numbers its answers.
        told = re.sub(r"\d{6,}", "#", error.message.removeprefix("b'").removesuffix("'"))
        return pieces, type(error), told, error.status_code, error.retry_after
    return pieces


@pytest.mark.parametrize("entry", ROWS, ids=row_id)
async def test_what_is_sent_and_what_comes_of_it_are_equal(
    entry: CatalogEntry, up: Upstream, record_property: Callable[[str, object], None]
) -> None:
    """Whatever is asked, whole or as a stream: the same bytes leave, and the same answer comes."""
    ways = [await started(up, entry, way) for way in ("litellm", "direct")]
    detours, by_litellm = watch_detours(ways[1]), set[tuple[str, bool]]()
    different = []
    for case, (prompt, params) in CORPUS.items():
        for stream in (False, True):
            seen = []
            for provider in ways:
                up.clear()
                found = await outcome(provider, prompt, params, stream=stream)
                seen.append((found, [as_sent(request) for request in up.requests]))
            if seen[0] != seen[1]:
                different.append((case, stream, seen))
            if detours.count:
                by_litellm.add((case, stream))
                detours.count = 0
    for provider in ways:
        await provider.shutdown()
    found = Found(entry.name, 2 * len(CORPUS), len(different), told(by_litellm))
    record_property("direct_requests", asdict(found))
    assert ("plain", False) not in by_litellm
    assert ("plain", True) not in by_litellm
    assert not different, "\n".join(map(str, different[:3]))[:3000]


@pytest.mark.parametrize("entry", ROWS, ids=row_id)
async def test_what_goes_wrong_goes_wrong_in_the_same_way(
    entry: CatalogEntry, up: Upstream, record_property: Callable[[str, object], None]
) -> None:
    """Whatever an upstream does wrong, whole or as a stream: the same error, status and pause."""
    ways = [await started(up, entry, way) for way in ("litellm", "direct")]
    different = []
    for case, fault in FAULTS.items():
        for stream in (False, True):
            seen = []
            for provider in ways:
                up.clear()
                up.fault(fault)
                seen.append(await outcome(provider, "hello there", {}, stream=stream))
            if seen[0] != seen[1] and not takes_the_end_for_an_answer(seen):
                different.append((case, stream, seen))
    for provider in ways:
        await provider.shutdown()
    record_property("direct_faults", asdict(Found(entry.name, 2 * len(FAULTS), len(different))))
    assert not different, "\n".join(map(str, different[:5]))[:3000]


def takes_the_end_for_an_answer(seen: list[Any]) -> bool:
    """Tell the one difference that is meant: LiteLLM calls an end mark after nothing an answer.

    It does so where it reads streams by itself; direct, that is no answer but an outage.
    """
    theirs, ours = seen
    nothing = isinstance(theirs, list) and [piece["content"] for piece in theirs] == [""]
    return nothing and isinstance(ours, tuple) and "without saying that it is finished" in ours[2]
