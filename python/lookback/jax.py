"""An operator as a JAX function with its own reverse-mode derivative, so that it can stand inside a JAX model."""

import jax
import numpy as np

from .derivatives import vjp


def jax_function(operator):
    """A function ``f(x)`` of one flat array that JAX can differentiate (``jax.grad``, ``jax.vjp``) and compile.

    The value has the shape of the operator's output, and the precision of ``x``. The simulation runs outside of JAX on the
    threads of Lookback, in float64; one gradient costs one simulation forward and one backward. Forward mode and second
    derivatives are not offered: JAX does not know what happens inside.
    """
    length = sum(int(np.prod(shape)) for shape in operator.domain.values())
    shapes = list(operator.codomain.values())
    shape = tuple(shapes[0]) if len(shapes) == 1 else (sum(int(np.prod(s)) for s in shapes),)

    def value(x):
        return np.asarray(operator(np.asarray(x, dtype=np.float64).ravel()), dtype=x.dtype).reshape(shape)

    def pulled(x, cotangent):
        gradient = vjp(operator, np.asarray(x), np.asarray(cotangent))[1]
        return np.asarray(gradient, dtype=x.dtype).reshape(np.shape(x))

    @jax.custom_vjp
    def function(x):
        if x.size != length:
            raise ValueError(f"x has {x.size} entries, {length} are needed: {operator.domain}")
        return jax.pure_callback(value, jax.ShapeDtypeStruct(shape, x.dtype), x, vmap_method="sequential")

    def forward(x):
        return function(x), x

    def backward(x, cotangent):
        out = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return (jax.pure_callback(pulled, out, x, cotangent, vmap_method="sequential"),)

    function.defvjp(forward, backward)
    return function
