"""Made by tools/make_stub.py."""

from collections.abc import Callable
from typing import Any, Literal

from keras_rnn_ext.cells.gru import MyGRUCell as MyGRUCell
from keras_rnn_ext.cells.lstm import MyLSTMCell as MyLSTMCell
from keras_rnn_ext.cells.simple_rnn import MySimpleRNNCell as MySimpleRNNCell
from keras_rnn_ext.core.layer import MyRNN as MyRNN
from keras_rnn_ext.core.made import RecurrentLayer as _RecurrentLayer
from keras_rnn_ext.core.stacked import MyStackedRNNCells as MyStackedRNNCells
from keras_rnn_ext.layers.bidirectional import MyBidirectional as MyBidirectional
from keras_rnn_ext.layers.dense import MyDense as MyDense
from keras_rnn_ext.layers.embedding import MyEmbedding as MyEmbedding
from keras_rnn_ext.layers.model_state import get_states as get_states
from keras_rnn_ext.layers.model_state import reset_states as reset_states
from keras_rnn_ext.layers.model_state import set_states as set_states

__version__: str
__all__ = [
    "MyGRUCell",
    "MyLSTMCell",
    "MySimpleRNNCell",
    "MyStackedRNNCells",
    "MyBidirectional",
    "MyGRU",
    "MyLSTM",
    "MyRNN",
    "MySimpleRNN",
    "MyDense",
    "MyEmbedding",
    "get_states",
    "reset_states",
    "set_states",
]

class MyGRU(_RecurrentLayer):
    def __init__(
        self,
        units: int,
        activation: str | dict[str, Any] | Callable[..., Any] | None = "tanh",
        recurrent_activation: str | dict[str, Any] | Callable[..., Any] | None = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: str | dict[str, Any] | Callable[..., Any] | None = "glorot_uniform",
        recurrent_initializer: str | dict[str, Any] | Callable[..., Any] | None = "orthogonal",
        bias_initializer: str | dict[str, Any] | Callable[..., Any] | None = "zeros",
        kernel_regularizer: str | dict[str, Any] | Callable[..., Any] | None = None,
        recurrent_regularizer: str | dict[str, Any] | Callable[..., Any] | None = None,
        bias_regularizer: str | dict[str, Any] | Callable[..., Any] | None = None,
        activity_regularizer: str | dict[str, Any] | Callable[..., Any] | None = None,
        kernel_constraint: str | dict[str, Any] | Callable[..., Any] | None = None,
        recurrent_constraint: str | dict[str, Any] | Callable[..., Any] | None = None,
        bias_constraint: str | dict[str, Any] | Callable[..., Any] | None = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool | int = False,
        reset_after: bool = True,
        use_cudnn: bool | Literal["auto"] = "auto",
        *,
        implementation: int = 2,
        zero_output_for_mask: bool = False,
        time_major: bool = False,
        save_states: bool = False,
        learned_initial_state: bool = False,
        recompute: bool = False,
        **kwargs: Any,
    ) -> None: ...

class MyLSTM(_RecurrentLayer):
    def __init__(
        self,
        units: int,
        activation: str | dict[str, Any] | Callable[..., Any] | None = "tanh",
        recurrent_activation: str | dict[str, Any] | Callable[..., Any] | None = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: str | dict[str, Any] | Callable[..., Any] | None = "glorot_uniform",
        recurrent_initializer: str | dict[str, Any] | Callable[..., Any] | None = "orthogonal",
        bias_initializer: str | dict[str, Any] | Callable[..., Any] | None = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: str | dict[str, Any] | Callable[..., Any] | None = None,
        recurrent_regularizer: str | dict[str, Any] | Callable[..., Any] | None = None,
        bias_regularizer: str | dict[str, Any] | Callable[..., Any] | None = None,
        activity_regularizer: str | dict[str, Any] | Callable[..., Any] | None = None,
        kernel_constraint: str | dict[str, Any] | Callable[..., Any] | None = None,
        recurrent_constraint: str | dict[str, Any] | Callable[..., Any] | None = None,
        bias_constraint: str | dict[str, Any] | Callable[..., Any] | None = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool | int = False,
        use_cudnn: bool | Literal["auto"] = "auto",
        *,
        implementation: int = 2,
        zero_output_for_mask: bool = False,
        time_major: bool = False,
        save_states: bool = False,
        learned_initial_state: bool = False,
        recompute: bool = False,
        **kwargs: Any,
    ) -> None: ...

class MySimpleRNN(_RecurrentLayer):
    def __init__(
        self,
        units: int,
        activation: str | dict[str, Any] | Callable[..., Any] | None = "tanh",
        use_bias: bool = True,
        kernel_initializer: str | dict[str, Any] | Callable[..., Any] | None = "glorot_uniform",
        recurrent_initializer: str | dict[str, Any] | Callable[..., Any] | None = "orthogonal",
        bias_initializer: str | dict[str, Any] | Callable[..., Any] | None = "zeros",
        kernel_regularizer: str | dict[str, Any] | Callable[..., Any] | None = None,
        recurrent_regularizer: str | dict[str, Any] | Callable[..., Any] | None = None,
        bias_regularizer: str | dict[str, Any] | Callable[..., Any] | None = None,
        activity_regularizer: str | dict[str, Any] | Callable[..., Any] | None = None,
        kernel_constraint: str | dict[str, Any] | Callable[..., Any] | None = None,
        recurrent_constraint: str | dict[str, Any] | Callable[..., Any] | None = None,
        bias_constraint: str | dict[str, Any] | Callable[..., Any] | None = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool | int = False,
        seed: int | None = None,
        *,
        zero_output_for_mask: bool = False,
        time_major: bool = False,
        save_states: bool = False,
        learned_initial_state: bool = False,
        recompute: bool = False,
        **kwargs: Any,
    ) -> None: ...
