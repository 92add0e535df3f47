"""A provider in a child process of its own: its crashes, hunger and curiosity stay there.

``provider`` is what the service holds, ``process`` the child as seen from it; ``child`` is
what runs over there, ``server`` how it answers. ``wire`` and ``portable`` are what both speak;
``landlock``, ``seccomp`` and ``hardening`` are what keeps the child in.
"""
