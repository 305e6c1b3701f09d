"""The stages: functions of built objects that meet through artifacts alone."""
