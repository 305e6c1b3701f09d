"""Networks: one contract, four published architectures, and an adapter for library networks."""
