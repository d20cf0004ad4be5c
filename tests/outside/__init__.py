"""A package of somebody else's, with a cell of its own: it uses public names of keras_rnn_ext alone."""
