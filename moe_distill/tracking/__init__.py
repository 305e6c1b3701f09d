"""Trackers, which show a run on a dashboard."""
