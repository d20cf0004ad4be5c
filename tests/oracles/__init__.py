"""NumPy oracles: one function `step` each, in float64, written from the paper and not from the layer.

`keras_rnn_ext.testing.oracle` runs them over time and differentiates them.
"""
