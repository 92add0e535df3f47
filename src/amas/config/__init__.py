"""Settings of the host and the schema of the ``providers:`` section."""
