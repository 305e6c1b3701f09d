"""Hydra finds the sources of :mod:`moe_distill.config.sources` here."""

from moe_distill.config.sources import LibrarySource, NamedOptions, OfferedSource, PluginSource

__all__ = ["LibrarySource", "NamedOptions", "OfferedSource", "PluginSource"]
