"""The picture of `gradient_flow.py`."""

import argparse
from typing import Any

import numpy as np

from keras_rnn_ext.diagnostics import plot_eigenvalues, plot_gradient_norms

COLORS = {
    "no clipping": "tab:red",
    "by value": "tab:orange",
    "by norm": "tab:purple",
    "by global norm": "tab:green",
}


def draw_clipping(size: Any, curve: Any, options: argparse.Namespace, compared: dict, curves: dict) -> None:
    """Size and direction of the first step, and the training."""
    names = list(compared)[::-1]
    size.barh(names, [compared[name]["norm"] for name in names], color=[COLORS[name] for name in names])
    for place, name in enumerate(names):
        cosine = compared[name]["cosine_with_gradient"]
        size.text(1.1 * compared[name]["norm"], place, f"cosine {cosine:.2f}", va="center")
    norms = [each["norm"] for each in compared.values()]
    size.set(
        xlim=(min(norms) / 3, max(norms) * 6),
        xscale="log",
        xlabel="norm of the first step, over the learning rate",
        title="Clipping: size and direction",
    )
    for name, losses in curves.items():
        shown = np.asarray(losses, "float64")
        label = name if np.isfinite(shown).all() else f"{name}: no number any more at step {len(shown)}"
        style = ".-" if len(shown) < 9 else "-"
        curve.plot(np.arange(1, len(shown) + 1), shown, style, color=COLORS[name], linewidth=0.8, label=label)
    curve.axhline(1 / 6, color="0.5", linestyle=":", linewidth=1, label="always answering 1")
    curve.set(yscale="log", xlabel="step", ylabel="loss of a batch", title="Clipping: training")
    curve.legend(fontsize="small")


def draw(figure: Any, options: argparse.Namespace, reach: dict, jacobians: dict, clipping: tuple, deep: dict) -> None:
    """Six panels: reach and spectra, clipping, depth."""
    panels = figure.subplots(2, 3).ravel()
    plot_gradient_norms(reach, panels[0])
    lowest = max(1e-8, min(each[0].min() for each in reach.values()))
    panels[0].set(
        title="Reach: by lag, over that of lag 0", ylabel="norm of the gradient by h", ylim=(lowest / 3, None)
    )
    for label, each in jacobians.items():
        plot_eigenvalues(each[:: max(1, options.steps // 5)], panels[3], label=label)
    panels[3].set(title="Reach: eigenvalues of some steps' Jacobians")
    draw_clipping(panels[1], panels[4], options, *clipping)
    for name, color in (("plain", "tab:blue"), ("residual", "tab:green")):
        depths = range(1, options.depth + 1)
        panels[2].plot(depths, deep[name]["by_depth"], "o-", color=color, label=f"{name}, by h at lag 0")
        panels[2].plot(depths, deep[name]["of_weights_by_depth"], "s:", color=color, label=f"{name}, by the weights")
        panels[5].plot(deep[name]["top_by_lag"], "--", color=color, label=f"{name}, top layer")
        panels[5].plot(deep[name]["bottom_by_lag"], "-", color=color, label=f"{name}, bottom layer")
    panels[2].set(
        yscale="log", xlabel="layer, 1 is next to the input", title="Depth: by layer", ylabel="norm of the gradient"
    )
    panels[5].set(yscale="log", xlabel="lag, steps", title="Depth: by lag", ylabel="norm of the gradient by h")
    for axes in (panels[0], panels[2], panels[3], panels[5]):
        axes.legend(fontsize="small")
