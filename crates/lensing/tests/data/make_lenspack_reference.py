"""Writes lenspack_ks93.json: Kaiser-Squires maps of lenspack for a small shear field.

    pip install lenspack==1.0.0 && python make_lenspack_reference.py
"""

import json
from pathlib import Path

import numpy as np
from lenspack.image.inversion import ks93, ks93inv

rng = np.random.default_rng(3)
cases = []
for shape in [(7, 7), (8, 8), (9, 6)]:
    gamma1, gamma2, kappa = rng.standard_normal((3, *shape))
    e_mode, b_mode = ks93(gamma1, gamma2)
    sheared = ks93inv(kappa, np.zeros_like(kappa))
    named = dict(gamma1=gamma1, gamma2=gamma2, e_mode=e_mode, b_mode=b_mode, kappa=kappa, shear1=sheared[0], shear2=sheared[1])
    cases.append({"shape": shape, **{name: array.ravel().tolist() for name, array in named.items()}})
Path(__file__).with_name("lenspack_ks93.json").write_text(json.dumps({"made_with": "lenspack 1.0.0", "cases": cases}))
