"""Networks trained on real data that methods, measures and initialisers use."""
