"""What is told to operators: logs; nothing is configured at import."""
