"""Requests straight to the wire: LiteLLM translates, our own connections carry.

``litellm.acompletion`` spends most of its time on what is switched off here anyway: logging,
caching, callbacks, and another SDK with its own models of every answer. What it knows of the
vendors lies in classes of its own, with documented methods; these are called here directly.

Only rows of the catalogue whose ``route`` a test has proven take this way: what is sent is
equal byte for byte to what ``litellm.acompletion`` sends, and so is what comes of the answer.
"""
