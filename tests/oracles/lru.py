"""The linear recurrent unit of Orvieto et al. (2023), arXiv 2303.06349, with complex numbers as pairs of real ones.

Columns of the kernel and rows of the output kernel: first the real parts, then the imaginary ones.
"""

import numpy as np


def step(x, states, weights, options):
    (state,) = states
    real, imaginary = state[:, 0], state[:, 1]
    size, phase = np.exp(-np.exp(weights["nu_log"])), np.exp(weights["theta_log"])
    lambda_real, lambda_imaginary = size * np.cos(phase), size * np.sin(phase)
    b_real, b_imaginary = np.split(x @ weights["kernel"], 2, axis=-1)
    c_real, c_imaginary = np.split(weights["output_kernel"], 2)
    gamma = np.exp(weights["gamma_log"])
    real, imaginary = (
        lambda_real * real - lambda_imaginary * imaginary + gamma * b_real,
        lambda_real * imaginary + lambda_imaginary * real + gamma * b_imaginary,
    )
    output = real @ c_real - imaginary @ c_imaginary + x @ weights["skip_kernel"]
    return output, [np.stack([real, imaginary], axis=1)]
