"""Sets of other programs, read and written."""
