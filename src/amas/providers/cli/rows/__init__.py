"""New rows for a configuration: `amas-providers init`, `providers add` and `providers catalog`.

Nothing here imports LiteLLM, except the check of a key.
"""
