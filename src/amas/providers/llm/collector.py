"""Python's garbage collector, at rest while very much comes that stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Pause the search for cyclic garbage; what has come meanwhile is taken for old afterwards.

    While LiteLLM is imported, every search goes through all of what is there already: a quarter
    of the time, and up to 0.2 seconds at a stretch in which no thread runs, so no loop either.
    Where the host has switched the collector off, or has frozen objects of its own, that stays.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            # Both only move a list, and so put all into the oldest generation: else the next
            # search, of the young ones, would go through everything that has come.
            gc.freeze()
            gc.unfreeze()
        gc.enable()
