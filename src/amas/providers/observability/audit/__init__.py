"""The audit trail: what happened, in files that show when something in them was altered."""
