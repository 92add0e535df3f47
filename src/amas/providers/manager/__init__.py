"""Which provider is asked, what happens when it fails, and how all of them are doing."""
