"""The mixture: who the experts are, how they run together, and what keeps them apart."""
