"""Headers of the W3C trace context that the request under way is to carry."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

trace_headers: Final[ContextVar[Mapping[str, str]]] = ContextVar(
    "amas_trace_headers", default=NO_HEADERS
)
"""Set for the time of one attempt, where the configuration asks for it."""
