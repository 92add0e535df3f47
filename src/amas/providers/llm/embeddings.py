"""Texts turned into vectors, through LiteLLM."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from ..base.model_names import model_problem
from ..errors import InvalidRequestError
from ..types import EmbeddingResult
from .litellm_codec import read_usage
from .litellm_runtime import Runtime


def check_embedding(texts: Sequence[str], model: str, *, provider: str) -> None:
    """Check what a caller asks.

    Args:
        texts: What is to be turned into vectors.
        model: The model.
        provider: Name of the provider, for the error.

    Raises:
        InvalidRequestError: There is nothing to embed, or the model is none.
    """
    if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidRequestError(
            "texts must be a list of at least one text", provider=provider, model=model
        )
    if problem := model_problem(model):
        raise InvalidRequestError(problem, provider=provider)


async def send_texts(
    runtime: Runtime, model: str, texts: Sequence[str], shared: Mapping[str, Any]
) -> Any:
    """Send one request; return LiteLLM's response.

    Args:
        runtime: LiteLLM.
        model: The model.
        texts: What is to be turned into vectors.
        shared: What every such request of the provider carries.
    """
    log = runtime.silent_logging(model=model, messages=[], stream=False, id=uuid.uuid4().hex)
    with runtime.without_host_globals():
        pending = runtime.litellm.embedding(
            **shared,
            model=f"{shared['custom_llm_provider']}/{model}",
            input=list(texts),
            aembedding=True,
            litellm_logging_obj=log,
        )
    return await pending


def read_vectors(response: Any, *, provider: str, model: str) -> EmbeddingResult:
    """Read the vectors of a response, in the order of the texts; what it took is not known here.

    Args:
        response: LiteLLM's response.
        provider: Name of the provider.
        model: The model asked.
    """
    rows = sorted(response.data, key=lambda row: row["index"])
    return EmbeddingResult(
        embeddings=[list(row["embedding"]) for row in rows],
        provider=provider,
        model=response.model or model,
        usage=read_usage(response.usage),
        latency_ms=0.0,
        cost_usd=None,
    )
