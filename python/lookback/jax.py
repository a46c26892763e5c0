"""An operator as a JAX function with its own reverse-mode derivative, so that it can stand inside a JAX model."""

import threading

import jax
import numpy as np


def jax_function(operator):
    """A function ``f(x)`` of one flat array that JAX can differentiate (``jax.grad``, ``jax.vjp``) and compile.

    The value has the shape of the operator's output, and the precision of ``x``. The simulation runs outside of JAX on the
    threads of Lookback, in float64; a value with its gradient costs one simulation forward and one backward. (What they need of the last point that
    was differentiated is kept for that; a gradient at another runs forward again.) Forward mode and second derivatives are not
    offered: JAX does not know what happens inside.
    """
    length = sum(int(np.prod(shape)) for shape in operator.domain.values())
    shapes = list(operator.codomain.values())
    shape = tuple(shapes[0]) if len(shapes) == 1 else (sum(int(np.prod(s)) for s in shapes),)

    last, lock = {}, threading.Lock()

    def flat(x):
        return np.array(x, dtype=np.float64).ravel()

    def value(x):
        return np.asarray(operator(flat(x)), dtype=x.dtype).reshape(shape)

    def linearized(x):
        x = flat(x)
        if not np.array_equal(last.get("x"), x):
            last.clear()
            value, linearization = operator.linearize(x)
            last.update(x=x, value=value, linearization=linearization)
        return last

    def value_to_differentiate(x):
        with lock:
            return np.asarray(linearized(x)["value"], dtype=x.dtype).reshape(shape)

    def pulled(x, cotangent):
        with lock:
            gradient = linearized(x)["linearization"].pull(flat(cotangent))
        return np.asarray(gradient, dtype=x.dtype).reshape(np.shape(x))

    def call(value, x):
        if x.size != length:
            raise ValueError(f"x has {x.size} entries, {length} are needed: {operator.domain}")
        if not np.issubdtype(x.dtype, np.floating):
            raise TypeError(f"x is of {x.dtype}; floats are needed")
        return jax.pure_callback(value, jax.ShapeDtypeStruct(shape, x.dtype), x, vmap_method="sequential")

    @jax.custom_vjp
    def function(x):
        return call(value, x)

    def forward(x):
        return call(value_to_differentiate, x), x

    def backward(x, cotangent):
        out = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return (jax.pure_callback(pulled, out, x, cotangent, vmap_method="sequential"),)

    function.defvjp(forward, backward)
    return function
