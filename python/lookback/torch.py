"""An operator as a PyTorch function with its own reverse-mode derivative, so that it can stand inside a PyTorch model."""

import numpy as np
import torch


def torch_function(operator):
    """A function ``f(x)`` of one tensor that ``torch.autograd`` can differentiate once.

    The value has the shape of the operator's output, and the type and device of ``x``. The simulation runs on the CPU on
    the threads of Lookback, in float64.
    """
    length = sum(int(np.prod(shape)) for shape in operator.domain.values())

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            if x.numel() != length:
                raise ValueError(f"x has {x.numel()} entries, {length} are needed: {operator.domain}")
            if not x.is_floating_point():
                raise TypeError(f"x is of {x.dtype}; floats are needed")
            value, context.linearization = operator.linearize(
                np.ascontiguousarray(x.detach().cpu().numpy(), dtype=np.float64).ravel()
            )
            context.shape = x.shape
            return torch.from_numpy(np.asarray(value)).to(x)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(context, cotangent):
            flat = np.ascontiguousarray(cotangent.detach().cpu().numpy(), dtype=np.float64).ravel()
            gradient = context.linearization.pull(flat)
            return torch.from_numpy(np.asarray(gradient)).reshape(context.shape).to(cotangent)

    return Function.apply
