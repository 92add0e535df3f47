"""Where a provider's requests go, and what is known of who answers there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..base import ProviderConfig
from ..base.model_names import model_problem
from ..errors import InvalidRequestError, ProviderConfigError, suggestion
from ..secret import Secret, reveal
from ..security.egress import Egress
from ..types import Capability
from .base_url import models_url, normalize_base_url
from .catalog import CatalogEntry, for_options, resolve
from .cloud import CLOUDS, CloudName, check_cloud, google_account, require_aws
from .params import ALLOWED

_NO_KEY = "none"  # what stands for a key where the server wants none

# Ours to decide: what a provider's ``options`` may not set.
RESERVED_OPTIONS = frozenset(
    {
        "acompletion",
        "api_base",
        "api_key",
        "base_url",
        "caching",
        "callbacks",
        "client",
        "context_window_fallback_dict",
        "cooldown_time",
        "custom_llm_provider",
        "extra_body",
        "extra_query",
        "fallbacks",
        "http_client",
        "litellm_call_id",
        "litellm_logging_obj",
        "litellm_params",
        "max_retries",
        "messages",
        "mock_delay",
        "mock_response",
        "mock_testing_content_policy_fallbacks",
        "mock_testing_context_fallbacks",
        "mock_testing_fallbacks",
        "mock_testing_rate_limit_error",
        "mock_timeout",
        "mock_tool_calls",
        "model",
        "model_list",
        "num_retries",
        "proxy",
        "retry_policy",
        "retry_strategy",
        "shared_session",
        "ssl_verify",
        "stream",
        "timeout",
        "use_litellm_proxy",
    }
)
# The same for the headers among them: the key has its field, the rest is the client's.
RESERVED_HEADERS = frozenset(
    {
        "api-key",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "cookie",
        "host",
        "proxy-authorization",
        "transfer-encoding",
        "x-api-key",
        "x-goog-api-key",
    }
)


@dataclass(frozen=True, slots=True)
class Target:
    """One vendor's API as seen from one configuration.

    Args:
        litellm_provider: LiteLLM's ``custom_llm_provider``.
        model: The vendor's own name of the model.
        base_url: The address in the form that LiteLLM needs for this vendor.
        models_url: Address of the free models listing; None where there is none.
        entry: The catalogue's row; None for vendors that it does not have.
        prices: Provider under which LiteLLM's price map knows the models; None if none.
        capabilities: What the model can do; None if that is not known.
        context_window: Tokens that the model can take in; None if that is not known.
        embedding_model: Model for embeddings; None if there is none.
        end_marker: Word in the last piece of a complete stream; None where LiteLLM can
            tell a truncated one itself.
        egress: Where requests may go at all.
    """

    litellm_provider: str
    model: str
    base_url: str
    models_url: str | None
    entry: CatalogEntry | None
    prices: str | None
    capabilities: frozenset[Capability] | None
    context_window: int | None
    embedding_model: str | None
    end_marker: str | None
    egress: Egress

    @property
    def is_local(self) -> bool:
        """Whether it is a server on one's own machine."""
        return self.entry is not None and self.entry.local

    @property
    def cloud(self) -> CloudName | None:
        """The cloud it is, where that wants more than a key."""
        return self.entry.cloud if self.entry else None

    @property
    def speaks_openai(self) -> bool:
        """Whether chat requests are in OpenAI's form, as far as the catalogue knows."""
        return self.entry is not None and self.entry.chat_path.endswith("/chat/completions")

    def require_key(self, config: ProviderConfig) -> None:
        """Refuse to go on without a key where one is needed.

        LiteLLM would send another vendor's key from the environment instead.

        Raises:
            ProviderConfigError: There is none; the message says where to put it.
        """
        if self.cloud == "aws":
            require_aws(config)
            return
        if self.cloud == "google":
            google_account(config)
            return
        if config.api_key is not None or (self.entry and self.entry.key != "required"):
            return
        variable = self.entry.env[0] if self.entry and self.entry.env else "THE_API_KEY"
        where = f" (get one at {self.entry.docs})" if self.entry and self.entry.docs else ""
        raise ProviderConfigError(
            f'no API key: set api_key: "${{{variable}}}"{where},'
            " or api_key: none if the server wants none",
            field="api_key",
            provider=config.name,
        )

    def for_embeddings(self) -> Target:
        """Return the target of embedding requests, which differs for some vendors."""
        if self.entry is None or self.entry.embed_via is None:
            return self
        return replace(
            self,
            litellm_provider=self.entry.embed_via,
            base_url=self.base_url + self.entry.embed_path,
        )

    def auth_headers(self, config: ProviderConfig) -> dict[str, str]:
        """Return the headers that show the key in a request of our own."""
        name = self.entry.auth_header if self.entry else "authorization"
        headers = {"anthropic-version": "2023-06-01"} if name == "x-api-key" else {}
        if config.key_value is not None:
            bearer = name == "authorization"
            headers[name] = f"Bearer {config.key_value}" if bearer else config.key_value
        return headers

    def options_for_litellm(self, config: ProviderConfig) -> dict[str, Any]:
        """Return the options that LiteLLM is given: no credentials of a cloud, but its address.

        It takes what is missing here from the environment.
        """
        options: dict[str, Any] = reveal(config.options)
        if self.cloud is None:
            return options
        options = {
            name: value
            for name, value in options.items()
            if name not in CLOUDS[self.cloud].credentials
        }
        if self.cloud == "aws":
            options["aws_bedrock_runtime_endpoint"] = self.base_url
        return options

    def azure_version(self, config: ProviderConfig) -> str | None:
        """Return the API version, where LiteLLM speaks to Azure's deployments; else None."""
        return str(config.options["api_version"]) if self.cloud == "azure" else None

    def model_named(self, model: object, *, provider: str) -> str:
        """Return the model that a caller names, without a prefix, or the configured one.

        Raises:
            InvalidRequestError: It is no name of a model.
        """
        if model is None:
            return self.model
        if not isinstance(model, str) or not model.strip():
            raise InvalidRequestError("model must be the name of a model", provider=provider)
        if problem := model_problem(model):
            raise InvalidRequestError(problem, provider=provider)
        if self.entry is not None:
            return self.entry.strip_prefix(model)
        return model.removeprefix(f"{self.litellm_provider}/")


def resolve_target(config: ProviderConfig, *, default_row: str | None = None) -> Target:
    """Find out where a configuration's requests go.

    Args:
        config: The configuration.
        default_row: The catalogue's row to take where the configuration names none.

    Raises:
        ProviderConfigError: It names no vendor, model or usable address; ``field`` says which.
    """
    _check_options(config)
    resolved = resolve(config.name, config.model, config.provider or default_row)
    entry = for_options(resolved.entry, config.options) if resolved.entry else None
    vendor = entry.litellm_provider if entry else resolved.litellm_provider
    cloud = CLOUDS[entry.cloud] if entry and entry.cloud else None
    derived = check_cloud(entry.cloud, config) if entry and entry.cloud else None
    # What the catalogue knows of a model it knows of the default one.
    known = entry if entry is not None and resolved.model == entry.default_model else None
    written = config.base_url or derived or (entry.base_url if entry else None)
    if written is None:
        raise ProviderConfigError(
            "no address is known for it: give its base_url", field="base_url", provider=config.name
        )
    try:
        base_url = normalize_base_url(written, vendor, entry=entry)
        egress = Egress.of(
            base_url,
            local=_is_own(config, entry),
            hosts=(*config.allowed_hosts, *(cloud.hosts if cloud else ())),
            proxy=config.proxy if isinstance(config.proxy, Secret) else None,
        )
    except ProviderConfigError as error:
        raise ProviderConfigError(error.message, field=error.field, provider=config.name) from None
    listing = models_url(base_url, entry) if entry else None
    if listing is not None and entry is not None and entry.cloud == "azure":
        listing += f"?api-version={config.options['api_version']}"
    return Target(
        litellm_provider=vendor,
        model=resolved.model,
        base_url=base_url,
        models_url=listing,
        entry=entry,
        prices=entry.prices if entry else vendor,
        capabilities=config.capabilities or _known_capabilities(known),
        context_window=config.context_window or (known.context_window if known else None),
        embedding_model=config.embedding_model or (entry.embedding_model if entry else None),
        end_marker=entry.end_marker if entry else None,
        egress=egress,
    )


def _is_own(config: ProviderConfig, entry: CatalogEntry | None) -> bool:
    """Tell whether it is explicitly a server of one's own; one that wants no key is."""
    return config.local or (entry is not None and entry.local) or config.key_value == _NO_KEY


def _known_capabilities(known: CatalogEntry | None) -> frozenset[Capability] | None:
    """Return what a row says that its model can do; a row that only says "stream" says nothing."""
    if known is None or known.capabilities <= {Capability.STREAM}:
        return None
    return known.capabilities


def _check_options(config: ProviderConfig) -> None:
    reserved = sorted(RESERVED_OPTIONS & config.options.keys())
    if reserved:
        raise ProviderConfigError(
            f"options may not set {', '.join(reserved)}; these have fields of their own,"
            " or are not for configurations to decide",
            field="options",
            provider=config.name,
        )
    for name in ("headers", "extra_headers"):
        _check_headers(config, name)
    unknown = sorted(config.params.keys() - ALLOWED)
    if unknown:
        hints = ", ".join(f"{name!r}{suggestion(name, ALLOWED)}" for name in unknown)
        raise ProviderConfigError(
            f"params may not have {hints}; what only this vendor knows goes into the provider's options",
            field="params",
            provider=config.name,
        )


def _check_headers(config: ProviderConfig, option: str) -> None:
    headers = config.options.get(option) or {}
    if not isinstance(headers, Mapping):
        raise ProviderConfigError(
            f"options.{option} must be a mapping of names to texts",
            field="options",
            provider=config.name,
        )
    names = (str(name) for name in headers)
    reserved = sorted(name for name in names if _plain_header(name) in RESERVED_HEADERS)
    if reserved:
        raise ProviderConfigError(
            f"options.{option} may not set {', '.join(reserved)}; the key goes into api_key,"
            " the others follow from the request",
            field="options",
            provider=config.name,
        )


def _plain_header(name: str) -> str:
    return name.strip().casefold().replace("_", "-")
