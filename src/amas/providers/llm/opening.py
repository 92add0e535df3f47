"""What a provider has open while it runs: its connections, and the way its calls take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..base import ProviderConfig
from ..errors import ProviderConfigError
from ..types import DispatchMode
from . import litellm_codec as codec
from .cloud_auth import open_auth
from .direct.dispatch import DirectDispatch, why_not_direct
from .dispatch import Dispatch
from .http_client import HttpClient, open_http
from .litellm_dispatch import LiteLLMDispatch
from .litellm_runtime import Runtime
from .target import Target


@dataclass(frozen=True, slots=True)
class Opened:
    """What is open.

    Args:
        http: The connections.
        dispatch: How calls get to the wire.
        for_embeddings: What every request for embeddings carries.
        detour: Why calls take LiteLLM's own way; None if they are direct.
    """

    http: HttpClient
    dispatch: Dispatch
    for_embeddings: dict[str, Any]
    detour: str | None


def open_all(runtime: Runtime, target: Target, config: ProviderConfig) -> Opened:
    """Open connections; blocking, for a thread.

    Args:
        runtime: LiteLLM.
        target: Where requests go.
        config: The provider's configuration.

    Raises:
        ProviderConfigError: Calls are to be direct, and cannot be.
    """
    detour = why_not_direct(target, config, runtime.version)
    if detour is not None and config.dispatch is DispatchMode.DIRECT:
        raise ProviderConfigError(
            f"cannot be direct: {detour}; write auto", field="dispatch", provider=config.name
        )
    http = open_http(target.egress)
    auth = open_auth(target.cloud, config)
    if auth is not None:
        http.auth = auth
    dispatch: Dispatch = LiteLLMDispatch(
        runtime, target, _arguments(runtime, target, config, http), provider=config.name
    )
    if detour is None:
        dispatch = DirectDispatch(
            runtime,
            target,
            http.transport,
            dispatch,
            key=config.key_value or "none",
            headers=codec.plain_headers(config),
            provider=config.name,
        )
    return Opened(
        http, dispatch, _arguments(runtime, target.for_embeddings(), config, http), detour
    )


def _arguments(
    runtime: Runtime, target: Target, config: ProviderConfig, http: HttpClient
) -> dict[str, Any]:
    client = runtime.client(
        http,
        key=config.key_value or "none",
        base_url=target.base_url,
        azure_version=target.azure_version(config),
    )
    return codec.shared_arguments(target, config, client)
