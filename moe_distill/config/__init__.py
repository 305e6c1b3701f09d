"""The configuration of a run: reading the command line, composing, and checking before anything is built."""
