"""A chat request and its reply, free of any vendor's wire format."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from .schema import example_of

_QUOTE_LENGTH: Final = 80


@dataclass(frozen=True)
class Message:
    """One message of a conversation: its role, and its text parts joined."""

    role: str
    text: str


@dataclass(frozen=True)
class Tool:
    """A function the model may call, with the JSON schema of its arguments."""

    name: str
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ChatRequest:
    """What a client asks of the model; handed to a ``reply`` callable.

    Attributes:
        vendor: Wire format it came in.
        model: Model asked for.
        messages: The conversation, system prompt included, oldest first.
        tools: Functions the model may call.
        forced_tool: Name of the tool the client insists on, or None when the model may choose.
        json_schema: Schema the answer must conform to ({} for any JSON object), or None for text.
        stream: Whether a stream is wanted.
        include_usage: Whether a stream has to report usage (OpenAI's ``stream_options``).
        body: The request body as it was sent.
    """

    vendor: str
    model: str
    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    forced_tool: str | None = None
    json_schema: Mapping[str, Any] | None = None
    stream: bool = False
    include_usage: bool = False
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def last_user_text(self) -> str:
        """Text of the newest message of the user, or ""."""
        return next((m.text for m in reversed(self.messages) if m.role == "user"), "")

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt: the words of all messages, tool definitions not counted."""
        return sum(count_tokens(message.text) for message in self.messages)


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool by the model.

    Attributes:
        name: Name of the function.
        arguments: Its arguments; a str is sent as it stands, for arguments that are no JSON.
        id: Call id; made up when None.
    """

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    id: str | None = None

    @property
    def arguments_json(self) -> str:
        """The arguments as JSON text."""
        if isinstance(self.arguments, str):
            return self.arguments
        return json.dumps(self.arguments, ensure_ascii=False)

    @property
    def arguments_object(self) -> Any:
        """The arguments as an object, for formats that do not send them as text."""
        if not isinstance(self.arguments, str):
            return dict(self.arguments)
        try:
            return json.loads(self.arguments)
        except ValueError:
            return {}


@dataclass(frozen=True)
class Usage:
    """Tokens of one call."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Reply:
    """What the model says.

    Attributes:
        content: The text; None is sent as null, or left out where the format has no null.
        tool_calls: Calls of tools, in parallel when there is more than one.
        reasoning: Text of the reasoning, for formats that have a place for it.
        finish_reason: "stop", "length", "tool_calls" or "content_filter", in OpenAI's words; each
            format uses its own. "stop" with tool calls becomes "tool_calls".
        usage: Token counts; None counts words.
    """

    content: str | None
    tool_calls: Sequence[ToolCall] = ()
    reasoning: str | None = None
    finish_reason: str = "stop"
    usage: Usage | None = None


ReplySource = str | Callable[[ChatRequest], "str | Reply"] | None
"""Where replies come from: a fixed text, a function of the request, or None for the default."""


def count_tokens(text: str | None) -> int:
    """Count tokens: the words of a text, split at white space."""
    return len(text.split()) if text else 0


def split_words(text: str) -> list[str]:
    """Split a text into words with the space that follows them; joined they are the text."""
    return re.findall(r"\S+\s*|\s+", text)


def compose(chat: ChatRequest, source: ReplySource, name: str) -> Reply:
    """Decide what the model says.

    A callable has the last word. Otherwise a forced tool is called and a wanted JSON object is
    written, both with example values for the required properties of their schema (a fixed text
    that is a JSON object is used instead), and anything else is answered with the fixed text or
    "<name> says: <first 80 characters of the last user message>".

    Args:
        chat: The request.
        source: The upstream's ``reply`` setting.
        name: The upstream's name.

    Returns:
        The reply, with call ids, final finish reason and usage filled in.
    """
    if callable(source):
        answer = source(chat)
        reply = Reply(answer) if isinstance(answer, str) else answer
    else:
        reply = _default_reply(chat, source, name)
    calls = tuple(
        replace(call, id=call.id or f"call_{index:08d}")
        for index, call in enumerate(reply.tool_calls, start=1)
    )
    finish = "tool_calls" if calls and reply.finish_reason == "stop" else reply.finish_reason
    usage = reply.usage or Usage(chat.prompt_tokens, _completion_tokens(reply))
    return replace(reply, tool_calls=calls, finish_reason=finish, usage=usage)


def _default_reply(chat: ChatRequest, text: str | None, name: str) -> Reply:
    if chat.forced_tool is not None:
        schema = next((t.schema for t in chat.tools if t.name == chat.forced_tool), {})
        return Reply(None, [ToolCall(chat.forced_tool, _json_object(text) or example_of(schema))])
    if chat.json_schema is not None:
        given = _json_object(text)
        answer = given if given is not None else example_of(chat.json_schema) or {"answer": name}
        return Reply(json.dumps(answer, ensure_ascii=False))
    return Reply(
        text if text is not None else f"{name} says: {chat.last_user_text[:_QUOTE_LENGTH]}"
    )


def _json_object(text: str | None) -> dict[str, Any] | None:
    try:
        value = json.loads(text or "")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _completion_tokens(reply: Reply) -> int:
    arguments = (call.arguments_json for call in reply.tool_calls)
    return sum(map(count_tokens, (reply.content, reply.reasoning, *arguments)))
