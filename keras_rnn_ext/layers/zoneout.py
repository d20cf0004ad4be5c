"""Zoneout: states of which a part stays as it is."""

import keras
from keras import ops

from keras_rnn_ext.core.argument_kinds import Real, Seed
from keras_rnn_ext.core.arguments import Configured
from keras_rnn_ext.core.compat import DropoutRNNCell
from keras_rnn_ext.core.noise import blend_step
from keras_rnn_ext.core.recurrence import accepts, cell_output_size
from keras_rnn_ext.core.registration import register
from keras_rnn_ext.core.state import listed


@register
class ZoneoutWrapper(Configured, DropoutRNNCell, keras.layers.Layer):
    r"""A cell of whose states a random part stays as it is, step by step, in training.

    $$\begin{aligned}
    s_t &= d_t \odot s_{t-1} + (1 - d_t) \odot \tilde s_t, \quad d_t \sim \mathrm{Bernoulli}(z) & \text{in training} \\
    s_t &= z\,s_{t-1} + (1 - z)\,\tilde s_t & \text{otherwise}
    \end{aligned}$$

    with $\tilde s_t$ what the cell makes of the step and $z$ the rate. An output that is the first state, as that of an
    LSTM or GRU, is that state after the mixture. In `MyRNN` the cell keeps the fast way that it runs in. In
    `keras.layers.RNN` it works too; but on JAX that draws one mask for all steps.

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

    dropout = recurrent_dropout = 0.0

    def __init__(self, cell, zoneout_h=0.0, zoneout_c=0.0, seed=None, **kwargs):
        super().__init__(**kwargs)
        zoneout_h, zoneout_c = (
            Real(least=0, below=1).check(name, rate)
            for name, rate in (("zoneout_h", zoneout_h), ("zoneout_c", zoneout_c))
        )
        seed = Seed().check("seed", seed)
        self.take(locals())
        if isinstance(cell, keras.layers.StackedRNNCells):
            raise ValueError(
                "Argument `cell` must be one cell. For a stack, wrap each cell and stack the wrappers. "
                f"Received: cell={cell!r}"
            )
        if getattr(cell, "keeps_some", False):
            raise ValueError("Argument `cell` must not be a ZoneoutWrapper: give one wrapper both rates.")
        if not hasattr(cell, "call") or not hasattr(cell, "state_size"):
            raise ValueError(f"Argument `cell` must have `call` and `state_size`. Received: cell={cell!r}")
        names = getattr(cell, "state_names", None) or [""] * len(listed(cell.state_size))
        if zoneout_c and len(names) == 1:
            raise ValueError(
                f"Argument `zoneout_c` is for states beside the first, and {type(cell).__name__} has one state. Use "
                f"`zoneout_h`. Received: zoneout_c={zoneout_c}"
            )
        declared = cell.declared_states() if hasattr(cell, "declared_states") else []
        for own, name in ((declared[:1], "zoneout_h"), (declared[1:], "zoneout_c")):
            fixed = [state.name for state in own if not state.mixes]
            if fixed and getattr(self, name):
                raise ValueError(
                    f"Argument `{name}` must be 0 for {type(cell).__name__}: a mixture of two values of its states "
                    f"{fixed} means nothing. Received: {name}={getattr(self, name)}"
                )
        self.seed_generator = keras.random.SeedGenerator(seed)

    @property
    def keeps_some(self):
        """Whether this is what its class says, for `as_recurrence`: a subclass may have overridden the step."""
        return type(self).call is ZoneoutWrapper.call

    @property
    def rates(self):
        """Those of the first state, and of the others."""
        return (self.zoneout_h, self.zoneout_c)

    @property
    def noisy(self):
        """Whether training draws random numbers of the wrapper's own."""
        return any(self.rates)

    @property
    def state_size(self):
        """That of the cell."""
        return self.cell.state_size

    @property
    def output_size(self):
        """That of the cell."""
        return cell_output_size(self.cell)

    def get_initial_state(self, batch_size=None):
        """That of the cell."""
        own = getattr(self.cell, "get_initial_state", None)
        if own is not None:
            return own(batch_size=batch_size)
        return [ops.zeros((batch_size, *listed(size)), self.compute_dtype) for size in listed(self.state_size)]

    def build(self, input_shape):
        if isinstance(self.cell, keras.layers.Layer) and not self.cell.built:
            self.cell.build(input_shape)
            self.cell.built = True

    def draw_shares(self, states, training, steps=None):
        """How much of each state is new, by the place of the state: for one step, or for so many, which then lead."""
        leading, drawn, shares = () if steps is None else (steps,), {}, {}
        for place, state in enumerate(states):
            rate = self.rates[place > 0]
            if not rate:
                continue
            # One mask for states of one shape beside the first.
            shape = (*leading, ops.shape(state)[0], *(1 for _ in state.shape[2:]), state.shape[-1])
            key = (place > 0, state.shape[-1], len(state.shape))
            if not training:
                drawn[key] = ops.full((*shape[:-1], 1), 1 - rate, dtype=state.dtype)
            elif key not in drawn:
                uniform = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
                drawn[key] = ops.cast(uniform >= rate, state.dtype)
            shares[str(place)] = drawn[key]
        return shares

    def call(self, inputs, states, training=False):
        old = listed(states)
        run = self.cell if callable(self.cell) else self.cell.call
        output, new = run(inputs, old, **({"training": training} if accepts(self.cell, "training") else {}))
        output, new = blend_step(self.draw_shares(old, training), output, listed(new), old)
        return output, (new if isinstance(states, (list, tuple)) else new[0])

    # Keras draws the dropout masks of a cell before its loop, and forgets them behind it.

    def _of_cell(self, method, *arguments):
        own = getattr(self.cell, method, None)
        return None if own is None else own(*arguments)

    def get_dropout_mask(self, step_input):
        return self._of_cell("get_dropout_mask", step_input)

    def get_recurrent_dropout_mask(self, step_input):
        return self._of_cell("get_recurrent_dropout_mask", step_input)

    def reset_dropout_mask(self):
        self._of_cell("reset_dropout_mask")

    def reset_recurrent_dropout_mask(self):
        self._of_cell("reset_recurrent_dropout_mask")

    def get_config(self):
        return {**super().get_config(), "cell": keras.saving.serialize_keras_object(self.cell)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        cell = keras.saving.deserialize_keras_object(config["cell"], custom_objects=custom_objects)
        return cls(**{**config, "cell": cell})
