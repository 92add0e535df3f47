"""Keys at rest: `amas-providers keys`.

Keys are sealed into the configuration file, listed, and rotated. Nothing here imports
LiteLLM, except `rotate` for the check of the new key.
"""
