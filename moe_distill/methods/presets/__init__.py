"""Published settings of the methods, one module each: plain data, importable without torch."""
