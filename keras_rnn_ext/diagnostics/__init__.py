"""What gradients, gates and states of recurrent layers do: measured, logged in training, drawn."""

from keras_rnn_ext.diagnostics.callback import RecurrentDiagnostics
from keras_rnn_ext.diagnostics.gradients import gradient_norms
from keras_rnn_ext.diagnostics.plots import plot_eigenvalues, plot_gradient_norms, plot_saturation
from keras_rnn_ext.diagnostics.saturation import Saturation, gate_saturation
from keras_rnn_ext.diagnostics.spectrum import Spectrum, lyapunov_exponents, spectrum, state_jacobians

__all__ = [
    # Measures
    "Saturation",
    "Spectrum",
    "gate_saturation",
    "gradient_norms",
    "lyapunov_exponents",
    "spectrum",
    "state_jacobians",
    # In training
    "RecurrentDiagnostics",
    # Pictures
    "plot_eigenvalues",
    "plot_gradient_norms",
    "plot_saturation",
]
