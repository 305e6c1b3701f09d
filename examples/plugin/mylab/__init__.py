"""Our own parts for moe_distill."""
