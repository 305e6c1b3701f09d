"""Networks trained on real data, and where methods draw them from."""
