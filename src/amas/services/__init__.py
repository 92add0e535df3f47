"""The old services, alive on the provider layer; see MIGRATION.md."""
