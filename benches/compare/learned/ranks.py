"""Ranks of truths among samples."""

import numpy as np


def ranks(truth, samples):
    """Ranks of truths among `samples` (along their second axis), between 0 and 1: exactly uniform for any number of samples, where the truth is
    one more of them. Among equals the rank is random."""
    below, equal = (samples < truth[:, None]).sum(1), (samples == truth[:, None]).sum(1)
    return (below + np.random.default_rng(3).uniform(size=truth.shape) * (1 + equal)) / (1 + samples.shape[1])
