"""The long expressive memory of Rusch et al. (2022)."""

from keras import ops

from keras_rnn_ext.custom import Activation, KernelCell, Real, Weight, define_cell, layer_of, product


@define_cell(
    "lem",
    "Rusch, Mishra, Erichson, Mahoney 2022, Long expressive memory for sequence modeling, arXiv 2110.04744, equation "
    "3. The authors' code has the columns in the order $\\overline{\\Delta t}$, $\\Delta t$, y, z, and draws all "
    "weights uniformly within $1 / \\sqrt{units}$; here they start as in Keras.",
    variants=({}, {"dt": 0.3}, {"use_bias": False}),
)
class LEMCell(KernelCell):
    r"""One step of a long expressive memory: two states with steps of time that are learned.

    $$\begin{aligned}
    \Delta t_n &= \Delta t\,\sigma(x_n W_1 + y_{n-1} U_1 + b_1) \\
    \overline{\Delta t}_n &= \Delta t\,\sigma(x_n W_2 + y_{n-1} U_2 + b_2) \\
    z_n &= (1 - \Delta t_n) \odot z_{n-1} + \Delta t_n \odot \phi(x_n W_z + y_{n-1} U_z + b_z) \\
    y_n &= (1 - \overline{\Delta t}_n) \odot y_{n-1} + \overline{\Delta t}_n \odot \phi(x_n W_y + z_n U_y + b_y)
    \end{aligned}$$

    The output is $y_n$, the states are $[y_n, z_n]$. The columns of `kernel` and `bias` stand in the order 1, 2, z, y,
    those of `recurrent_kernel` `(units, 3 units)` in the order 1, 2, z; $U_y$ is the `output_recurrent_kernel`
    `(units, units)`. A step has two products, one after the other.
    """

    gates = 4
    recurrent_gates = 3
    states = ("y", "z")
    pure = True

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    dt = Real(1.0, "the longest step of time: $\\Delta t$", above=0)
    output_recurrent_kernel = Weight(("units", "units"), "$U_y$", initializer="orthogonal")

    def recur(self, projected, states, weights, noise):
        (output, memory), mask = states, noise.get("recurrent")
        gates, to_output = ops.split(projected, [3 * self.units], axis=-1)
        gates = gates + product(output, weights["recurrent_kernel"], mask)
        memory_step, output_step, candidate = ops.split(gates, 3, axis=-1)
        memory_step = self.dt * self.recurrent_activation(memory_step)
        output_step = self.dt * self.recurrent_activation(output_step)
        memory = memory + memory_step * (self.activation(candidate) - memory)
        candidate = self.activation(to_output + product(memory, weights["output_recurrent_kernel"], mask))
        output = output + output_step * (candidate - output)
        return output, [output, memory]


LEM = layer_of(LEMCell)
