"""Shear of convergence on a flat sky, mode by mode, as all codes have it that are compared."""

import numpy as np


def phases(n, pixel):
    """Factors of both components of the shear, and `k^2` (one at the mean), on the half spectrum of `n` x `n` pixels [rad]."""
    modes = 2 * np.pi * np.fft.fftfreq(n, pixel)
    kx, ky = modes[None, : n // 2 + 1].copy(), modes[:, None]
    k2 = kx**2 + ky**2
    k2[0, 0] = 1
    first, second = (kx**2 - ky**2) / k2, 2 * kx * ky / k2
    first[0, 0] = second[0, 0] = 0
    second[n // 2, :] = second[:, n // 2] = 0
    return (first, second), k2
