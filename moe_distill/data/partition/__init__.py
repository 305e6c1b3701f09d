"""Which real images each expert sees."""
