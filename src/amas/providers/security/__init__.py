"""Keys at rest, masking, egress, access, isolation."""
