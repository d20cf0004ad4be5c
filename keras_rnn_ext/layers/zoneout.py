"""Zoneout: states of which a part stays as it is."""

import keras
from keras import ops

from keras_rnn_ext.core.argument_kinds import Seed
from keras_rnn_ext.core.recurrence import unwrapped
from keras_rnn_ext.core.registration import register
from keras_rnn_ext.layers.wrapper import CellWrapper, check_mixes, mask_shape, share, states_of


@register
class ZoneoutWrapper(CellWrapper):
    r"""A cell of whose states a random part stays as it is, step by step, in training.

    $$\begin{aligned}
    s_t &= d_t \odot s_{t-1} + (1 - d_t) \odot \tilde s_t, \quad d_t \sim \mathrm{Bernoulli}(z) & \text{in training} \\
    s_t &= z\,s_{t-1} + (1 - z)\,\tilde s_t & \text{otherwise}
    \end{aligned}$$

    with $\tilde s_t$ what the cell makes of the step and $z$ the rate. An output that is the first state, as that of an
    LSTM or GRU, is that state after the mixture. In `MyRNN` the cell keeps the fast way that it runs in. In
    `keras.layers.RNN` it works too, but for training on JAX, where no step of Keras's loop may draw random numbers.

    Args:
        cell: a cell, ours, Keras's or any that keeps Keras's contract, but no stack: wrap its cells instead.
        zoneout_h: rate in [0, 1) for the first state. Default 0.
        zoneout_c: rate in [0, 1) for the other states: one random mask for all of them. Default 0.
        seed: int, seed of the masks. Default None.
        name, dtype, trainable: as for every Keras layer.

    Call arguments:
        inputs: `(batch, features)`.
        states: the states of the cell.
        training: whether the masks are random. Default False.
        constants: for a cell that takes them. Default None.

    Returns:
        `(output, states)`, in the form of the cell's.

    Raises:
        ValueError: for a rate outside of [0, 1), a stack of cells, a rate for a state of which a mixture of two values
            means nothing (that of `SLSTMCell`, whose states have a common scale), or `zoneout_c` for one state alone.

    Source:
        Krueger et al. 2017, Zoneout: regularizing RNNs by randomly preserving hidden activations, arXiv 1606.01305.

    >>> import numpy as np
    >>> from keras_rnn_ext import MyLSTMCell, MyRNN
    >>> layer = MyRNN(ZoneoutWrapper(MyLSTMCell(4), zoneout_h=0.05, zoneout_c=0.5), return_sequences=True)
    >>> tuple(layer(np.zeros((2, 7, 3), "float32"), training=True).shape)
    (2, 7, 4)
    """

    def __init__(self, cell, zoneout_h=0.0, zoneout_c=0.0, seed=None, **kwargs):
        super().__init__(cell, **kwargs)
        zoneout_h, zoneout_c = share("zoneout_h", zoneout_h), share("zoneout_c", zoneout_c)
        seed = Seed().check("seed", seed)
        self.take(locals())
        if any(isinstance(wrapper, ZoneoutWrapper) for wrapper in unwrapped(cell)[0]):
            raise ValueError("Argument `cell` must not be a ZoneoutWrapper: give one wrapper both rates.")
        count, declared = states_of(cell)
        if zoneout_c and count == 1:
            raise ValueError(
                f"Argument `zoneout_c` is for states beside the first, and {type(unwrapped(cell)[1]).__name__} has one "
                f"state. Use `zoneout_h`. Received: zoneout_c={zoneout_c}"
            )
        check_mixes(cell, declared[:1], "zoneout_h", zoneout_h)
        check_mixes(cell, declared[1:], "zoneout_c", zoneout_c)
        self.seed_generator = keras.random.SeedGenerator(seed)

    @property
    def rates(self):
        """Those of the first state, and of the others."""
        return (self.zoneout_h, self.zoneout_c)

    @property
    def noisy(self):
        return any(self.rates)

    @property
    def draws_each_step(self):
        return any(self.rates)

    def mixes_states(self, noisy):
        return any(self.rates)

    def draw_mix(self, states, training, steps=None):
        leading, drawn, shares = () if steps is None else (steps,), {}, {}
        for place, state in enumerate(states):
            rate = self.rates[place > 0]
            if not rate:
                continue
            # One mask for states of one shape beside the first.
            shape = (*leading, *mask_shape(state))
            key = (place > 0, state.shape[-1], len(state.shape))
            if not training:
                drawn[key] = ops.full((*shape[:-1], 1), 1 - rate, dtype=state.dtype)
            elif key not in drawn:
                uniform = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
                drawn[key] = ops.cast(uniform >= rate, state.dtype)
            shares[str(place)] = drawn[key]
        return {"shares": shares} if shares else {}
