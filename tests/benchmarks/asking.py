"""The peers, each asked in its own shortest way, with a client of its own that it keeps."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.static_upstream import MODEL

from amas.providers import ProviderManager, configure_logging
from amas.providers.security.master_key import generate

KEY = "bench-" + "key" * 6
MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]

Ask = Callable[[], Awaitable[Any]]
Stream = Callable[[], AsyncIterator[Any]]

RAW, SDK, LITELLM, ROUTER = "raw aiohttp", "openai SDK", "litellm.acompletion", "litellm.Router"
ANY_LLM, PYDANTIC_AI, LANGCHAIN = (
    "any-llm",
    "pydantic-ai FallbackModel",
    "LangChain with_fallbacks",
)
OURS, THROUGH = "ours, everything on", "ours, dispatch: litellm"


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody who can be asked.

    Args:
        ask: Asks once, and returns the answer.
        stream: Asks once for a stream, and yields its pieces, of which the first has content.
        fail_over: Asks once, the first provider refusing connections, the second answering.
    """

    ask: Ask
    stream: Stream | None = None
    fail_over: Ask | None = None


class Peers:
    """All of them, made ready; what they open is closed with the stack.

    Args:
        url: The static server.
        dead: An address at which nobody listens.
        stack: Closes what was opened.
    """

    def __init__(self, url: str, dead: str, stack: AsyncExitStack) -> None:
        self._plain, self._streamed, self._dead = f"{url}/plain/v1", f"{url}/stream/v1", dead
        self._stack = stack
        self._managers: list[ProviderManager] = []
        self._log: logging.Handler | None = None
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

    async def make(self) -> dict[str, Peer]:
        """Make every peer ready."""
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
        os.environ["OPENAI_API_KEY"] = KEY
        stream = self._stack.enter_context((self.folder / "log").open("w"))
        self._log = configure_logging(json=True, stream=stream)
        return {
            RAW: await self._raw(),
            SDK: self._sdk(),
            ANY_LLM: self._any_llm(),
            PYDANTIC_AI: self._pydantic_ai(),
            LANGCHAIN: self._langchain(),
            LITELLM: self._litellm(),
            ROUTER: self._router(),
            OURS: await self.ours(),
            THROUGH: await self.ours(dispatch="litellm"),
        }

    async def _raw(self) -> Peer:
        import aiohttp

        session = await self._stack.enter_async_context(aiohttp.ClientSession())
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}

        async def ask() -> Any:
            body = json.dumps({"model": MODEL, "messages": MESSAGES})
            url = f"{self._plain}/chat/completions"
            async with session.post(url, data=body, headers=headers) as answer:
                return json.loads(await answer.read())["choices"][0]["message"]["content"]

        async def stream() -> AsyncIterator[Any]:
            body = json.dumps({"model": MODEL, "messages": MESSAGES, "stream": True})
            url = f"{self._streamed}/chat/completions"
            async with session.post(url, data=body, headers=headers) as answer:
                async for line in answer.content:
                    if line.startswith(b"data: {"):
                        yield json.loads(line[6:])

        return Peer(ask, stream)

    def _sdk(self) -> Peer:
        import openai

        plain, streamed = (
            openai.AsyncOpenAI(api_key=KEY, base_url=url, max_retries=0)
            for url in (self._plain, self._streamed)
        )
        for client in (plain, streamed):
            self._stack.push_async_callback(client.close)

        async def stream() -> AsyncIterator[Any]:
            answer = streamed.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
            async for piece in await answer:
                yield piece

        return Peer(lambda: plain.chat.completions.create(model=MODEL, messages=MESSAGES), stream)

    def _any_llm(self) -> Peer:
        from any_llm import AnyLLM

        plain, streamed = (
            AnyLLM.create("openai", api_key=KEY, api_base=url)
            for url in (self._plain, self._streamed)
        )

        async def stream() -> AsyncIterator[Any]:
            async for piece in await streamed.acompletion(
                model=MODEL, messages=MESSAGES, stream=True
            ):
                yield piece

        return Peer(lambda: plain.acompletion(model=MODEL, messages=MESSAGES), stream)

    def _pydantic_ai(self) -> Peer:
        from pydantic_ai.direct import model_request, model_request_stream
        from pydantic_ai.messages import ModelRequest
        from pydantic_ai.models.fallback import FallbackModel
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        def model(url: str) -> Any:
            import openai

            client = openai.AsyncOpenAI(api_key=KEY, base_url=url, max_retries=0)
            self._stack.push_async_callback(client.close)
            return OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=client))

        well = FallbackModel(model(self._plain), model(self._plain))
        ill = FallbackModel(model(self._dead), model(self._plain))
        streamed = FallbackModel(model(self._streamed), model(self._streamed))
        asked = [ModelRequest.user_text_prompt("hello")]

        async def stream() -> AsyncIterator[Any]:
            async with model_request_stream(streamed, asked) as pieces:
                async for piece in pieces:
                    yield piece

        return Peer(lambda: model_request(well, asked), stream, lambda: model_request(ill, asked))

    def _langchain(self) -> Peer:
        from langchain_openai import ChatOpenAI
        from pydantic import SecretStr

        def model(url: str) -> Any:
            return ChatOpenAI(model=MODEL, api_key=SecretStr(KEY), base_url=url, max_retries=0)

        well = model(self._plain).with_fallbacks([model(self._plain)])
        ill = model(self._dead).with_fallbacks([model(self._plain)])
        streamed = model(self._streamed).with_fallbacks([model(self._streamed)])
        asked = [("user", "hello")]
        return Peer(
            lambda: well.ainvoke(asked),
            lambda: streamed.astream(asked),
            lambda: ill.ainvoke(asked),
        )

    def _litellm(self) -> Peer:
        import litellm

        self._stack.push_async_callback(litellm.close_litellm_async_clients)

        def ask(url: str, **more: Any) -> Any:
            return litellm.acompletion(
                model=f"openai/{MODEL}",
                api_base=url,
                api_key=KEY,
                messages=MESSAGES,
                max_retries=0,
                **more,
            )

        async def stream() -> AsyncIterator[Any]:
            async for piece in await ask(self._streamed, stream=True):
                yield piece

        return Peer(lambda: ask(self._plain), stream)

    def _router(self) -> Peer:
        import litellm

        def row(name: str, url: str) -> dict[str, Any]:
            given = {"model": f"openai/{MODEL}", "api_base": url, "api_key": KEY, "max_retries": 0}
            return {"model_name": name, "litellm_params": given}

        router = litellm.Router(
            model_list=[
                row("well", self._plain),
                row("ill", self._dead),
                row("streamed", self._streamed),
            ],
            fallbacks=[{"ill": ["well"]}],
            num_retries=0,
            disable_cooldowns=True,  # else it asks the dead one no more, and nothing is measured
        )

        async def stream() -> AsyncIterator[Any]:
            async for piece in await router.acompletion(
                model="streamed", messages=MESSAGES, stream=True
            ):
                yield piece

        return Peer(
            lambda: router.acompletion(model="well", messages=MESSAGES),
            stream,
            lambda: router.acompletion(model="ill", messages=MESSAGES),
        )

    async def ours(self, *, dispatch: str = "auto", rows: int = 3) -> Peer:
        """Make a peer of ``manager``."""
        manager = await self.manager(dispatch=dispatch, rows=rows)

        async def fail_over() -> Any:
            manager.reset("dead")  # so that each call finds its circuit closed, and no doubt
            return await manager.generate(MESSAGES, provider="dead")

        return Peer(
            lambda: manager.generate(MESSAGES),
            lambda: manager.stream(MESSAGES, provider="streamed"),
            fail_over,
        )

    async def behind_an_open_circuit(self) -> Ask:
        """Return what asks a manager whose first provider is set aside."""
        manager = await self.manager(order=("dead", "plain", "streamed"))
        manager.trip("dead", 24 * 3600)
        return lambda: manager.generate(MESSAGES)

    async def manager(
        self,
        *,
        dispatch: str = "auto",
        rows: int = 3,
        order: Sequence[str] = ("plain", "streamed", "dead"),
    ) -> ProviderManager:
        """Make a manager of ours with audit trail, metrics, logs and masking on.

        Its provider ``plain`` answers, ``streamed`` streams, and ``dead`` refuses connections.

        Args:
            dispatch: How its calls get to the wire.
            rows: How many providers it has.
            order: The first of them.
        """
        known = {"plain": self._plain, "streamed": self._streamed, "dead": self._dead}
        addresses = {name: known[name] for name in order}
        addresses |= {f"other{number}": self._plain for number in range(rows - len(order))}
        row = {
            "provider": "openai",
            "model": MODEL,
            "api_key": KEY,
            "local": True,
            "max_retries": 0,
            "dispatch": dispatch,
            "health_probe": "off",
        }
        section: dict[str, Any] = {
            "manager": {"deadline": 60},
            "llm": {name: row | {"base_url": url} for name, url in addresses.items()},
        }
        section |= {
            "security": {"master_key": str(generate().get_secret_value())},
            "audit": {"path": str(self.folder / f"audit-{dispatch}-{rows}-{order[0]}.jsonl")},
            "metrics": {"enabled": True},
        }
        manager = ProviderManager.from_config({"providers": section})
        self._managers.append(manager)
        return await self._stack.enter_async_context(manager)

    async def settle(self) -> None:
        """Wait until the threads of our managers have done what is left of the calls so far."""
        for manager in self._managers:
            await manager.flush()
        if self._log is not None:
            await asyncio.to_thread(self._log.flush)
