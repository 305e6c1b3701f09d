"""Training of networks: batches, mixing, recipes, steps, and the Lightning modules around them."""
