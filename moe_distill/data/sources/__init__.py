"""Where real images come from."""
