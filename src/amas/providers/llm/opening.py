"""What a provider has open while it runs: its connections, and the way its calls take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..base import ProviderConfig
from ..types import DispatchMode
from . import litellm_codec as codec
from .cloud_auth import open_auth
from .direct.dispatch import DirectDispatch
from .dispatch import Dispatch
from .http_client import HttpClient, open_http
from .litellm_dispatch import LiteLLMDispatch
from .litellm_rehearsal import RehearsedDispatch, rehearse, rehearse_direct
from .litellm_runtime import Runtime
from .target import Target
from .way import check_way, installed_litellm, tell_untested, why_not_direct


@dataclass(frozen=True, slots=True)
class Ways:
    """How calls get to the wire.

    Args:
        dispatch: Those for text.
        for_embeddings: What every request for embeddings carries, on LiteLLM's own way.
    """

    dispatch: Dispatch
    for_embeddings: dict[str, Any]


def open_connections(target: Target, config: ProviderConfig) -> HttpClient:
    """Open connections; blocking, for a thread. LiteLLM is not needed for that.

    Args:
        target: Where requests go.
        config: The provider's configuration.

    Raises:
        ProviderConfigError: Calls are to be direct, and cannot be.
    """
    check_way(target, config, installed_litellm())
    http = open_http(target.egress)
    auth = open_auth(target.cloud, config)
    if auth is not None:
        http.auth = auth
    return http


def open_ways(runtime: Runtime, target: Target, config: ProviderConfig, http: HttpClient) -> Ways:
    """Make the way that calls take, and rehearse it; blocking, for a thread.

    Args:
        runtime: LiteLLM.
        target: Where requests go.
        config: The provider's configuration.
        http: The connections.
    """
    installed = installed_litellm()
    if config.dispatch is DispatchMode.AUTO:
        tell_untested(installed)
    direct = why_not_direct(target, config, installed) is None
    if not direct:
        rehearse(runtime, target)
    dispatch: Dispatch = LiteLLMDispatch(
        runtime, target, _arguments(runtime, target, config, http), provider=config.name
    )
    if direct:
        dispatch = DirectDispatch(
            runtime,
            target,
            http.transport,
            RehearsedDispatch(dispatch, runtime, target),
            key=config.key_value or "none",
            headers=codec.plain_headers(config),
            provider=config.name,
        )
        rehearse_direct(runtime, target, config, dispatch)
    return Ways(dispatch, _arguments(runtime, target.for_embeddings(), config, http))


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
