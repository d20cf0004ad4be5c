"""A cell that follows a candidate at a learned speed, unit by unit."""

from keras import ops

from keras_rnn_ext.custom import GatedCell, Real, Weight, define_cell, layer_of


@define_cell("moving_average", "The page on cells of your own.", package="outside")
class MovingAverageCell(GatedCell):
    r"""One step of a moving average of candidates.

    $$h_t = h_{t-1} + \alpha \odot (\phi(x_t W + h_{t-1} U + b) - h_{t-1}), \quad \alpha = \rho\,\sigma(s)$$
    """

    gates = 1
    states = ("h",)
    summed = pure = True

    fastest = Real(1.0, "$\\rho$, the largest share of a step that is new", above=0, most=1)
    speed = Weight(("units",), "$s$", initializer="zeros")

    def gate(self, projected, recurrent, states, weights):
        share = self.fastest * ops.sigmoid(weights["speed"])
        hidden = states[0] + share * (self.activation(projected + recurrent) - states[0])
        return hidden, [hidden]


MovingAverage = layer_of(MovingAverageCell)
