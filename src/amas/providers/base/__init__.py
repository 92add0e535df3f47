"""The interface of a provider, and the lifecycle that most of them share."""

from .provider_base import BaseProvider
from .provider_interface import ProviderBase, ProviderConfig

__all__ = ["BaseProvider", "ProviderBase", "ProviderConfig"]
