"""The Legendre memory unit of Voelker, Kajić and Eliasmith (2019)."""

import functools

import numpy as np
from keras import ops

from keras_rnn_ext.custom import Dense, GatedCell, Integer, Real, State, Weight, define_cell, layer_of


class _DropoutOfHidden(Dense):
    """$[h, m]\\,U$ where dropout acts on $h$ alone: what it took from the memory would be lost for all time.

    Args:
        units: the size of $h$.
    """

    takes_parts = False

    def __init__(self, units, *reads):
        super().__init__(*reads)
        self._units = units

    def multiply(self, values, weights, noise):
        return super().multiply(values, weights, self._of_hidden(noise))

    def back(self, gradient, transposed, noise):
        return super().back(gradient, transposed, self._of_hidden(noise))

    def _of_hidden(self, noise):
        if noise is None:
            return None
        return ops.concatenate([noise[..., : self._units], ops.ones_like(noise[..., self._units :])], axis=-1)


@define_cell(
    "lmu",
    "Voelker, Kajić, Eliasmith 2019, Legendre memory units: continuous-time representation in recurrent neural "
    "networks, NeurIPS 32, with a zero-order hold. The start of the weights is that of the authors' first "
    "code. $\\bar A$ and $\\bar B$ are not trained. Recurrent dropout acts on $h$ alone. The memory stays in float32 "
    "where a layer computes in 16 bits.",
    variants=({}, {"order": 3, "theta": 4.0, "activation": "softsign"}),
)
class LMUCell(GatedCell):
    r"""One step of a network with a memory of the last `theta` steps of one signal $u$, as Legendre polynomials.

    $$\begin{aligned}
    u_t &= x_t e_x + h_{t-1} e_h + m_{t-1} e_m \\
    m_t &= m_{t-1} \bar A^\top + u_t \bar B^\top \\
    h_t &= \phi(x_t W_x + h_{t-1} W_h + m_t W_m)
    \end{aligned}$$

    $\bar A = e^{A / \theta}$ and $\bar B = A^{-1} (\bar A - I) B$, with $A_{ij} = -(2i + 1)$ for $i < j$, else
    $(2i + 1)(-1)^{i-j+1}$, and $B_i = (2i + 1)(-1)^i$, counted from 0. $W_x$ is `kernel`, $W_h$ `recurrent_kernel`,
    $W_m$ `memory_kernel` `(order, units)`; $e_x$, $e_h$, $e_m$ are `input_encoder`, `hidden_encoder` and
    `memory_encoder`, matrices of one column. All this is multiplied out once for a sequence: a step is one product.
    """

    gates = 1
    states = ("h", State("m", "order", wide=True))
    summed = pure = True
    bias = None

    order = Integer(8, "how many polynomials the memory has")
    theta = Real(100.0, "$\\theta$, how many steps the memory reaches back", above=0)
    kernel = Weight(("features", "units"), initializer="glorot_normal")
    recurrent_kernel = Weight(("units", "units"), initializer="glorot_normal")
    memory_kernel = Weight(("order", "units"), "$W_m$", initializer="glorot_normal")
    input_encoder = Weight(("features", 1), "$e_x$", initializer="lecun_uniform")
    hidden_encoder = Weight(("units", 1), "$e_h$", initializer="lecun_uniform")
    memory_encoder = Weight(("order", 1), "$e_m$", initializer="zeros")

    @property
    def recurrence(self):
        """How the states enter."""
        return _DropoutOfHidden(self.units, "h", "m")

    @property
    def projected_width(self):
        return self.units + self.order

    @property
    def recurrent_width(self):
        return self.units + self.order

    def derive(self, weights):
        decay, signal = (ops.cast(each, self.compute_dtype) for each in _changes(self.order, self.theta))
        # What is added to the memory, for each row of what enters.
        into = ops.matmul(ops.concatenate([weights["hidden_encoder"], weights["memory_encoder"]]), signal)
        into = into + ops.concatenate([ops.zeros_like(into[: self.units]), decay])
        from_inputs = ops.matmul(weights["input_encoder"], signal)
        kernel = weights["kernel"] + ops.matmul(from_inputs, weights["memory_kernel"])
        direct = ops.concatenate([weights["recurrent_kernel"], weights["memory_kernel"]])
        recurrent = direct + ops.matmul(into, weights["memory_kernel"])
        return {
            "kernel": ops.concatenate([kernel, from_inputs], axis=-1),
            "recurrent_kernel": ops.concatenate([recurrent, into], axis=-1),
        }

    def gate(self, projected, recurrent, states, weights):
        hidden, change = ops.split(projected + recurrent, [self.units], axis=-1)
        hidden = self.activation(hidden)
        return hidden, [hidden, states[1] + ops.cast(change, states[1].dtype)]


@functools.cache
def _changes(order, theta):
    """$(\\bar A - I)^\\top$ and $\\bar B^\\top$: what a step adds to the memory, for a memory and for a signal."""
    row, column = np.mgrid[:order, :order]
    matrix = (2 * row + 1.0) * np.where(row < column, -1.0, (-1.0) ** (row - column + 1))
    signal = (2.0 * np.arange(order) + 1.0) * (-1.0) ** np.arange(order)
    halvings = max(0, int(np.ceil(np.log2(np.abs(matrix).sum(axis=1).max() / theta))) + 2)
    small = matrix / (theta * 2.0**halvings)
    term = change = small
    for degree in range(2, 20):
        term = term @ small / degree
        change = change + term
    for _ in range(halvings):
        # (I + C)^2 = I + 2 C + C^2, without the digits that adding I would cost.
        change = 2.0 * change + change @ change
    return change.T, np.linalg.solve(matrix, change @ signal)[None]


LMU = layer_of(LMUCell)
