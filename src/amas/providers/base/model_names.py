"""What the name of a model may look like."""

from __future__ import annotations

import re
from typing import Final

_LONGEST: Final = 500
_WRONG: Final = re.compile(r"[\x00-\x1f\x7f?#\\%]|^/|//|/$|(^|/)\.{1,2}(/|$)|(^|/)\s|\s(/|$)")


def model_problem(model: str) -> str | None:
    """Say why a text cannot be a model's name: it becomes a part of the vendor's URL."""
    if len(model) > _LONGEST:
        return f"model must be the name of a model, of at most {_LONGEST} characters"
    if _WRONG.search(model):
        return (
            "model must be the name of a model: without control characters, ?, #, % and"
            " backslashes, and without blanks or empty, . or .. parts beside slashes"
        )
    return None
