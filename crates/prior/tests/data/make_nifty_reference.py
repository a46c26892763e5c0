"""Writes nifty_correlated_field.json: fields and spectra of NIFTy's correlated field at given latents.

    pip install "nifty[re]==9.2.0" && python make_nifty_reference.py
"""

import json
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
import nifty.re as jft

jft.config.update("hartley_convention", "canonical_hartley")

SHAPE, DISTANCES = (6, 9), (0.5, 0.4)
cases = []
for name, flexibility, asperity in [
    ("power_law", None, None),
    ("smooth", (0.8, 0.3), None),
    ("rough", (0.8, 0.3), (0.4, 0.2)),
]:
    maker = jft.CorrelatedFieldMaker("cf")
    maker.set_amplitude_total_offset(offset_mean=0.3, offset_std=(0.2, 0.1))
    maker.add_fluctuations(
        SHAPE,
        distances=DISTANCES,
        fluctuations=(1.5, 0.5),
        loglogavgslope=(-2.0, 0.5),
        flexibility=flexibility,
        asperity=asperity,
        prefix="ax",
        non_parametric_kind="amplitude",
    )
    model = maker.finalize()
    latent = {
        key: np.asarray(value)
        for key, value in jft.random_like(jax.random.PRNGKey(7), model.domain).items()
    }
    order = ["cfxi", "cfzeromode", "cfaxfluctuations", "cfaxloglogavgslope"]
    order += [key for key in ("cfaxflexibility", "cfaxasperity", "cfaxspectrum") if key in latent]
    assert sorted(order) == sorted(latent), sorted(latent)
    cases.append(
        {
            "name": name,
            "latent": np.concatenate([latent[key].ravel() for key in order]).tolist(),
            "field": np.asarray(model(latent)).ravel().tolist(),
        }
    )

out = {"made_with": f"nifty {jft.__version__ if hasattr(jft, '__version__') else '9.2.0'}", "cases": cases}
Path(__file__).with_name("nifty_correlated_field.json").write_text(json.dumps(out))
