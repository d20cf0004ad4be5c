"""The antisymmetric network of Chang et al. (2019)."""

from keras import ops

from keras_rnn_ext.custom import GatedCell, Real, define_cell, layer_of


@define_cell(
    "antisymmetric_rnn",
    "Chang, Chen, Haber, Chi 2019, AntisymmetricRNN: a dynamical system view on recurrent neural networks, arXiv "
    "1902.09689, section 3. The paper searches for $\\epsilon$, $\\gamma$ and the size of $U$ on each task; here $U$ "
    "starts orthogonal.",
    variants=({}, {"gamma": 0.3, "epsilon": 0.5}, {"use_bias": False}),
)
class AntisymmetricRNNCell(GatedCell):
    r"""One step of Euler's method for an equation that neither forgets nor explodes, but for a small diffusion.

    $$h_t = h_{t-1} + \epsilon\,\phi(x_t W + h_{t-1}\,(U - U^\top - \gamma I) + b)$$

    $W$ is the `kernel` `(features, units)`, $U$ the `recurrent_kernel` `(units, units)`, $b$ the `bias` `(units,)`.
    """

    gates = 1
    states = ("h",)
    summed = pure = True

    gamma = Real(0.01, "the strength of the diffusion", least=0)
    epsilon = Real(0.01, "the size of a step", above=0)

    def derive(self, weights):
        return {**weights, "recurrent_kernel": antisymmetric(weights["recurrent_kernel"], self.gamma)}

    def gate(self, projected, recurrent, states, weights):
        hidden = states[0] + self.epsilon * self.activation(projected + recurrent)
        return hidden, [hidden]


def antisymmetric(kernel, gamma):
    """`kernel - transpose(kernel) - gamma * identity`."""
    return kernel - ops.transpose(kernel) - gamma * ops.eye(kernel.shape[0], dtype=kernel.dtype)


AntisymmetricRNN = layer_of(AntisymmetricRNNCell)
