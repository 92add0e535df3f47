"""The demo: a story told over real HTTP, which checks what it tells."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from ..errors import ProviderError, StreamInterruptedError
from ..manager.provider_manager import ProviderManager
from ..testing.upstream import Fault, Upstream
from ..types import Attempt
from . import output

_QUESTION = "Which city is the capital of France?"
_VENDORS = ("openai", "anthropic", "local")
_EVER = None


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing that happens, and how it must end.

    Args:
        title: What happens.
        faults: What each vendor's server does wrong.
        answered_by: Who must give the answer; None if nobody can.
        attempts: Provider and outcome of each attempt that must be made.
        stream: Whether the answer is streamed.
        error: Name of the error that must be raised instead of an answer.
    """

    title: str
    faults: Mapping[str, Fault]
    answered_by: str | None
    attempts: Sequence[tuple[str, str]]
    stream: bool = False
    error: str | None = None


@dataclass(slots=True)
class Ending:
    """How a scene ended."""

    seconds: float = 0.0
    text: str = ""
    answered_by: str | None = None
    error: ProviderError | None = None
    attempts: Sequence[Attempt] = field(default_factory=tuple)


SCENES = (
    Scene("Everybody is well", {}, "openai", [("openai", "ok")]),
    Scene(
        "openai answers 503",
        {"openai": Fault(status=503, times=_EVER)},
        "anthropic",
        [("openai", "unavailable"), ("openai", "unavailable"), ("anthropic", "ok")],
    ),
    Scene(
        "openai has a short hiccup: one 503, then it is back",
        {"openai": Fault(status=503, times=1)},
        "openai",
        [("openai", "unavailable"), ("openai", "ok")],
    ),
    Scene(
        "openai answers 401: the key is refused",
        {"openai": Fault(status=401, times=_EVER)},
        "anthropic",
        [("openai", "auth"), ("anthropic", "ok")],
    ),
    Scene(
        "openai hangs (its timeout is 1 s)",
        {"openai": Fault(hang=True, times=_EVER)},
        "anthropic",
        [("openai", "timeout"), ("anthropic", "ok")],
    ),
    Scene(
        "openai and anthropic are down: the local model stands in",
        {vendor: Fault(status=500, times=_EVER) for vendor in ("openai", "anthropic")},
        "local",
        [
            ("openai", "unavailable"),
            ("openai", "unavailable"),
            ("anthropic", "unavailable"),
            ("anthropic", "unavailable"),
            ("local", "ok"),
        ],
    ),
    Scene("A stream, printed as it comes", {}, "openai", [("openai", "ok")], stream=True),
    Scene(
        "A stream that fails before its first word",
        {"openai": Fault(status=503, times=_EVER)},
        "anthropic",
        [("openai", "unavailable"), ("openai", "unavailable"), ("anthropic", "ok")],
        stream=True,
    ),
    Scene(
        "openai is cut off in mid-stream: a typed error that has the text so far",
        {"openai": Fault(cut_after=3, times=_EVER)},
        None,
        [("openai", "stream_interrupted")],
        stream=True,
        error="StreamInterruptedError",
    ),
    Scene(
        "Everybody is down",
        {vendor: Fault(status=503, times=_EVER) for vendor in _VENDORS},
        None,
        [(vendor, "unavailable") for vendor in _VENDORS for _ in range(2)],
        error="AllProvidersFailedError",
    ),
)


async def tell(scenes: Sequence[Scene] = SCENES) -> int:
    """Play every scene, print what happens, and check it.

    Args:
        scenes: What to play.

    Returns:
        0 if everything ended as it must, 1 otherwise.
    """
    output.answer(
        f"Three local servers stand in for {', '.join(_VENDORS)}; all of it is real HTTP."
    )
    rows: list[tuple[Any, ...]] = []
    wrong: list[str] = []
    for number, scene in enumerate(scenes, 1):
        output.answer(f"\n{number}. {scene.title}")
        async with (
            _servers(scene) as servers,
            ProviderManager.from_config(_config(servers)) as manager,
        ):
            ending = await _play(manager, scene)
        _print_ending(ending)
        problems = _problems(scene, ending)
        for problem in problems:
            output.answer(f"   NOT AS TOLD: {problem}")
        wrong += [f"scene {number}: {problem}" for problem in problems]
        rows += [
            (
                number,
                item["provider"],
                item["model"],
                item["outcome"],
                item["status_code"],
                f"{item['latency_ms']:.0f}",
            )
            for item in ending.attempts
        ]
    output.answer("")
    output.table("Every attempt", ["scene", "provider", "model", "outcome", "status", "ms"], rows)
    if wrong:
        output.say("\n".join(wrong))
        return 1
    output.answer(f"All {len(scenes)} scenes ended as told.")
    return 0


@asynccontextmanager
async def _servers(scene: Scene) -> AsyncIterator[dict[str, Upstream]]:
    async with AsyncExitStack() as stack:
        servers = {
            vendor: await stack.enter_async_context(
                Upstream(vendor, reply=f"Paris, says {vendor} without any doubt.", chunk_delay=0.05)
            )
            for vendor in _VENDORS
        }
        for vendor, fault in scene.faults.items():
            servers[vendor].fault(fault)
        yield servers


def _config(servers: Mapping[str, Upstream]) -> dict[str, Any]:
    """Configure as for the real vendors, but for the addresses."""
    keys = {vendor: f"demo-key-of-{vendor}" for vendor in ("openai", "anthropic")}
    return {
        "providers": {
            "manager": {"max_retries": 1, "deadline": 10},
            "llm": {
                vendor: {"base_url": server.url, "timeout": 1}
                | ({"api_key": keys[vendor]} if vendor in keys else {})
                for vendor, server in servers.items()
            },
        }
    }


async def _play(manager: ProviderManager, scene: Scene) -> Ending:
    ending = Ending()
    began = time.monotonic()
    try:
        await (_stream if scene.stream else _ask)(manager, ending)
    except ProviderError as error:
        ending.error = error
        ending.attempts = error.attempts
        if isinstance(error, StreamInterruptedError):
            ending.text = error.partial_text
            output.answer("")
    ending.seconds = time.monotonic() - began
    return ending


async def _ask(manager: ProviderManager, ending: Ending) -> None:
    result = await manager.generate(_QUESTION)
    output.answer(f"   {result['content']}")
    ending.text, ending.answered_by = result["content"], result["provider"]
    ending.attempts = result["attempts"]


async def _stream(manager: ProviderManager, ending: Ending) -> None:
    output.answer("   ", end="")
    async for chunk in manager.stream(_QUESTION):
        output.answer(chunk.content, end="")
        ending.text += chunk.content
        if chunk.finish_reason is not None:
            output.answer("")
            ending.answered_by, ending.attempts = chunk.provider, chunk.attempts


def _print_ending(ending: Ending) -> None:
    if ending.error is None:
        asked = len(ending.attempts)
        output.answer(
            f"   answered by {ending.answered_by} after {asked}"
            f" attempt{'s' if asked > 1 else ''}, {ending.seconds:.2f} s"
        )
        return
    output.answer(f"   {type(ending.error).__name__}: {ending.error}")
    if isinstance(ending.error, StreamInterruptedError):
        output.answer(f"   the text so far: {ending.text!r}")


def _problems(scene: Scene, ending: Ending) -> list[str]:
    """Compare how a scene ended with how it must end."""
    made = [(item["provider"], item["outcome"]) for item in ending.attempts]
    error = type(ending.error).__name__ if ending.error else None
    problems = [
        f"{what}: expected {expected!r}, got {got!r}"
        for what, expected, got in (
            ("error", scene.error, error),
            ("answered by", scene.answered_by, ending.answered_by),
            ("attempts", list(scene.attempts), made),
        )
        if expected != got
    ]
    if scene.answered_by is not None and scene.answered_by not in ending.text:
        problems.append(f"the answer {ending.text!r} is not that of {scene.answered_by}")
    if isinstance(ending.error, StreamInterruptedError) and not ending.error.partial_text:
        problems.append("the text so far is missing")
    return problems
