"""What credentials look like that nobody has told us of. Pure.

Lengths are lower bounds, and what is not unmistakable by its beginning has to stand where
credentials stand: behind a name, in a URL, behind ``Bearer``.
"""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "**********"

# Where a key may begin: not inside a word or a token, unless what stands before is an escape.
_EDGE = (
    r"(?:(?<![\w-])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt])|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\x[0-9a-f]{2}))"
)
# Between the name of a field and its value, in headers, JSON, YAML, Python and shell.
_IS = r"""\\*["']?\s{0,3}[:=,]\s{0,3}\\*["']?"""
_TOKEN = r"[\w.~+/=-]"  # noqa: S105 -- the characters of one

# What gives credentials away that have no shape of their own (Azure's, Mistral's, Cohere's, …).
_NAME = (
    r"(?:(?:api|access|secret|subscription|account)[-_ ]?key|(?:client|app)[-_ ]?secret"
    r"|(?:access|auth|refresh|session)[-_ ]?token|password|authorization)"
)
_PLACE = r"[\w-]{0,32}(?:page|next|continuation|sync)[-_]?token"  # where a listing goes on
_PARAMETER = rf"(?:(?!{_PLACE})[\w-]{{0,32}}(?:key|token)|sig|signature)"

# What stays, in a group, and what goes. Each is looked for if the text has one of the literals.
_SHAPES: Final = (
    # OpenAI, Anthropic, OpenRouter, DeepSeek, Moonshot, DashScope; not words joined by dashes
    ("sk-", _EDGE + r"()sk-(?:(?=[\w-]{0,99}?\w{16})[\w-]+|(?=\w{0,15}\d)\w{8,}(?![\w-]))"),
    ("aiza", _EDGE + r"()AIza[\w-]{20,}"),  # Google
    ("ya29.", _EDGE + r"()ya29\.[\w-]{20,}"),  # Google, OAuth
    # Groq, Hugging Face, Replicate, Fireworks
    ("gsk_ hf_ r8_ fw_", _EDGE + r"()(?:gsk|hf|r8|fw)_[A-Za-z0-9]{16,}"),
    # xAI, Perplexity, NVIDIA, Cerebras
    ("xai- pplx- nvapi- csk-", _EDGE + r"()(?:xai|pplx|nvapi|csk)-[\w-]{16,}"),
    (".", r"()[0-9a-f][0-9a-f]{31}\.[A-Za-z0-9]{16}\b"),  # Zhipu
    ("akia asia", _EDGE + r"()(?:AKIA|ASIA)[0-9A-Z]{16}\b"),  # AWS
    ("ghp_ gho_ ghu_ ghs_ ghr_", _EDGE + r"()gh[pousr]_[A-Za-z0-9]{20,}"),  # GitHub
    ("github_pat_", _EDGE + r"()github_pat_\w{20,}"),
    ("xox", _EDGE + r"()xox[abeoprs]-[\w-]{10,}"),  # Slack
    ("hooks.slack.com", r"(hooks\.slack\.com/)\w+/[\w/]{10,}"),
    ("eyj", _EDGE + r"()eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),  # a JSON web token
    ("private key-----", r"(PRIVATE KEY-----)[^-]{32,}"),
    # What an Authorization header carries, whatever it looks like; elsewhere these are words.
    ("authorization", rf"((?i:authorization{_IS}(?:bearer|basic|token)\s+)){_TOKEN}{{4,}}"),
    (
        "bearer basic",
        rf"\b((?i:bearer|basic)\s+)(?={_TOKEN}{{0,99}}\d){_TOKEN}{{16,}}",
    ),
    ("@", r"(://)[^\s/?#@:]{0,256}:[^\s/?#@]{0,512}(?=@)"),
    ("key= token= sig= signature=", rf"([?&](?i:{_PARAMETER})=)[^\s&#\"'<>\\]{{8,}}"),
    (
        "key secret token password authorization",
        rf"((?i:{_NAME}){_IS})(?={_TOKEN}{{0,99}}\d){_TOKEN}{{16,}}",
    ),
)
_COMPILED: Final = tuple(
    (tuple(literals.split()), re.compile(shape)) for literals, shape in _SHAPES
)


def mask_shapes(text: str) -> str:
    """Replace whatever looks like a credential with the mask.

    Args:
        text: Any text.

    Returns:
        The text with only the names, schemes and users that stood beside credentials.
    """
    lowered = text.lower()
    for literals, shape in _COMPILED:
        for literal in literals:
            if literal in lowered:
                text = shape.sub(_masked, text)
                break
    return text


def _masked(found: re.Match[str]) -> str:
    return found[1] + MASK
