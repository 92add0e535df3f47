"""What the records of calls add up to: figures, findings, tables and charts. Pure."""
