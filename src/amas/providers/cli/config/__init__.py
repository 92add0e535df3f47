"""``amas-providers config``: what a configuration says, and what it may say."""
