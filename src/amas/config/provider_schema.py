"""The rows of the section ``llm:`` as models."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from ..providers.types import DispatchMode, HealthProbe, Isolation
from .field_types import (
    Adapter,
    Capabilities,
    Count,
    Dollars,
    Flag,
    HealthProbeWord,
    Keys,
    Options,
    Parameters,
    Proxy,
    Queue,
    ResponseChecks,
    Retries,
    Seconds,
    SecretText,
    Text,
    Texts,
    Weight,
    as_text,
)
from .manager_schema import Policy
from .section import Section


class PriceSettings(Section):
    """What tokens cost, in US dollars per million."""

    input: Dollars = Field(
        title="Input",
        description="US dollars per million tokens of the prompt.",
        examples=[0.15],
    )
    output: Dollars = Field(
        title="Output",
        description="US dollars per million tokens of the answer.",
        examples=[0.6],
    )


class SandboxSettings(Section):
    """What the child process of a provider with ``isolation: process`` may use."""

    memory_mb: Count = Field(
        default=2048,
        title="Memory",
        description="Most memory of the child process, in MiB.",
        examples=[1024],
    )
    cpu_seconds: Count = Field(
        default=60,
        title="CPU",
        description="Most seconds of CPU that one call may take.",
        examples=[30],
    )
    open_files: Count = Field(
        default=256,
        title="Open files",
        description="Most files and connections that the child process may have open.",
        examples=[128],
    )


class ProviderSettings(Section):
    """One provider."""

    enabled: Flag = Field(
        default=True, title="Enabled", description="Whether it takes part.", examples=[True]
    )
    api_key: SecretText | None = Field(
        default=None,
        title="API key",
        description="Its key as a reference (${VAR}, file:, enc:), or none where it wants none.",
        examples=["${OPENAI_API_KEY}"],
    )
    api_keys: Keys = Field(
        default=(),
        title="API keys",
        description="Several keys as references, instead of api_key; each call uses one.",
        examples=[["${OPENAI_KEY_1}", "${OPENAI_KEY_2}"]],
        json_schema_extra={"uniqueItems": True},
    )
    base_url: Text | None = Field(
        default=None,
        title="Base URL",
        description="Address of its API; the catalogue knows those of the well-known.",
        examples=["https://api.openai.com/v1"],
    )
    timeout: Seconds = Field(
        default=30.0,
        title="Timeout",
        description="Seconds for one attempt, from the request to the complete answer.",
        examples=[30],
    )
    max_retries: Retries | None = Field(
        default=None,
        title="Retries",
        description="Retries after a passing failure; the manager's max_retries by default.",
        examples=[3],
    )
    model: Text | None = Field(
        default=None,
        title="Model",
        description="Model to ask, with LiteLLM's prefix where the name does not say the vendor.",
        examples=["groq/llama-3.3-70b-versatile"],
    )
    provider: Text | None = Field(
        default=None,
        title="Provider",
        description="Name in the catalogue, where neither the name nor the model says it.",
        examples=["openai"],
    )
    first_content_timeout: Seconds | None = Field(
        default=None,
        title="First content timeout",
        description="Seconds until the first content of a stream; timeout by default.",
        examples=[10],
    )
    idle_timeout: Seconds | None = Field(
        default=None,
        title="Idle timeout",
        description="Seconds between two pieces of a stream; timeout by default.",
        examples=[15],
    )
    stream_timeout: Seconds | None = Field(
        default=None,
        title="Stream timeout",
        description="Seconds for a whole stream; timeout by default.",
        examples=[120],
    )
    params: Parameters = Field(
        default_factory=dict,
        repr=False,  # what is pasted there by mistake stays out of logs
        title="Parameters",
        description="Defaults for the parameters of a call.",
        examples=[{"temperature": 0.2}],
    )
    options: Options = Field(
        default_factory=dict,
        repr=False,  # credentials may stand at any depth
        title="Options",
        description="LiteLLM's own parameters for this vendor, or those of its adapter.",
        examples=[{"api_version": "2024-10-21"}],
    )
    capabilities: Capabilities | None = Field(
        default=None,
        title="Capabilities",
        description="What the model can do; the catalogue's answer by default.",
        examples=[["stream", "tools"]],
    )
    context_window: Count | None = Field(
        default=None,
        title="Context window",
        description="Tokens the model can take in; the catalogue's answer by default.",
        examples=[128000],
    )
    embedding_model: Text | None = Field(
        default=None,
        title="Embedding model",
        description="Model for embeddings; the catalogue's answer by default.",
        examples=["text-embedding-3-small"],
    )
    max_concurrency: Count | None = Field(
        default=None,
        title="Concurrency",
        description="Most requests at the same time; no limit by default.",
        examples=[20],
    )
    max_queue: Queue = Field(
        default=0,
        title="Queue",
        description="Most calls that wait for one of max_concurrency to end.",
        examples=[50],
    )
    rpm: Count | None = Field(
        default=None,
        title="Requests per minute",
        description="Most requests per minute; no limit by default.",
        examples=[500],
    )
    tpm: Count | None = Field(
        default=None,
        title="Tokens per minute",
        description="Most tokens per minute; no limit by default.",
        examples=[200000],
    )
    weight: Weight = Field(
        default=1.0,
        title="Weight",
        description="Share of the calls under the strategy weighted, relative to the others.",
        examples=[2],
    )
    price: PriceSettings | None = Field(
        default=None,
        title="Price",
        description="US dollars per million tokens; looked up by default.",
        examples=[{"input": 0.15, "output": 0.6}],
    )
    health_probe: HealthProbeWord = Field(
        default=HealthProbe.FREE,
        title="Health probe",
        description="How it is asked for its health: by listing models, by one token, or not.",
        examples=["free"],
    )
    response_checks: ResponseChecks | None = Field(
        default=None,
        title="Response checks",
        description="What answers are checked for; the manager's response_checks by default.",
        examples=[["not_empty"]],
    )
    policy: Policy = Field(
        default_factory=dict,
        title="Policy",
        description="Changes of the failure table for this provider, over the manager's policy.",
        examples=[{"content_policy": {"failover": "yes"}}],
    )
    local: Flag = Field(
        default=False,
        title="Local",
        description="Whether it is a server of one's own: http and private addresses are allowed.",
        examples=[True],
    )
    allowed_hosts: Texts = Field(
        default=(),
        title="Allowed hosts",
        description="Hosts that its requests may go to beside the one of its base_url.",
        examples=[["login.example.com"]],
    )
    proxy: Proxy | None = Field(
        default=None,
        title="Proxy",
        description="Address of an HTTP proxy; without it none is used, whatever the environment.",
        examples=["${HTTPS_PROXY}"],
    )
    dispatch: Annotated[DispatchMode, Field(strict=False), BeforeValidator(as_text)] = Field(
        default=DispatchMode.AUTO,
        title="Dispatch",
        description="direct, litellm, or auto: direct where a test has proven it equal.",
        examples=["auto"],
    )
    adapter: Adapter | None = Field(
        default=None,
        title="Adapter",
        description="Code of one's own for a vendor that LiteLLM lacks: package.module:Class.",
        examples=["acme_llm.provider:AcmeProvider"],
    )
    isolation: Annotated[Isolation, Field(strict=False), BeforeValidator(as_text)] | None = Field(
        default=None,
        title="Isolation",
        description="none, or process: a child process of its own; plugins and adapters default to it.",
        examples=["process"],
    )
    sandbox: SandboxSettings = Field(
        default_factory=SandboxSettings,
        title="Sandbox",
        description="What that child process may use.",
        examples=[{"memory_mb": 1024}],
    )
