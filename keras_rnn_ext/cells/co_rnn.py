"""The coupled oscillatory network of Rusch and Mishra (2021)."""

from keras_rnn_ext.custom import Dense, GatedCell, Real, define_cell, layer_of


@define_cell(
    "co_rnn",
    "Rusch, Mishra 2021, Coupled oscillatory recurrent neural network, arXiv 2010.00951, equation 3 in its explicit "
    "form, which the authors' code has. Defaults are theirs for sequential MNIST; for adding they are 0.06, 66 and "
    "15, for IMDB 0.054, 4.9 and 4.8. The code has the rows of the recurrent kernel in the order z, y.",
    variants=({}, {"dt": 0.3, "gamma": 1.0, "epsilon": 0.5}, {"use_bias": False}),
)
class CoRNNCell(GatedCell):
    r"""One step of a network of coupled, damped and driven oscillators.

    $$\begin{aligned}
    z_t &= z_{t-1} + \Delta t\,(\phi(x_t W + [y_{t-1}, z_{t-1}]\,U + b) - \gamma y_{t-1} - \epsilon z_{t-1}) \\
    y_t &= y_{t-1} + \Delta t\,z_t
    \end{aligned}$$

    The output is the position $y_t$, the states are $[y_t, z_t]$. The rows of `recurrent_kernel` `(2 units, units)`
    stand in the order y, z.
    """

    gates = 1
    states = ("y", "z")
    summed = pure = True
    recurrence = Dense("y", "z")

    dt = Real(0.042, "a step of time", above=0)
    gamma = Real(2.7, "the frequency of an oscillator, squared", above=0)
    epsilon = Real(4.7, "its damping", least=0)

    def gate(self, projected, recurrent, states, weights):
        position, velocity = states
        force = self.activation(projected + recurrent) - self.gamma * position - self.epsilon * velocity
        velocity = velocity + self.dt * force
        position = position + self.dt * velocity
        return position, [position, velocity]


CoRNN = layer_of(CoRNNCell)
