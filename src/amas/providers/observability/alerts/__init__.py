"""Tells somebody when a provider, a key, a budget or the records need them, and when it is over."""

from .alert import Alert as Alert
from .delivery import Alerts as Alerts
from .delivery import Sender as Sender
from .webhook import Webhook as Webhook
