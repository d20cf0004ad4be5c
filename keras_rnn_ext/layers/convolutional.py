"""Recurrent layers over sequences of images: of signals, pictures or volumes, with 1, 2 or 3 axes."""

import inspect
import types

import keras
from keras import ops

from keras_rnn_ext.cells.gru import MyGRUCell
from keras_rnn_ext.cells.lstm import MyLSTMCell
from keras_rnn_ext.cells.peephole_lstm import PeepholeLSTMCell
from keras_rnn_ext.cells.simple_rnn import MySimpleRNNCell
from keras_rnn_ext.core.argument_kinds import Flag
from keras_rnn_ext.core.convolutional import ConvolutionalCell
from keras_rnn_ext.core.declare import Weight
from keras_rnn_ext.core.recurrent_layer import RecurrentLayer
from keras_rnn_ext.core.registration import register
from keras_rnn_ext.layers.convolutional_words import describe_cell, describe_layer


class ConvLSTMCell(ConvolutionalCell, MyLSTMCell, abstract=True):  # type: ignore[misc]
    r"""One step of a convolutional LSTM.

    $$\begin{aligned}
    i_t &= \sigma(x_t * W_i + h_{t-1} * U_i + b_i) \\
    f_t &= \sigma(x_t * W_f + h_{t-1} * U_f + b_f) \\
    g_t &= \phi(x_t * W_c + h_{t-1} * U_c + b_c) \\
    o_t &= \sigma(x_t * W_o + h_{t-1} * U_o + b_o) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    h_t &= o_t \odot \phi(c_t)
    \end{aligned}$$

    with $*$ a convolution. The parts of `kernel` `(*kernel_size, channels, 4 filters)`, `recurrent_kernel`
    `(*kernel_size, filters, 4 filters)` and `bias` `(4 filters,)` stand in the order i, f, c, o. $\phi$ is the
    `activation`, $\sigma$ the `recurrent_activation`. The output is $h_t$, the states are $[h_t, c_t]$.
    """

    pure = True
    source = (
        "Shi, Chen, Wang, Yeung, Wong, Woo 2015, Convolutional LSTM network: a machine learning approach for "
        "precipitation nowcasting, arXiv 1506.04214, equations 3, as Keras has them: without its peepholes, which "
        "`ConvPeepholeLSTM2D` has. The bias of the forget gate starts at one."
    )


class ConvPeepholeLSTMCell(ConvolutionalCell, PeepholeLSTMCell, abstract=True):
    r"""One step of a convolutional LSTM whose gates see the carry.

    $$\begin{aligned}
    i_t &= \sigma(x_t * W_i + h_{t-1} * U_i + p_i \odot c_{t-1} + b_i) \\
    f_t &= \sigma(x_t * W_f + h_{t-1} * U_f + p_f \odot c_{t-1} + b_f) \\
    g_t &= \phi(x_t * W_c + h_{t-1} * U_c + b_c) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    o_t &= \sigma(x_t * W_o + h_{t-1} * U_o + p_o \odot c_t + b_o) \\
    h_t &= o_t \odot \phi(c_t)
    \end{aligned}$$

    with $*$ a convolution. The parts of `kernel`, `recurrent_kernel` and `bias` stand in the order i, f, c, o, those of
    `peephole_kernel` `(3, *size, filters)` in the order i, f, o: each position has its own peepholes.
    """

    pure = True
    source = (
        "Shi, Chen, Wang, Yeung, Wong, Woo 2015, Convolutional LSTM network: a machine learning approach for "
        "precipitation nowcasting, arXiv 1506.04214, equations 3. Beyond it: the bias of the forget gate starts at one."
    )
    peephole_kernel = Weight(
        lambda cell: (3, *cell.split_image(cell.output_size)[0], cell.filters),
        "what the gates see of the carry",
        by_row=True,
        initializer="zeros",
    )


class ConvGRUCell(ConvolutionalCell, MyGRUCell, abstract=True):  # type: ignore[misc]
    r"""One step of a convolutional GRU.

    $$\begin{aligned}
    z_t &= \sigma(x_t * W_z + h_{t-1} * U_z + b_z + b'_z) \\
    r_t &= \sigma(x_t * W_r + h_{t-1} * U_r + b_r + b'_r) \\
    g_t &= \phi(x_t * W_h + b_h + (r_t \odot h_{t-1}) * U_h) & \text{by default} \\
    g_t &= \phi(x_t * W_h + b_h + r_t \odot (h_{t-1} * U_h + b'_h)) & \text{if reset\_after} \\
    h_t &= z_t \odot h_{t-1} + (1 - z_t) \odot g_t
    \end{aligned}$$

    with $*$ a convolution. The parts of `kernel`, `recurrent_kernel` and `bias` stand in the order z, r, h. With
    `reset_after` the `bias` is `(2, 3 filters)`: $b$, then $b'$; without it is `(3 filters,)` and there is no $b'$.
    """

    pure = True
    source = (
        "Ballas, Yao, Pal, Courville 2016, Delving deeper into convolutional networks for learning video "
        "representations, arXiv 1511.06432, its GRU-RCN, with $z$ and $1 - z$ exchanged, as in `MyGRU`. Beyond it: "
        "biases, and `reset_after`."
    )
    reset_after = Flag(
        False,
        "whether the reset gate acts behind the convolution, which is then one a step instead of two",
        after="recurrent_dropout",
    )

    def derive(self, weights):
        weights = super().derive(weights)
        if self.reset_after:
            return weights
        gates, candidate = ops.split(weights["recurrent_kernel"], [2 * self.filters], axis=-1)
        return {**weights, "recurrent_kernel": gates, "candidate_kernel": candidate}

    def recur(self, projected, states, weights, noise):
        if self.reset_after:
            return super().recur(projected, states, weights, noise)
        previous, masks = self.entering(states), noise.get("recurrent")
        of_gates, of_candidate = (None, None) if masks is None else (masks[:2], masks[2:])
        gates, candidate = ops.split(projected, [2 * self.filters], axis=-1)
        gates = gates + self.convolve(previous, weights["recurrent_kernel"], of_gates, padding="same")
        update_gate, reset_gate = ops.split(self.recurrent_activation(gates), 2, axis=-1)
        reset = self.outward(reset_gate) * previous
        candidate = candidate + self.convolve(reset, weights["candidate_kernel"], of_candidate, padding="same")
        update_gate, candidate = self.outward(update_gate), self.outward(self.activation(candidate))
        hidden = update_gate * previous + (1 - update_gate) * candidate
        return hidden, [hidden]


class ConvSimpleRNNCell(ConvolutionalCell, MySimpleRNNCell, abstract=True):
    r"""One step of a fully recurrent network of convolutions.

    $$h_t = \phi(x_t * W + h_{t-1} * U + b)$$

    with $*$ a convolution and $\phi$ the `activation`. The output and the one state are $h_t$.
    """

    pure = True
    source = "Elman 1990, doi 10.1207/s15516709cog1402_1, with convolutions in the place of both products."


class ConvolutionalLayer(RecurrentLayer):
    """Abstract: a layer that makes its cell itself, a `ConvolutionalCell`.

    class ConvCoupledLSTM2D(ConvolutionalLayer, cell=ConvCoupledLSTM2DCell)
    """

    def __init_subclass__(cls, cell=None, **options):
        words = cls.__doc__
        super().__init_subclass__(cell=cell, **options)
        if cell is not None:
            cls.__doc__ = describe_layer(cls, cell, words)

    def _make(self, own_cell, **options):
        super()._make(own_cell, **options)
        self.input_spec = keras.InputSpec(ndim=own_cell.rank + 3)

    def build(self, sequences_shape, initial_state_shape=None):
        super().build(sequences_shape, initial_state_shape)
        self.state_size = list(self.cell.state_size)
        image = dict(enumerate(sequences_shape[2:], start=2))
        self.input_spec = keras.InputSpec(ndim=len(sequences_shape), axes=image)

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        # Keras tells the shape before the layer is built, too.
        batch, steps = self._batch_and_steps(sequences_shape)
        state, _ = self.cell.compute_output_shape((batch, *sequences_shape[2:]))
        if self.return_sequences:
            output = (steps, *state) if self.time_major else (batch, steps, *state[1:])
        else:
            output = state
        return (output, *(state for _ in self.state_size)) if self.return_state else output


def _by_rank(kind, name):
    """The cells for images of 1, 2 and 3 axes, then their layers, as classes of this module."""
    cells, layers = [], []
    for rank in (1, 2, 3):
        own_name = f"{name}{rank}D"
        axes = "1 axis" if rank == 1 else f"{rank} axes"
        cell = _class(f"{own_name}Cell", kind, rank=rank)
        cell.own_words = inspect.cleandoc(kind.__doc__).replace(".", f", over images of {axes}.", 1)
        cell.__doc__ = describe_cell(cell)
        twin = getattr(keras.layers, own_name.removeprefix("My"), None)
        words = f"`{cell.__name__}` over a sequence." + (
            f" Drop-in for `keras.layers.{twin.__name__}`." if twin is not None else ""
        )
        cells.append(cell)
        layers.append(_class(own_name, ConvolutionalLayer, {"cell": cell}, __doc__=words))
    return (*cells, *layers)


def _class(name, base, options=None, **body):
    body |= {"__module__": __name__, "__qualname__": name}
    return register(types.new_class(name, (base,), options, lambda space: space.update(body)))


# The cells and layers by name, which are names of this module as well.
CONVOLUTIONAL = {
    each.__name__: each
    for kind, name in (
        (ConvLSTMCell, "MyConvLSTM"),
        (ConvPeepholeLSTMCell, "ConvPeepholeLSTM"),
        (ConvGRUCell, "ConvGRU"),
        (ConvSimpleRNNCell, "ConvSimpleRNN"),
    )
    for each in _by_rank(kind, name)
}
globals().update(CONVOLUTIONAL)
