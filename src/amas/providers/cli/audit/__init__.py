"""`amas-providers audit`: proves, shows and finds what was recorded.

Only ``app`` is imported with the command; the rest waits until it is needed.
"""
