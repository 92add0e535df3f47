"""A local HTTP server that speaks the vendors' wire formats, with faults on demand.

    async with Upstream("alpha") as up:
        up.fault(status=503, times=2)
        ...  # point a client at up.url
        assert up.requests[0].vendor == "openai"

One server answers OpenAI's chat completions (and all who copy them), Azure, Anthropic's messages,
Ollama, Gemini, Vertex AI, Bedrock and Cohere, told apart by path. Nothing it does reaches beyond the machine.
"""

from __future__ import annotations

from .chat import ChatRequest, Message, Reply, Tool, ToolCall, Usage
from .faults import Fault
from .recording import RecordedRequest
from .server import Upstream
from .shell import parse_fault, serve
from .threaded import ThreadedUpstream

__all__ = [
    "ChatRequest",
    "Fault",
    "Message",
    "RecordedRequest",
    "Reply",
    "ThreadedUpstream",
    "Tool",
    "ToolCall",
    "Upstream",
    "Usage",
    "parse_fault",
    "serve",
]
