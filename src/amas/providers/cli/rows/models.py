"""Which model to ask, where neither the user nor the catalogue says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ...base import ProviderConfig
from ...errors import ProviderConfigError, ProviderError
from .. import output
from ..checking import models_of
from .asking import ask, at_terminal
from .planning import Plan

_SHOWN: Final = 10


def find_model(planned: Plan, row_of: Callable[[Plan], ProviderConfig]) -> Plan:
    """Let the provider's server say which models it has, and take the only one or ask.

    Args:
        planned: A row without a model.
        row_of: Makes the configuration of a row.

    Returns:
        The row with a model.

    Raises:
        ProviderConfigError: There are several, or none; say which.
    """
    # A row needs some model before its server can be asked which there are.
    row = row_of(planned.with_model("unknown"))
    try:
        names = asyncio.run(models_of(row))
    except ProviderError as error:
        raise ProviderConfigError(
            f"say which model {planned.name} is to be asked for, with --model;"
            f" its server does not tell ({error.message})"
        ) from None
    if len(names) == 1:
        return planned.with_model(names[0])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    known = (
        f"its server has {', '.join(names[:_SHOWN])}{more}" if names else "its server lists none"
    )
    if names and at_terminal():
        output.say(f"{planned.name}: {known}")
        return planned.with_model(ask("Model", names[0]))
    raise ProviderConfigError(
        f"say which model {planned.name} is to be asked for, with --model; {known}"
    )
