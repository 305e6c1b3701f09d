"""How a run is configured: the command line, the configuration, and what is refused of either."""
