"""Content-addressed artifacts: keys, folders that are whole or not there, locks."""
