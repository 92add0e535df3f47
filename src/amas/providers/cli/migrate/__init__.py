"""The way over from the old service modules: `amas-providers migrate`.

`scan` reads a code base and says where it uses the old modules, vendors' SDKs and their
addresses; it imports and executes nothing of it. `config` writes a ``providers:`` section
from the variables that the old modules read.
"""
