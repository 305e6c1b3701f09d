"""What parameters take, said in their annotations, and whether a value fits."""
