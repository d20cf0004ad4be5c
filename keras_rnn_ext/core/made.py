"""Layers that make their cell themselves."""

import keras

from keras_rnn_ext.core.arguments import serialize
from keras_rnn_ext.core.layer import MyRNN
from keras_rnn_ext.core.twin import describe_layer, forward_arguments, layer_init


class RecurrentLayer(MyRNN):
    """Abstract: a layer that makes its cell itself. Signature and documentation are the cell's plus the layer's.

    class MyLSTM(RecurrentLayer, cell=MyLSTMCell, tail=("use_cudnn",))

    `tail` names the arguments that stand behind `unroll`, where Keras has them there.
    """

    takes_use_cudnn = False

    def __init_subclass__(cls, cell=None, tail=(), **kwargs):
        super().__init_subclass__(**kwargs)
        if cell is not None:
            cls.cell_class = cell
            cls.takes_use_cudnn = "use_cudnn" in tail
            cls.__init__ = layer_init(cls, cell, MyRNN, tail)
            cls.__doc__ = describe_layer(cls, cell, MyRNN)
            forward_arguments(cls, cell)

    def _make(self, own_cell, **options):
        if self.takes_use_cudnn:
            # Only where it is an argument: Keras asks for the attribute.
            self.use_cudnn = use_cudnn = options.pop("use_cudnn", "auto")
            if use_cudnn not in ("auto", True, False):
                raise ValueError(
                    "Invalid value received for argument `use_cudnn`. Expected one of 'auto', True, False. "
                    f"Received: use_cudnn={use_cudnn!r}"
                )
        MyRNN.__init__(self, own_cell, **options)
        self.input_spec = keras.InputSpec(ndim=3)

    def build(self, sequences_shape, initial_state_shape=None):
        super().build(sequences_shape, initial_state_shape)
        self.input_spec = keras.InputSpec(ndim=3, axes={-1: sequences_shape[-1]})

    def get_config(self):
        config = super().get_config()
        del config["cell"]
        config = {**self.cell.get_config(), **config}
        config["activity_regularizer"] = serialize("activity_regularizer", self.activity_regularizer)
        if getattr(self, "use_cudnn", "auto") != "auto":
            config["use_cudnn"] = self.use_cudnn
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)
