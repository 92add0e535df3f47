"""LiteLLM, imported on first use: quiet, offline, and as a codec only.

Traps of ``litellm-facts.md`` are closed here once, for all providers: the
import fetches a price map and reads ``.env`` files (2.1); every call goes through
logging that keeps prompts (2.7b); clients come from a global cache and follow
redirects with the key attached (2.2, 2.7); and on the way to a request LiteLLM
makes others, blocking the running loop: asking Ollama and Hugging Face about a
model (2.7b), or fetching an image that a message names.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from importlib.metadata import version
from typing import Any

import httpx
from typing_extensions import override

from ..security.masking import MaskingFilter, library_loggers
from .collector import collector_at_rest
from .http_client import is_under_way
from .litellm_doors import close_side_doors

_IMPORT_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # the bundled price map instead of a download
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",  # the same for what Anthropic has in beta
    "LITELLM_MODE": "PRODUCTION",  # no load_dotenv()
}
# What the host may have set for its own use of LiteLLM, and what would redirect our requests
# or add to them even where every argument is given (main.py: ``litellm.api_base or api_base``).
_NO_GLOBALS: Mapping[str, Any] = {
    "api_base": None,
    "api_key": None,
    "headers": None,
    "model_alias_map": {},
    "model_fallbacks": None,
    "organization": None,
    "proxy_auth": None,
    "use_litellm_proxy": False,
}
_HOST_VARIABLE = "USE_LITELLM_PROXY"  # of the same effect as the global, in any vendor's format

_lock = threading.Lock()
_loading_lock = threading.Lock()
_globals_lock = threading.Lock()
_loaded: Runtime | None = None
_loading: Future[Runtime] | None = None


@dataclass(frozen=True, slots=True)
class Runtime:
    """LiteLLM, its version, and the two classes of ours that need its own as their base."""

    litellm: Any
    logging_class: type[Any]
    client_class: type[Any]
    version: str
    rehearsed: set[str] = field(default_factory=set)
    rehearsed_direct: set[str] = field(default_factory=set)

    def silent_logging(self, *, model: str, messages: list[Any], stream: bool, id: str) -> Any:  # noqa: A002 -- LiteLLM's own word
        """Return the logging object of one call, which records nothing."""
        return self.logging_class(
            model=model,
            messages=messages,
            stream=stream,
            call_type="acompletion",
            start_time=datetime.now(),  # noqa: DTZ005 -- LiteLLM subtracts naive times from it
            litellm_call_id=id,
            function_id=id,
        )

    @contextmanager
    def without_host_globals(self) -> Iterator[None]:
        """Hide the host's globals of LiteLLM while a request is being made up.

        Only where there are any, and only for the synchronous part, in which
        LiteLLM decides on address and headers.
        """
        if not any(self._host_globals().values()) and _HOST_VARIABLE not in os.environ:
            yield
            return
        with _globals_lock:
            values, variable = self._host_globals(), os.environ.pop(_HOST_VARIABLE, None)
            vars(self.litellm).update(_NO_GLOBALS)
            try:
                yield
            finally:
                vars(self.litellm).update(values)
                if variable is not None:
                    os.environ[_HOST_VARIABLE] = variable

    def _host_globals(self) -> dict[str, Any]:
        return {name: getattr(self.litellm, name, None) for name in _NO_GLOBALS}

    def client(
        self, http: httpx.AsyncClient, *, key: str, base_url: str, azure_version: str | None = None
    ) -> Any:
        """Return a client for LiteLLM's routes that sends through ``http`` alone.

        Args:
            http: Does the work.
            key: The key.
            base_url: The address.
            azure_version: The ``api_version`` of Azure's deployments, whose route takes a
                client of openai's own class only; None for any other route.
        """
        if azure_version is not None:
            return _azure_client(http, key=key, base_url=base_url, version=azure_version)
        return self.client_class(http, key=key, base_url=base_url)


async def ensure_runtime() -> Runtime:
    """Import LiteLLM in a thread, the first time, so that the loop goes on meanwhile.

    However many providers start at once, one thread works and none waits: those of the loop stay
    free for whoever resolves a name or reads a file.
    """
    global _loading  # noqa: PLW0603 -- one import per process, behind the lock
    if _loaded is not None:
        return _loaded
    with _loading_lock:
        if _loading is None or _loading.done():  # done without a result: it is tried again
            _loading = Future()
            _loading.set_running_or_notify_cancel()  # who gives up waiting ends it for nobody
            threading.Thread(target=_load_into, args=(_loading,), name="amas-litellm").start()
        loading = _loading
    return await asyncio.wrap_future(loading)


def _load_into(loading: Future[Runtime]) -> None:
    try:
        loading.set_result(load_runtime())
    except BaseException as error:  # noqa: BLE001 -- it is for those who wait
        loading.set_exception(error)


def load_runtime() -> Runtime:
    """Import LiteLLM if that has not happened yet; blocking, about 1.5 seconds."""
    global _loaded  # noqa: PLW0603 -- one import per process, behind the lock
    with _lock:
        if _loaded is None:
            with collector_at_rest():
                _loaded = _load()
        return _loaded


def _load() -> Runtime:
    foreign = "litellm" in sys.modules
    with _environment(_IMPORT_ENVIRONMENT):
        litellm: Any = import_module("litellm")
        if not foreign:
            _silence_loggers()
        _read_files(litellm)
    # Stops LiteLLM's "Give Feedback" prints on stdout.
    litellm.suppress_debug_info = True
    # Else counting the tokens of a llama-3 model fetches a tokenizer, blocking the loop.
    litellm.disable_hf_tokenizer_download = True
    client_class = _client_class()
    close_side_doors(client_class)
    _mask_loggers()
    return Runtime(litellm, _logging_class(), client_class, version("litellm"))


def _read_files(litellm: Any) -> None:
    """Read what LiteLLM would read, or fetch, on the loop: certificates, prices, beta headers."""
    _ = litellm.module_level_client, litellm.module_level_aclient
    # Older releases have neither of the two, and nothing to read.
    getattr(litellm.utils, "get_bundled_model_cost_map", dict)()
    with suppress(ImportError, AttributeError):
        import_module("litellm.anthropic_beta_headers_manager").get_provider_name("anthropic")


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _silence_loggers() -> None:
    # Only where the host does not use LiteLLM itself: then these loggers are its own affair.
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False


class _MaskingOurs(MaskingFilter):
    """Masks what a library logs about calls of ours; what it logs for the host stays as it is."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        return super().filter(record) if is_under_way() else True


def _mask_loggers() -> None:
    """Mask at the loggers themselves: at DEBUG, openai's shows headers of requests and answers."""
    masking = _MaskingOurs()
    for logger in library_loggers():
        logger.addFilter(masking)


def _logging_class() -> type[Any]:
    base: Any = import_module("litellm.litellm_core_utils.litellm_logging").Logging

    class SilentLogging(base):  # type: ignore[misc]
        """LiteLLM's record of a call, without the recording.

        Audit, metrics and prices are ours; LiteLLM's own path keeps prompts
        and keys in a global queue and looks prices up with blocking requests.
        """

        def pre_call(self, *_args: Any, **_kwargs: Any) -> None: ...

        def post_call(self, *_args: Any, **_kwargs: Any) -> None: ...

        def success_handler(self, *_args: Any, **_kwargs: Any) -> None: ...

        def failure_handler(self, *_args: Any, **_kwargs: Any) -> None: ...

        async def async_success_handler(self, *_args: Any, **_kwargs: Any) -> None: ...

        async def async_failure_handler(self, *_args: Any, **_kwargs: Any) -> None: ...

        async def dispatch_success_handlers(self, *_args: Any, **_kwargs: Any) -> None: ...

        async def dispatch_failure_handlers(self, *_args: Any, **_kwargs: Any) -> None: ...

    return SilentLogging


def _azure_client(http: httpx.AsyncClient, *, key: str, base_url: str, version: str) -> Any:
    client: Any = import_module("openai").AsyncAzureOpenAI(
        api_key=key, azure_endpoint=base_url, api_version=version, http_client=http, max_retries=0
    )
    client._azure_ad_token = None  # noqa: SLF001 -- AZURE_OPENAI_AD_TOKEN wins over the key
    return _without_environment(client)


def _without_environment(client: Any) -> Any:
    """Take out of openai's client what it has read from variables, perhaps of another account."""
    client.organization = client.project = None
    client._custom_headers = {}  # noqa: SLF001 -- OPENAI_CUSTOM_HEADERS has no other switch
    return client


def _client_class() -> type[Any]:
    base: Any = import_module("litellm.llms.custom_httpx.http_handler").AsyncHTTPHandler
    openai = import_module("openai")

    class OwnedClient(base):  # type: ignore[misc]
        """What LiteLLM takes for its HTTP handler on one route and for openai's client on another.

        A client of the wrong kind is ignored by LiteLLM, which then makes one of
        its own that follows redirects; so this is both kinds. Both send through
        the same httpx client, which the adapter owns and closes.
        """

        def __init__(self, http: httpx.AsyncClient, *, key: str, base_url: str) -> None:
            self.timeout = None
            self.event_hooks = None
            self.client_alias = None
            self.client = http  # which tells the handler that it is not the owner
            self._openai = _without_environment(
                openai.AsyncOpenAI(api_key=key, base_url=base_url, http_client=http, max_retries=0)
            )

        def create_client(self, *_args: Any, **_kwargs: Any) -> Any:
            """Refuse LiteLLM's second try, with a client that would follow redirects and proxies."""
            raise  # noqa: PLE0704 -- the connection error that LiteLLM is handling

        def __getattr__(self, name: str) -> Any:
            if name == "_openai":
                raise AttributeError(name)
            return getattr(self._openai, name)

        def post(self, *args: Any, **kwargs: Any) -> Any:
            """Send, for whichever of the two sides is asked: only openai's says what to cast to."""
            if "cast_to" in kwargs:
                return self._openai.post(*args, **kwargs)
            return super().post(*args, **kwargs)

        def __del__(self) -> None:
            """Leave the httpx client alone: the adapter closes it."""

    return OwnedClient
