"""Side doors of LiteLLM, closed while a call of ours is under way; what the host does stays as it is.

On its way to a request LiteLLM makes others, with clients of its own; it looks for the identity of
a cloud in the environment and on the machine; and it keeps what it was given in global caches.
"""

from __future__ import annotations

from functools import wraps
from importlib import import_module
from typing import Any

from ..errors import InvalidRequestError
from .http_client import is_under_way

_NO_TOKEN = "none"  # noqa: S105 -- what stands for a token until the client's auth replaces it


def close_side_doors(owned: type[Any]) -> None:
    """Patch LiteLLM, and openai's models, once per process.

    Args:
        owned: The class of a provider's own client, which alone may send.
    """
    _forbid_other_clients(owned)
    _forbid_other_identities()
    _forgo_caching()
    _forgo_bug_reports()
    _forgo_warnings()


def _forbid_other_clients(owned: type[Any]) -> None:
    """Let nothing but a provider's own client send while one of its calls is under way."""
    handlers: Any = import_module("litellm.llms.custom_httpx.http_handler")
    for handler in (handlers.AsyncHTTPHandler, handlers.HTTPHandler):
        handler.client = _unless_under_way(_client_property(handler), owned)


def _client_property(handler: type[Any]) -> property:
    """Return the property of a handler's client; in older releases it is a plain attribute."""
    found = vars(handler).get("client")
    if isinstance(found, property):
        return found
    return property(
        lambda self: vars(self)["client"], lambda self, value: vars(self).update(client=value)
    )


def _unless_under_way(inner: property, owned: type[Any]) -> property:
    def client(handler: Any) -> Any:
        if is_under_way() and not isinstance(handler, owned):
            raise InvalidRequestError(
                "LiteLLM would have to fetch something by itself first, such as an image or a"
                " token; give it in the request or in options"
            )
        assert inner.fget is not None
        return inner.fget(handler)

    return property(client, inner.fset)


def _forbid_other_identities() -> None:
    """Let LiteLLM look for no credentials of AWS or Google: ours are shown by the client itself.

    Else it takes what it finds in variables, files of the user or the machine's metadata service,
    and asks for tokens with clients of its own.
    """
    aws: Any = import_module("litellm.llms.bedrock.base_aws_llm").BaseAWSLLM
    aws.get_credentials = _refused_under_way(aws.get_credentials)
    google: Any = import_module("litellm.llms.vertex_ai.vertex_llm_base").VertexBase
    inner, inner_async = google.get_access_token, google.get_access_token_async

    @wraps(inner)
    def get_access_token(self: Any, credentials: Any, project_id: Any, *args: Any) -> Any:
        if is_under_way():
            return _NO_TOKEN, project_id
        return inner(self, credentials, project_id, *args)

    @wraps(inner_async)
    async def get_access_token_async(self: Any, credentials: Any, project_id: Any) -> Any:
        if is_under_way():
            return _NO_TOKEN, project_id
        return await inner_async(self, credentials, project_id)

    google.get_access_token = get_access_token
    google.get_access_token_async = get_access_token_async


def _refused_under_way(inner: Any) -> Any:
    @wraps(inner)
    def get_credentials(*args: Any, **options: Any) -> Any:
        if is_under_way():
            raise InvalidRequestError(
                "LiteLLM would look for AWS credentials in variables, ~/.aws and on the machine;"
                " only `provider: bedrock` is asked with those of the configuration"
            )
        return inner(*args, **options)

    return get_credentials


def _forgo_caching() -> None:
    """Keep our clients for Azure out of LiteLLM's cache, where the host would find them."""
    base: Any = import_module("litellm.llms.openai.common_utils").BaseOpenAILLM
    inner = base.set_cached_openai_client

    @wraps(inner)
    def set_cached_openai_client(*args: Any, **options: Any) -> None:
        if not is_under_way():
            inner(*args, **options)

    base.set_cached_openai_client = staticmethod(set_cached_openai_client)


def _forgo_bug_reports() -> None:
    """Keep LiteLLM from reading its sources for a bug report when it cannot read an answer."""
    mapping: Any = import_module("litellm.litellm_core_utils.exception_mapping_utils")
    inner = getattr(mapping, "should_report_bug", None)
    if inner is not None:
        mapping.should_report_bug = lambda error: not is_under_way() and inner(error)


def _forgo_warnings() -> None:
    """Keep pydantic from warning of what does not fit, with the answer, which may repeat the key.

    Here and not by a filter of warnings, which the host may have replaced by its own.
    """
    model: Any = import_module("openai").BaseModel
    for name in ("model_dump", "model_dump_json"):
        setattr(model, name, _quiet_under_way(getattr(model, name)))


def _quiet_under_way(inner: Any) -> Any:
    @wraps(inner)
    def dump(model: Any, **options: Any) -> Any:
        return inner(model, **({**options, "warnings": False} if is_under_way() else options))

    return dump
