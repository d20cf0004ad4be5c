"""NumPy oracles: each a loop over time in float64, written from the paper and not from the layer."""
