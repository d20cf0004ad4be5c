"""What the documentation of every recurrent layer says in the same words."""

from keras_rnn_ext.core.argument_kinds import Argument, Flag
from keras_rnn_ext.core.describe import section

LAYER_ARGUMENTS = {
    "return_sequences": Flag(False, "whether to give the outputs of all steps instead of the last valid one"),
    "return_state": Flag(False, "whether to give the last states as well"),
    "go_backwards": Flag(
        False,
        "whether to process the sequence from its end. Outputs (and the mask) stay in the order of processing",
    ),
    "stateful": Flag(
        False,
        "whether the states at the end of a batch are those that the next batch starts with. Needs a known batch size",
    ),
    "unroll": Argument(
        False,
        "True: one copy of the step for each time step; an int: that many steps per turn of the loop",
        annotation="bool | int",
    ),
    "zero_output_for_mask": Flag(
        False, "with `return_sequences`, zeros instead of the last valid output at masked steps"
    ),
    "time_major": Flag(False, "whether sequences, masks and outputs have time first, `(steps, batch, ...)`"),
    "save_states": Flag(False, "whether the states of a stateful layer are saved with the model"),
    "learned_initial_state": Flag(False, "whether the initial state is a trainable weight instead of what a cell says"),
    "recompute": Flag(
        False,
        "whether training keeps the states of the steps only, and computes again what the gradient needs besides: for "
        "long sequences, less memory for more time",
    ),
}

LAYER_SECTIONS = "\n\n".join(
    [
        section(
            "Call arguments",
            [
                "sequences: `(batch, steps, features)`; the number of steps may be unknown, and may be 0. A "
                "`tf.RaggedTensor` is taken on TensorFlow.",
                "initial_state: a tensor or a (nested) list of tensors in the form of `get_initial_state`. Default: "
                "that of the cell (zeros, as a rule), the carried states, or the learned ones.",
                "mask: `(batch, steps)` or `(batch, steps, 1)`, False or 0 where a step is to be left out. Default: "
                "the mask that comes with the sequences.",
                "training: whether dropout is on. Default: as the model is called, in training by `fit` alone.",
                "constants: handed on to a cell whose `call` has an argument `constants`.",
            ],
        ),
        section(
            "Returns",
            "The outputs, `(batch, steps, units)` with `return_sequences`, else the last valid one `(batch, units)`; "
            "with `return_state`, a tuple of that and the states.",
        ),
        section(
            "Raises",
            [
                "ValueError: naming the argument, for a cell without `call` or `state_size`, a mask or initial state "
                "of the wrong shape or number, a stateful layer with an unknown or changed batch size, `unroll=True` "
                "with an unknown number of steps.",
                "TypeError: for an initial state that is no tensor.",
            ],
        ),
    ]
)

_CELL = (
    "cell: a cell, or a list of cells, which are stacked. Ours, Keras's, or any object with `call(inputs, states)`, "
    "`state_size` and perhaps `output_size` and `get_initial_state(batch_size)`."
)


def with_layer_words(text):
    """The docstring of the layer for any cell: arguments and sections before its example."""
    words, mark, example = text.partition(">>> ")
    entries = [_CELL, *(argument.describe(name) for name, argument in LAYER_ARGUMENTS.items())]
    arguments = section("Args", [*entries, "name, dtype, trainable, activity_regularizer: as for every Keras layer."])
    indent = " " * 4
    added = "\n\n".join([arguments, LAYER_SECTIONS]).replace("\n", "\n" + indent).replace("\n" + indent + "\n", "\n\n")
    return f"{words}{added}\n\n{indent}{mark}{example}"
