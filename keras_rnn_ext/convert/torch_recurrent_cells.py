"""Where weights stand in the cells of torchrecurrent 0.2.5, for those that compute what ours do."""

import numpy as np

from keras_rnn_ext.convert.layouts import Layout, Part, columns, reshaped, summed

_KERNEL = columns("kernel", "weight_ih", transposed=True)
_RECURRENT = columns("recurrent_kernel", "weight_hh", transposed=True)
_BIAS = summed("bias", "bias_ih", "bias_hh")
_USUAL = (_KERNEL, _RECURRENT, _BIAS)
_GATES = {"activation": "tanh", "recurrent_activation": "sigmoid"}


def _last_axis(weights):
    return weights["recurrent_kernel"].shape[-1]


def _partly_summed(ours, inner, *, names=("bias_ih", "bias_hh"), absent=""):
    """A bias with gates `ours`. `bias_hh` has the gates `inner` alone, and `bias_ih` all but `absent`."""
    outer = [gate for gate in ours if gate not in absent]
    first, second = names

    def read(arrays):
        width = len(arrays[first]) // len(outer)
        parts = dict.fromkeys(ours, np.zeros(width, arrays[first].dtype))
        for name, gates in ((first, outer), (second, inner)):
            if name in arrays:
                blocks = zip(gates, np.split(arrays[name], len(gates)), strict=True)
                parts |= {gate: parts[gate] + block for gate, block in blocks}
        return {"bias": np.concatenate([parts[gate] for gate in ours])}

    def write(weights):
        if "bias" not in weights:
            return {}
        parts = dict(zip(ours, np.split(weights["bias"], len(ours)), strict=True))
        _refuse(any(parts[gate].any() for gate in absent), "a bias where torchrecurrent has none")
        return {
            first: np.concatenate([parts[gate] for gate in outer]),
            second: np.concatenate([np.zeros_like(parts[gate]) for gate in inner]),
        }

    return Part(read, write)


def _refuse(is_so, what):
    if is_so:
        raise ValueError(f"There is {what}.")


def _read_multiplicative_bias(arrays):
    factor, rest = np.split(arrays["bias_ih"], [len(arrays["bias_ih"]) // 5])
    _refuse(factor.any() or arrays["bias_hh"].any(), "a bias of the product m, which is none in the paper and ours.")
    return {"bias": rest + arrays["bias_mh"]}


def _write_multiplicative_bias(weights):
    if "bias" not in weights:
        return {}
    nothing = np.zeros_like(weights["bias"][: len(weights["bias"]) // 4])
    whole = np.concatenate([nothing, weights["bias"]])
    return {"bias_ih": whole, "bias_hh": nothing, "bias_mh": np.zeros_like(weights["bias"])}


# By the name of their cell: the layout, and the arguments of our cell as (attribute of theirs, its default there).
LAYOUTS = {
    "AntisymmetricRNN": (
        Layout("antisymmetric_rnn", _USUAL),
        {"activation": ("act", "tanh"), "gamma": ("gamma", 0.0), "epsilon": ("epsilon", 1.0)},
    ),
    "FastGRNN": (
        Layout(
            "fast_grnn",
            (*_USUAL, reshaped("zeta", "zeta", (), (1,)), reshaped("nu", "nu", (), (1,))),
            expects={"kernel_rank": None, "recurrent_rank": None, "activation": "tanh"},
        ),
        {"recurrent_activation": ("act", "tanh")},
    ),
    "FastRNN": (
        Layout("fast_rnn", (*_USUAL, reshaped("alpha", "alpha", (), (1,)), reshaped("beta", "beta", (), (1,)))),
        {"activation": ("act", "tanh")},
    ),
    "GatedAntisymmetricRNN": (
        Layout("gated_antisymmetric_rnn", (_KERNEL, _RECURRENT, _partly_summed("zh", "h")), expects=_GATES),
        {"gamma": ("gamma", 0.0), "epsilon": ("epsilon", 1.0)},
    ),
    "IndRNN": (
        Layout("ind_rnn", (_KERNEL, reshaped("recurrent_kernel", "vector_u", (1, -1), (-1,)), _BIAS), units=_last_axis),
        {"activation": ("act", "tanh")},
    ),
    "JANET": (
        Layout(
            "janet",
            _USUAL,
            options=lambda weights, arrays: {"beta": float(arrays["beta"])},
            expects=_GATES,
            constants=lambda cell: {"beta": np.array(cell.beta, "float32")},
        ),
        {},
    ),
    "LiGRU": (
        Layout("li_gru", _USUAL, expects={"projected_inputs": False}),
        {"activation": ("act", "relu"), "recurrent_activation": ("gate_act", "sigmoid")},
    ),
    "MGU": (
        Layout("mgu", _USUAL),
        {"activation": ("act", "tanh"), "recurrent_activation": ("gate_act", "sigmoid")},
    ),
    "MinimalRNN": (
        Layout(
            "minimal_rnn",
            (
                _KERNEL,
                _RECURRENT,
                columns("latent_kernel", "weight_mm", transposed=True),
                columns("bias", "bias_ih", "bias_hh", optional=True),
            ),
        ),
        {"activation": ("act", "tanh"), "recurrent_activation": ("gate_act", "sigmoid")},
    ),
    "MultiplicativeLSTM": (
        Layout(
            "multiplicative_lstm",
            (
                columns("kernel", "weight_ih", ours="ifcom", theirs="mifco", transposed=True),
                _RECURRENT,
                columns("intermediate_kernel", "weight_mh", transposed=True),
                Part(_read_multiplicative_bias, _write_multiplicative_bias),
            ),
            expects=_GATES,
        ),
        {},
    ),
    "PeepholeLSTM": (
        Layout("peephole_lstm", (*_USUAL, reshaped("peephole_kernel", "weight_ph", (3, -1), (-1,)))),
        {"activation": ("act", "tanh"), "recurrent_activation": ("gate_act", "sigmoid")},
    ),
    "RAN": (
        Layout("ran", (_KERNEL, _RECURRENT, _partly_summed("cif", "if", absent="c")), expects=_GATES),
        {},
    ),
    "STAR": (
        Layout("star", (_KERNEL, _RECURRENT, _partly_summed("zk", "k")), expects=_GATES),
        {},
    ),
    "UGRNN": (
        Layout(
            "ugrnn",
            (
                columns("kernel", "weight_ih", ours="gc", theirs="cg", transposed=True),
                columns("recurrent_kernel", "weight_hh", ours="gc", theirs="cg", transposed=True),
                summed("bias", "bias_ih", "bias_hh", ours="gc", theirs="cg"),
            ),
            expects=_GATES,
        ),
        {},
    ),
    "UnICORNN": (
        Layout(
            "unicornn",
            (
                _KERNEL,
                reshaped("recurrent_kernel", "weight_hh", (1, -1), (-1,)),
                reshaped("time_scale", "weight_ch", (-1,), (-1,)),
                _BIAS,
            ),
            units=_last_axis,
            expects={"activation": "tanh"},
        ),
        {"dt": ("dt", 0.1), "alpha": ("alpha", 0.0)},
    ),
    "coRNN": (
        Layout(
            "co_rnn",
            (
                _KERNEL,
                Part(
                    lambda arrays: {"recurrent_kernel": np.concatenate([arrays["weight_hh"].T, arrays["weight_ch"].T])},
                    lambda weights: {
                        name: part.T
                        for name, part in zip(
                            ("weight_hh", "weight_ch"), np.split(weights["recurrent_kernel"], 2), strict=True
                        )
                    },
                ),
                summed("bias", "bias_ih", "bias_hh", "bias_ch"),
            ),
            units=_last_axis,
            expects={"activation": "tanh"},
        ),
        {"dt": ("dt", 0.1), "gamma": ("gamma", 1.0), "epsilon": ("epsilon", 1.0)},
    ),
}
# Cells of the same name that compute something else.
OTHERS = {
    "LEM": "its y takes the z of the step before, ours the new one, as in the paper",
    "NAS": "its fourth leaf adds the two products, ours multiplies them, as in the authors' code",
}
