"""The cells of TensorFlow Addons, from the list that their `get_weights()` gives."""

import numpy as np

from keras_rnn_ext.convert.assembly import assemble, taken_apart
from keras_rnn_ext.convert.layouts import Layout, Part, columns, stacked

_KERNEL = columns("kernel", "kernel")
_RECURRENT = columns("recurrent_kernel", "recurrent_kernel")
_BIAS = columns("bias", "bias", optional=True)
_PEEPHOLES = ("input_gate_peephole_weights", "forget_gate_peephole_weights", "output_gate_peephole_weights")
_NORM_OFFSETS = ("kernel_norm/beta", "recurrent_norm/beta")


def _read_offsets(arrays):
    # Offsets of the inner norms and the bias are added to the same sum.
    found = [arrays[name] for name in (*_NORM_OFFSETS, "bias") if name in arrays]
    return {"bias": sum(found[1:], start=found[0])}


def _write_offsets(weights):
    bias = weights["bias"] if "bias" in weights else np.zeros_like(weights["kernel_gain"])
    return {"bias": bias, **{name: np.zeros_like(bias) for name in _NORM_OFFSETS}}


# By the name of their cell: the layout, and the order of `get_weights()` with all that is optional.
_LAYOUTS = {
    "ESNCell": (Layout("esn", (_KERNEL, _RECURRENT, _BIAS)), ("recurrent_kernel", "kernel", "bias")),
    "LayerNormLSTMCell": (
        Layout(
            "layer_norm_lstm",
            (
                _KERNEL,
                _RECURRENT,
                Part(_read_offsets, _write_offsets),
                columns("kernel_gain", "kernel_norm/gamma"),
                columns("recurrent_gain", "recurrent_norm/gamma"),
                columns("carry_gain", "state_norm/gamma"),
                columns("carry_offset", "state_norm/beta"),
            ),
            options=lambda weights, arrays: {"carry_normalized": True, "epsilon": 1e-3},
            expects={"carry_normalized": True},
        ),
        (
            *("kernel", "recurrent_kernel", "bias"),
            *(f"{norm}_norm/{part}" for norm in ("kernel", "recurrent", "state") for part in ("gamma", "beta")),
        ),
    ),
    "LayerNormSimpleRNNCell": (
        Layout("layer_norm_simple_rnn", (_KERNEL, _RECURRENT, _BIAS, columns("gain", "gamma"))),
        ("kernel", "recurrent_kernel", "bias", "gamma"),
    ),
    "NASCell": (
        Layout(
            "nas",
            (_KERNEL, _RECURRENT, _BIAS, columns("projection_kernel", "projection_weights", optional=True)),
            units=lambda weights: weights["recurrent_kernel"].shape[1] // 8,
            options=lambda weights, arrays: (
                {"projection": weights["projection_kernel"].shape[1]} if "projection_kernel" in weights else {}
            ),
        ),
        ("recurrent_kernel", "kernel", "bias", "projection_weights"),
    ),
    "PeepholeLSTMCell": (
        Layout("peephole_lstm", (_KERNEL, _RECURRENT, _BIAS, stacked("peephole_kernel", *_PEEPHOLES))),
        ("kernel", "recurrent_kernel", "bias", *_PEEPHOLES),
    ),
}


def from_tfa(weights, kind, *, return_sequences=True, return_state=False, batch_size=None, name=None, **options):
    """A layer with the weights of a cell of TensorFlow Addons.

    States of its NASCell stand in the order c, h there, and h, c here.

    Args:
        weights: the list that `get_weights()` of the cell gives, or of a `tf.keras.layers.RNN` around it.
        kind: `"LayerNormLSTMCell"`, `"LayerNormSimpleRNNCell"`, `"NASCell"`, `"PeepholeLSTMCell"` or `"ESNCell"`.
        return_sequences: whether to return the outputs of all steps. Default True.
        return_state: whether to return the last states as well. Default False.
        batch_size: int, that of the inputs; `stateful=True` needs it. Default None.
        name: of the layer.
        **options: arguments of our layer that differ from the defaults there: `activation`; `epsilon`, which is
            `norm_epsilon` or `layernorm_epsilon` there; `leak`, which is `leaky` of an ESNCell.

    Returns:
        A built `LayerNormLSTM`, `LayerNormSimpleRNN`, `NAS`, `PeepholeLSTM` or `ESN`. A LayerNormLSTM has
        `carry_normalized=True`, as what is carried on there is the normalised c.

    Raises:
        ValueError: for an unknown kind, or arrays of another number or shape.

    Source:
        TensorFlow Addons 0.23, tensorflow_addons/rnn.

    >>> import numpy as np
    >>> from keras_rnn_ext import convert
    >>> layer = convert.from_tfa([np.ones((2, 16)), np.ones((3, 16))], "NASCell")
    >>> layer.units, layer.use_bias
    (2, False)
    """
    layout, order = _layout_of(kind)
    values = [np.array(value) for value in weights]
    arrays = dict(zip(_names(kind, order, values), values, strict=True))
    return assemble(
        [[(layout, layout.read(arrays, "weights"))]],
        "weights",
        dropout=0.0,
        return_sequences=return_sequences,
        return_state=return_state,
        batch_size=batch_size,
        name=name,
        options=options,
    )


def _layout_of(kind):
    if kind not in _LAYOUTS:
        raise ValueError(f"Argument `kind` must be one of {sorted(_LAYOUTS)}. Received: kind={kind!r}")
    return _LAYOUTS[kind]


def _names(kind, order, values):
    """The names of arrays in a list from which optional ones may be absent."""
    shapes = [value.shape for value in values]
    candidates = [order, [name for name in order if name != "bias"]]
    if kind == "NASCell":
        # The last array is a matrix if there is a projection, and a vector if there is a bias alone.
        has_projection = len(shapes) > 2 and len(shapes[-1]) == 2
        candidates = [[name for name in each if has_projection or name != "projection_weights"] for each in candidates]
    for names in candidates:
        if len(names) == len(values):
            return names
    raise ValueError(
        f"Argument `weights` must hold {' or '.join(str(len(names)) for names in candidates)} arrays for {kind!r}: "
        f"{list(order)}, the bias where there is one. Received: {len(values)} arrays of the shapes {shapes}"
    )


def to_tfa(layer):
    """The weights of a layer as a cell of TensorFlow Addons takes them with `set_weights`.

    Args:
        layer: a built layer, of a kind that `from_tfa` gives. The options that are no weights, as `epsilon`, have to be
            given to the cell there.

    Returns:
        A list of arrays. A LayerNormLSTMCell gets all offsets in its bias.

    Raises:
        ValueError: if there is no counterpart.

    >>> from keras_rnn_ext import NAS, convert
    >>> layer = NAS(2)
    >>> layer.build((None, None, 3))
    >>> [array.shape for array in convert.to_tfa(layer)]
    [(2, 16), (3, 16), (16,)]
    """
    by_cell = {layout.row.cell: (layout, order) for layout, order in _LAYOUTS.values()}
    levels = taken_apart(layer)
    cell = levels[0][1][0]
    if len(levels) > 1 or len(levels[0][1]) > 1 or type(cell) not in by_cell:
        known = sorted(layout.row.layer.__name__ for layout, _ in _LAYOUTS.values())
        raise ValueError(
            f"Argument `layer` must be one of {known}. Received: {layer.name!r} with {type(cell).__name__}"
        )
    layout, order = by_cell[type(cell)]
    arrays = layout.write(cell)
    return [arrays[name] for name in order if name in arrays]
