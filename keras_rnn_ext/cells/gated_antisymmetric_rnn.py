"""The antisymmetric network with a gate, of Chang et al. (2019)."""

from keras import ops

from keras_rnn_ext.cells.antisymmetric_rnn import antisymmetric
from keras_rnn_ext.custom import Activation, GatedCell, Real, define_cell, layer_of


@define_cell(
    "gated_antisymmetric_rnn",
    "Chang, Chen, Haber, Chi 2019, AntisymmetricRNN: a dynamical system view on recurrent neural networks, arXiv "
    "1902.09689, section 3: the model with a gating mechanism. The paper searches for $\\epsilon$, $\\gamma$ and the "
    "size of $U$ on each task; here $U$ starts orthogonal.",
    variants=({}, {"gamma": 0.3, "epsilon": 0.5}, {"use_bias": False}),
)
class GatedAntisymmetricRNNCell(GatedCell):
    r"""One step of an antisymmetric network with a gate for its input, which shares the matrix of the states.

    $$\begin{aligned}
    r_t &= h_{t-1}\,(U - U^\top - \gamma I) \\
    z_t &= \sigma(x_t W_z + r_t + b_z) \\
    h_t &= h_{t-1} + \epsilon\,z_t \odot \phi(x_t W_h + r_t + b_h)
    \end{aligned}$$

    The columns of `kernel` `(features, 2 units)` and `bias` stand in the order z, h. $U$ is the `recurrent_kernel`
    `(units, units)`.
    """

    gates = 2
    recurrent_gates = 1
    states = ("h",)
    pure = True

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    gamma = Real(0.01, "the strength of the diffusion", least=0)
    epsilon = Real(0.01, "the size of a step", above=0)

    def derive(self, weights):
        return {**weights, "recurrent_kernel": antisymmetric(weights["recurrent_kernel"], self.gamma)}

    def gate(self, projected, recurrent, states, weights):
        input_gate, candidate = ops.split(projected, 2, axis=-1)
        change = self.recurrent_activation(input_gate + recurrent) * self.activation(candidate + recurrent)
        hidden = states[0] + self.epsilon * change
        return hidden, [hidden]


GatedAntisymmetricRNN = layer_of(GatedAntisymmetricRNNCell)
