"""For tests of services that call models: ``FakeProvider``, and ``upstream``, a local HTTP server.

``upstream`` is a package of its own, since it needs aiohttp; this one does not.
"""

from .fake_provider import Cut, Delay, FakeProvider, RecordedCall

__all__ = ["Cut", "Delay", "FakeProvider", "RecordedCall"]
