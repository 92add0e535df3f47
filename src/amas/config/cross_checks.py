"""What is wrong between the parts of a configuration, each of which is right by itself."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from .document import Document, Path, label
from .manager_schema import CircuitBreakerSettings
from .observability_schema import AuditSettings, MetricsSettings, TracingSettings
from .security_schema import SecuritySettings

MASTER_KEY_VARIABLE: Final = "AMAS_MASTER_KEY"
"""Where the master key is looked for if ``security.master_key`` is not set."""

_PATTERN: Final = re.compile(r"[*?\[]")


class CrossChecks:
    """Checks the parts of a document against each other.

    Args:
        document: Where problems and warnings go.
        providers: Names of all rows of the section ``llm:``.
    """

    def __init__(self, document: Document, providers: Collection[str]) -> None:
        self._document = document
        self._providers = providers

    def breaker(self, breaker: CircuitBreakerSettings) -> None:
        """Check that the cooldown can grow."""
        if breaker.max_cooldown < breaker.cooldown:
            text = "must be no shorter than cooldown; raise it, or lower cooldown"
            self._document.problem(("manager", "circuit_breaker", "max_cooldown"), text)

    def names(self, resolved: Mapping[str, Any]) -> None:
        """Check that whoever is named as a provider is one.

        Args:
            resolved: The sections by name, their references followed.
        """
        order = resolved.get("manager", {}).get("fallback_order")
        self._names(order, ("manager", "fallback_order"))
        access = resolved.get("security", {}).get("access")
        for caller, rule in access.items() if isinstance(access, dict) else ():
            names = rule.get("providers") if isinstance(rule, dict) else None
            self._names(names, ("security", "access", caller, "providers"), patterns=True)

    def _names(self, names: object, path: Path, *, patterns: bool = False) -> None:
        seen: set[str] = set()
        for index, name in enumerate(names if isinstance(names, list) else ()):
            if not isinstance(name, str):
                continue
            if name in seen:
                self._document.problem((*path, index), f"{label(name)!r} is named twice; keep one")
            elif name not in self._providers and not (patterns and _PATTERN.search(name)):
                text = self.not_configured(name, self._providers)
                self._document.problem((*path, index), text)
            seen.add(name)

    def not_configured(self, name: str, providers: Collection[str]) -> str:
        """Return what to say of a provider that is named and is not there."""
        text = f"no provider {label(name)!r} is configured"
        near = self._document.nearest(name, providers)
        if near:
            return f"{text}; did you mean {near!r}?"
        return f"{text}; add it under providers.llm, or remove it here"

    def audit(self, audit: AuditSettings | None, security: SecuritySettings) -> None:
        """Check that the trail has a key to be sealed with."""
        if audit is not None and audit.path is not None and not security.master_key:
            self._document.problem(
                ("audit", "path"),
                "needs security.master_key: the records are chained with a key that is derived"
                " from it; make one with `amas-providers keys generate-master`, and set"
                f" {MASTER_KEY_VARIABLE}; or leave path out, and the records go to the logger"
                " amas.audit",
            )

    def idle(
        self, audit: AuditSettings | None, metrics: MetricsSettings, tracing: TracingSettings
    ) -> None:
        """Warn of what is written and does nothing, unless it was switched off in so many words."""
        idle = {
            ("audit", "content"): audit is not None
            and audit.path is None
            and audit.content != "none"
            and "without audit.path, and the logger amas.audit gets no content",
            ("metrics", "port"): "enabled" not in metrics.model_fields_set
            and metrics.port is not None
            and "unless metrics.enabled is true",
            ("tracing", "propagate"): "enabled" not in tracing.model_fields_set
            and tracing.propagate
            and "unless tracing.enabled is true",
        }
        for path, why in idle.items():
            if why:
                self._document.warn(path, f"has no effect {why}")
