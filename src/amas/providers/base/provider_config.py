"""What every provider is configured with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, LiteralString, Self

from typing_extensions import override

from ..errors import ProviderConfigError
from ..secret import Secret, hide
from ..types import (
    Capability,
    DispatchMode,
    Effect,
    Failover,
    HealthProbe,
    Isolation,
    Outcome,
    Price,
    ResponseCheck,
    Retry,
    SandboxLimits,
)

# Success and a caller who left are no failures, so nothing about them can be changed.
POLICY_OUTCOMES: Final = tuple(
    str(item) for item in Outcome if item not in {Outcome.OK, Outcome.CANCELLED}
)

ADAPTER: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
"""Where the code of an adapter is: ``package.module:Class``."""

_MAX_KEY: Final = 4_096  # characters; servers take hardly more in a header

_POLICY: Final[Mapping[str, type[StrEnum]]] = MappingProxyType(
    {"retry": Retry, "failover": Failover, "circuit": Effect}
)


class _First(Secret):
    """The ``api_key`` of a configuration with several; a copy with others has another one."""

    __slots__ = ()


@dataclass(frozen=True)
class ProviderConfig:
    """The configuration of one provider, validated when it is built.

    Args:
        name: Name of the provider; how results, logs and rules speak of it.
        api_key: Its key; kept as a ``Secret``. ``"none"`` says that the server wants none.
        api_keys: Several keys, of which each call uses one; ``api_key`` is then the first,
            and to replace it means to replace ``api_keys``.
        base_url: Address of its API; the catalogue knows those of the well-known.
        timeout: Seconds for one attempt from request to complete answer, streams included.
        max_retries: How often the same provider is asked again after a passing failure.
        enabled: Whether it takes part.
        model: Model to ask, with or without LiteLLM's prefix (``groq/llama-3.3-70b``).
        provider: LiteLLM's name of the vendor or a name in the catalogue, where neither
            ``name`` nor the model's prefix says it.
        first_content_timeout: Seconds until the first content of a stream; ``timeout`` if None.
        idle_timeout: Seconds between two chunks of a stream; ``timeout`` if None.
        stream_timeout: Seconds for a whole stream; ``timeout`` if None.
        params: Defaults for the parameters of a call, such as ``temperature``.
        options: LiteLLM's own parameters for this vendor (``api_version``, …).
        capabilities: What the model can do; the catalogue's answer if None.
        context_window: Tokens the model can take in; the catalogue's answer if None.
        embedding_model: Model for ``embed``; the catalogue's answer if None.
        max_concurrency: Most requests at the same time; no limit if None.
        max_queue: Most calls that wait for one of them to end, when nobody else is free.
        rpm: Most requests per minute; no limit if None.
        tpm: Most tokens per minute; no limit if None.
        weight: Share of the calls under the strategy ``weighted``, relative to the others.
        price: What it costs, as ``Price`` or a mapping of its fields; looked up if None.
        health_probe: How it is asked for its health: ``free``, ``paid`` or ``off``.
        response_checks: What answers are checked for; the manager's setting if None.
        policy: Changes of the failure table, by outcome: ``retry``, ``failover``, ``circuit``.
        local: Whether it is a server of one's own, so that http and private addresses are allowed.
        allowed_hosts: Hosts that its requests may go to beside that of its ``base_url``.
        proxy: Address of an HTTP proxy; kept as a ``Secret``. None is used if None.
        isolation: Where its code runs; None for ``none``, or ``process`` for a plugin
            or an adapter.
        sandbox: What its child process may use, if it has one.
        dispatch: How its calls get to the wire: ``auto``, ``direct`` or ``litellm``.
        adapter: Code of one's own for it, as ``package.module:Class``, instead of LiteLLM.
        disabled_reason: Why ``enabled`` is False, where that was not a wish, such as a
            variable that is not set.

    Raises:
        ProviderConfigError: A field is wrong; ``field`` says which.
    """

    name: str
    api_key: Secret | str | None = None
    base_url: str | None = None
    timeout: float = 30
    max_retries: int = 3
    enabled: bool = True
    model: str | None = None
    provider: str | None = None
    first_content_timeout: float | None = None
    idle_timeout: float | None = None
    stream_timeout: float | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    capabilities: frozenset[Capability] | None = None
    context_window: int | None = None
    embedding_model: str | None = None
    max_concurrency: int | None = None
    max_queue: int = 0
    rpm: int | None = None
    tpm: int | None = None
    weight: float = 1.0
    price: Price | Mapping[str, float] | None = None
    health_probe: HealthProbe | str = HealthProbe.FREE
    response_checks: frozenset[ResponseCheck] | None = None
    policy: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    disabled_reason: str | None = None
    api_keys: Sequence[Secret | str] = ()
    local: bool = False
    allowed_hosts: Sequence[str] = ()
    proxy: Secret | str | None = None
    isolation: Isolation | str | None = None
    sandbox: SandboxLimits = field(default_factory=SandboxLimits)
    dispatch: DispatchMode | str = DispatchMode.AUTO
    adapter: str | None = None

    def __post_init__(self) -> None:
        self._check_text("name")
        self._check_keys()
        for name in ("timeout", "first_content_timeout", "idle_timeout", "stream_timeout"):
            self._check_seconds(name)
        self._check_count("max_retries", minimum=0)
        for name in ("context_window", "max_concurrency", "rpm", "tpm"):
            self._check_count(name, minimum=1)
        self._check_count("max_queue", minimum=0)
        if not _is_amount(self.weight) or self.weight == 0:
            raise self._wrong("weight", "must be a number above 0")
        for name in ("enabled", "local"):
            if not isinstance(getattr(self, name), bool):
                raise self._wrong(name, "must be true or false")
        self._check_whereabouts()
        for name in ("base_url", "model", "provider", "embedding_model"):
            if getattr(self, name) is not None:
                self._check_text(name)
        for name in ("params", "options"):
            self._copy_mapping(name)
        self._read_policy()
        self._freeze("capabilities", Capability)
        self._freeze("response_checks", ResponseCheck)
        self._read_word("health_probe", HealthProbe)
        self._read_word("dispatch", DispatchMode)
        self._read_isolation()
        self._check_adapter()
        self._read_price()

    def _wrong(self, name: str, what: str) -> ProviderConfigError:
        return ProviderConfigError(f"{name} {what}", field=name, provider=self.name)

    def _check_keys(self) -> None:
        if isinstance(self.api_keys, str) or not isinstance(self.api_keys, Sequence):
            raise self._wrong("api_keys", "must be a list of keys; one alone goes into api_key")
        several = tuple(self._key("api_keys", key) for key in self.api_keys)
        if len(set(several)) < len(several):
            raise self._wrong("api_keys", "has the same key twice")
        object.__setattr__(self, "api_keys", several)
        if several and isinstance(self.api_key, _First):
            object.__setattr__(self, "api_key", None)  # that of the original, by replace()
        if self.api_key is not None:
            object.__setattr__(self, "api_key", self._key("api_key", self.api_key))
        if several and self.api_key not in {None, several[0]}:
            raise self._wrong("api_keys", "and api_key exclude each other; put all keys into one")
        if several:
            object.__setattr__(self, "api_key", _First(several[0]))

    def _key(self, name: str, key: object) -> Secret:
        if not isinstance(key, str):
            raise self._wrong(name, "must be a text")
        secret = Secret(key)
        if wrong := key_problem(secret.get_secret_value()):
            raise self._wrong(name, wrong)
        return secret

    def _check_text(self, name: str) -> None:
        if not _is_text(getattr(self, name)):
            raise self._wrong(name, "must be a text that is not empty")

    def _copy_mapping(self, name: str) -> None:
        value: object = getattr(self, name)
        if not isinstance(value, Mapping):
            raise self._wrong(name, "must be a mapping")
        # Options of LiteLLM may be credentials, or headers that carry one.
        copy = hide(value) if name == "options" else dict(value)
        object.__setattr__(self, name, copy)

    def _check_seconds(self, name: str) -> None:
        value = getattr(self, name)
        if value is None and name != "timeout":
            return
        if not _is_amount(value) or value == 0:
            raise self._wrong(name, "must be a number of seconds above 0")

    def _check_count(self, name: str, *, minimum: int) -> None:
        value = getattr(self, name)
        if value is None and name not in {"max_retries", "max_queue"}:
            return
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise self._wrong(name, f"must be a whole number, {minimum} or more")

    def _freeze(self, name: str, kind: type[StrEnum]) -> None:
        value = getattr(self, name)
        if value is None:
            return
        try:
            known = frozenset(kind(item) for item in value)
        except (TypeError, ValueError):
            raise self._wrong(name, f"must be a list drawn from {', '.join(kind)}") from None
        object.__setattr__(self, name, known)

    def _read_word(self, name: str, kind: type[StrEnum]) -> None:
        try:
            object.__setattr__(self, name, kind(getattr(self, name)))
        except ValueError:
            raise self._wrong(name, f"must be one of {', '.join(kind)}") from None

    def _read_isolation(self) -> None:
        if self.isolation is not None:
            self._read_word("isolation", Isolation)
        if not isinstance(self.sandbox, SandboxLimits):
            raise self._wrong("sandbox", "must be SandboxLimits")

    def _check_adapter(self) -> None:
        where: object = self.adapter
        if where is None:
            return
        if not isinstance(where, str) or not ADAPTER.fullmatch(where):
            raise self._wrong("adapter", "must have the form package.module:Class")
        if self.provider is not None:
            raise self._wrong("adapter", "excludes provider, which LiteLLM is told; remove one")

    def _check_whereabouts(self) -> None:
        hosts = self.allowed_hosts
        if isinstance(hosts, str) or not all(map(_is_text, hosts)):
            raise self._wrong("allowed_hosts", "must be a list of host names")
        object.__setattr__(self, "allowed_hosts", tuple(host.lower() for host in hosts))
        if self.proxy is not None:
            if not isinstance(self.proxy, str):
                raise self._wrong("proxy", "must be a text")
            object.__setattr__(self, "proxy", Secret(self.proxy))

    def _read_price(self) -> None:
        value: Any = self.price
        if value is None:
            return
        if not isinstance(value, Price):
            if not isinstance(value, Mapping) or set(value) != {"input", "output"}:
                raise self._wrong("price", "must have input and output, in US dollars per million")
            value = Price(**value)
        if not (_is_amount(value.input) and _is_amount(value.output)):
            raise self._wrong("price", "must have numbers, 0 or more")
        object.__setattr__(self, "price", value)

    def _read_policy(self) -> None:
        if not isinstance(self.policy, Mapping):
            raise self._wrong("policy", "must be a mapping")
        rules = {self._outcome(name): self._rule(rule) for name, rule in self.policy.items()}
        object.__setattr__(self, "policy", rules)

    def _outcome(self, name: object) -> str:
        if name not in POLICY_OUTCOMES:
            raise self._wrong(
                "policy", f"must have outcomes for keys: {', '.join(POLICY_OUTCOMES)}"
            )
        return str(name)

    def _rule(self, rule: object) -> dict[str, str]:
        if not isinstance(rule, Mapping) or not rule.keys() <= _POLICY.keys():
            raise self._wrong("policy", f"must have, by outcome, {', '.join(_POLICY)}")
        for part, value in rule.items():
            if value not in list(_POLICY[part]):
                names = ", ".join(_POLICY[part])
                raise self._wrong("policy", f"must have for {part} one of {names}")
        return {str(part): str(value) for part, value in rule.items()}

    @property
    def key_value(self) -> str | None:
        """The key itself, for the one place that sends it."""
        return self.api_key.get_secret_value() if isinstance(self.api_key, Secret) else None

    def __copy__(self) -> Self:
        return replace(self)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return replace(
            self, params=deepcopy(self.params, memo), options=deepcopy(self.options, memo)
        )

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        # Keys do not travel in pickles: the copy has none and has to be given one.
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return (_unpickle_config, (values | {"api_key": None, "api_keys": (), "proxy": None},))


def key_problem(value: str) -> LiteralString | None:
    """Say why a text cannot be a key, if it cannot; the text is not in the answer."""
    if not value:
        return "is empty; give the key, or 'none' for a server that wants none"
    if len(value) > _MAX_KEY:
        return "has more than 4,096 characters, and no key is as long"
    # Anything else would be a header injection, or a key pasted with its line break.
    if not value.isascii() or not value.isprintable() or " " in value:
        return "has characters that no key has (space, control, non-ASCII); copy it anew"
    return None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_amount(value: object) -> bool:
    """Tell whether it is a number from 0, and finite."""
    return (
        not isinstance(value, bool)
        and isinstance(value, int | float)
        and math.isfinite(value)
        and value >= 0
    )


def _unpickle_config(values: dict[str, Any]) -> ProviderConfig:
    return ProviderConfig(**values)
