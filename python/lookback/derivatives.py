"""Values and derivatives of operators as plain functions of numpy arrays."""

import numpy as np


def _flat(x):
    return np.ascontiguousarray(x, dtype=np.float64).ravel()


def simulate(operator, *parts):
    """The value ``F(x)`` of an operator at ``x``, given in one array or in several that follow each other.

    >>> kappa = simulate(cone, modes, [0.31, 0.81])  # modes, then omega_m and sigma8
    """
    return operator(np.concatenate([_flat(part) for part in parts]))


def vjp(operator, x, cotangent):
    """``(F(x), J^T cotangent)``: reverse mode, the gradient of ``<cotangent, F>``."""
    value, linearization = operator.linearize(_flat(x))
    return value, linearization.pull(_flat(cotangent))


def jvp(operator, x, tangent):
    """``(F(x), J tangent)``: forward mode, the change of ``F`` when ``x`` changes by ``tangent``."""
    value, linearization = operator.linearize(_flat(x))
    return value, linearization.push(_flat(tangent))
