"""The closed-form continuous-time network of Hasani et al. (2022)."""

from keras import ops

from keras_rnn_ext.custom import (
    Activation,
    Choice,
    Flag,
    Integer,
    KernelCell,
    TimedInputs,
    Weight,
    define_cell,
    layer_of,
    product,
)


def lecun_tanh(values):
    """The hyperbolic tangent that is 1 at about 1 and -1 at about -1, of LeCun et al. (1998)."""
    return 1.7159 * ops.tanh(0.666 * values)


class _BackboneActivation(Activation):
    """An activation that may be `"lecun_tanh"`, which Keras does not know."""

    def check(self, name, value):
        return lecun_tanh if value in ("lecun_tanh", lecun_tanh) else super().check(name, value)

    def serialize(self, name, value):
        return "lecun_tanh" if value is lecun_tanh else super().serialize(name, value)


@define_cell(
    "cfc",
    "Hasani, Lechner, Amini, Liebenwein, Ray, Tschaikowski, Teschl, Rus 2022, Closed-form continuous-time neural "
    "networks, Nature Machine Intelligence 4, arXiv 2106.13898. The backbone has one layer and no dropout of its own; "
    "the candidates are squashed by tanh, as in the authors' PyTorch code. The mode `pure` is their code's too: the "
    "closed form of a liquid time constant, whose $w_\\tau$ starts as there in PyTorch, because zeros would have no "
    "gradient.",
    variants=(
        {"backbone_units": 3},
        {"backbone_units": 3, "mode": "no_gate", "timed": True},
        {"backbone_units": 3, "mode": "pure", "timed": True},
        {"backbone_units": 2, "timed": True, "activation": "tanh"},
        {"backbone_units": 3, "use_bias": False},
    ),
)
class CfCCell(TimedInputs, KernelCell):
    r"""One step of a network that is an approximate solution of a differential equation of time.

    $$\begin{aligned}
    [f_t, g_t, a_t, b_t] &= \phi(x_t W + h_{t-1} U + b)\,V + d, \quad
        s_t = \sigma(b_t - a_t\,\Delta t) \\
    h_t &= (1 - s_t) \odot \tanh f_t + s_t \odot \tanh g_t & \text{`"default"`} \\
    h_t &= \tanh f_t + s_t \odot \tanh g_t & \text{`"no_gate"`} \\
    h_t &= A - A \odot \exp(-(|w_\tau| + |f_t|)\,\Delta t) \odot f_t & \text{`"pure"`}
    \end{aligned}$$

    $\Delta t$ is 1; with `timed` it is the last feature of the inputs. `kernel`, `recurrent_kernel` and `bias` are
    those of the backbone. The columns of `head_kernel` $V$ and `head_bias` $d$ stand in the order f, g, a, b; there is
    f alone in the mode `"pure"`, which has `w_tau` and `amplitude` $A$.
    """

    states = ("h",)
    pure = True

    mode = Choice("default", ("default", "no_gate", "pure"), "which form the state has")
    backbone_units = Integer(128, "the size of the hidden layer")
    timed = Flag(False, "whether the last feature is the time since the step before")
    activation = _BackboneActivation("lecun_tanh", "$\\phi$")
    kernel = Weight(("data_features", "width"))
    recurrent_kernel = Weight(("units", "width"))
    head_kernel = Weight(("width", "head_width"), "$V$")
    head_bias = Weight(("head_width",), "$d$", initializer="zeros", when="use_bias")
    w_tau = Weight(("units",), "$w_\\tau$", when="is_direct")
    amplitude = Weight(("units",), "$A$", initializer="ones", when="is_direct")

    @property
    def is_direct(self):
        """Whether the mode is `"pure"`."""
        return self.mode == "pure"

    @property
    def width(self):
        return self.backbone_units

    @property
    def recurrent_width(self):
        return self.backbone_units

    @property
    def head_width(self):
        """How many columns `head_kernel` has."""
        return self.units if self.is_direct else 4 * self.units

    def recur(self, projected, states, weights, noise):
        projected, time = (projected[..., :-1], projected[..., -1:]) if self.timed else (projected, 1.0)
        recurrent = product(states[0], weights["recurrent_kernel"], noise.get("recurrent"))
        head = product(self.activation(projected + recurrent), weights["head_kernel"]) + weights.get("head_bias", 0.0)
        if self.is_direct:
            decay = ops.exp(-time * (ops.absolute(weights["w_tau"]) + ops.absolute(head)))
            hidden = weights["amplitude"] * (1.0 - decay * head)
            return hidden, [hidden]
        first, second, time_a, time_b = ops.split(head, 4, axis=-1)
        first, second, share = ops.tanh(first), ops.tanh(second), ops.sigmoid(time_b - time_a * time)
        hidden = first + share * (second if self.mode == "no_gate" else second - first)
        return hidden, [hidden]


CfC = layer_of(CfCCell)
