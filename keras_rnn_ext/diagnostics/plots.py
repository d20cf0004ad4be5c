"""Pictures of gradients, gates and spectra. All need matplotlib."""

import numpy as np


def _axes_or_new(axes):
    if axes is not None:
        return axes
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("The plots need matplotlib: python -m pip install matplotlib") from error
    return Figure(figsize=(6, 4), layout="constrained").subplots()


def plot_gradient_norms(norms, axes=None, state=0):
    """Draws the norm of a gradient against the lag, a line for each layer, on a logarithmic axis.

    Args:
        norms: a dict as `gradient_norms` gives.
        axes: matplotlib axes to draw on. Default: those of a new figure, `axes.figure`.
        state: which state of each layer: 0 for h, 1 for c of an LSTM; layers that lack it are left out. Default 0.

    Returns:
        The axes.

    Raises:
        ImportError: without matplotlib.
        ValueError: if no layer has a state of that number.

    >>> import numpy as np
    >>> axes = plot_gradient_norms({"rnn": np.array([[1.0, 0.5, 0.25]])})
    >>> axes.get_yscale()
    'log'
    """
    chosen = {name: each[state] for name, each in norms.items() if 0 <= state < len(each)}
    if not chosen:
        raise ValueError(
            f"Argument `state` must be the number of a state. Received: state={state!r}, and layers with "
            f"{ {name: len(each) for name, each in norms.items()} } states."
        )
    axes = _axes_or_new(axes)
    for name, each in chosen.items():
        # A logarithmic axis has no place for zero.
        axes.plot(np.where(each > 0, each, np.nan), marker="." if len(each) < 30 else "", label=name)
    axes.set(xlabel="lag, steps", ylabel="norm of the gradient by the state", yscale="log")
    axes.legend()
    return axes


def plot_saturation(saturation, axes=None):
    """Draws each unit of each gate as a point: how often it is open against how often it is shut.

    On the diagonal from top left to bottom right a unit is always one or the other; at the origin it is never
    saturated. As in Karpathy, Johnson, Li 2015, arXiv 1506.02078, figure 2.

    Args:
        saturation: a dict for one layer, as is in the dict that `gate_saturation` gives: gate to `Saturation`.
        axes: matplotlib axes to draw on. Default: those of a new figure, `axes.figure`.

    Returns:
        The axes.

    Raises:
        ImportError: without matplotlib.
        ValueError: if there is no gate.

    >>> import numpy as np
    >>> from keras_rnn_ext.diagnostics import Saturation
    >>> axes = plot_saturation({"forget_gate": Saturation(np.array([0.1, 0.2]), np.array([0.5, 0.8]))})
    >>> axes.get_xlabel()
    'share of steps near the lower end'
    """
    if not saturation:
        raise ValueError("Argument `saturation` must hold a gate. Received: none, as of a layer without limited ones.")
    axes = _axes_or_new(axes)
    for name, (left, right) in saturation.items():
        axes.scatter(left, right, s=14, alpha=0.6, label=name.replace("_", " "))
    axes.plot([0, 1], [1, 0], color="0.7", linewidth=0.8, zorder=0)
    axes.set(
        xlabel="share of steps near the lower end", ylabel="share of steps near the upper end", xlim=(-0.03, 1.03),
        ylim=(-0.03, 1.03),
    )  # fmt: skip
    axes.legend()
    return axes


def plot_eigenvalues(jacobians, axes=None, label=None):
    """Draws the eigenvalues of Jacobians in the complex plane, with the unit circle.

    Outside of the circle a step enlarges changes of the state, inside it lessens them.

    Args:
        jacobians: array `(..., size, size)`, one entry of the dict that `state_jacobians` gives.
        axes: matplotlib axes to draw on. Default: those of a new figure, `axes.figure`.
        label: of the points, for a legend. Default: none.

    Returns:
        The axes.

    Raises:
        ImportError: without matplotlib.
        ValueError: if `jacobians` are no square matrices.

    >>> import numpy as np
    >>> axes = plot_eigenvalues(np.eye(2))
    >>> axes.get_xlabel()
    'real part'
    """
    jacobians = np.asarray(jacobians)
    if jacobians.ndim < 2 or jacobians.shape[-1] != jacobians.shape[-2]:
        raise ValueError(f"Argument `jacobians` must be an array (..., size, size). Received: shape {jacobians.shape}.")
    axes = _axes_or_new(axes)
    values = np.linalg.eigvals(jacobians).ravel()
    axes.scatter(values.real, values.imag, s=10, alpha=0.6, label=label)
    angle = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(angle), np.sin(angle), color="0.5", linewidth=0.8, zorder=0)
    axes.set(xlabel="real part", ylabel="imaginary part", aspect="equal")
    if label is not None:
        axes.legend()
    return axes
