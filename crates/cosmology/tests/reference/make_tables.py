"""Writes the tables of curved universes that stand beside this file, by codes that share nothing with Lookback. (The README there says
how CAMB and CLASS wrote the linear spectra.)

    pip install numpy==2.* scipy==1.* pyccl==3.3.6 camb==2.0.5
    python make_tables.py
"""

from pathlib import Path

import camb
import numpy as np
import pyccl as ccl
import scipy

HERE = Path(__file__).parent
NAMES = ("omega_m", "omega_b", "h", "n_s", "sigma8", "w0", "wa", "omega_k")
CURVED = {
    "open": (0.31, 0.049, 0.68, 0.965, 0.81, -0.9, 0.0, 0.03),
    "closed": (0.31, 0.049, 0.68, 0.965, 0.81, -1.0, 0.0, -0.03),
}
A = np.append(np.geomspace(0.02, 0.9, 24), 1.0)
K = np.geomspace(1e-3, 20.0, 40)
ELL = np.unique(np.geomspace(20, 3000, 25).round())


def write(name, words, columns):
    lines = [f"# {words}"]
    lines += [" ".join([key, *(f"{x:.7g}" for x in np.atleast_1d(values))]) for key, values in columns.items()]
    (HERE / name).write_text("\n".join(lines) + "\n")


def curved(name):
    omega_m, omega_b, h, n_s, sigma8, w0, wa, omega_k = CURVED[name]
    universe = ccl.Cosmology(
        Omega_c=omega_m - omega_b, Omega_b=omega_b, h=h, n_s=n_s, sigma8=sigma8, Omega_k=omega_k, w0=w0, wa=wa, Neff=3.046,
        T_CMB=2.7255, transfer_function="eisenstein_hu", matter_power_spectrum="halofit",
    )
    columns = {
        "params": CURVED[name],
        "a": A,
        "chi_Mpc_h": ccl.comoving_radial_distance(universe, A) * h,
        "transverse_Mpc_h": ccl.comoving_angular_distance(universe, A) * h,
        "growth": ccl.growth_factor(universe, A),
        "growth_rate": ccl.growth_rate(universe, A),
        "E": ccl.h_over_h0(universe, A),
        "k_h_Mpc": K,
        "P_lin_EH_z0": ccl.linear_matter_power(universe, K * h, 1.0) * h**3,
    }
    for z in (0.0, 0.5, 1.0, 2.0):
        columns[f"P_halofit_EH_z{z:.1f}"] = ccl.nonlin_matter_power(universe, K * h, 1 / (1 + z)) * h**3
    columns["ell"] = ELL
    for z in (0.5, 1.0, 2.0):
        redshift = np.linspace(z - 0.005, z + 0.005, 101)
        number = np.exp(-0.5 * ((redshift - z) / 0.001) ** 2)
        tracer = ccl.WeakLensingTracer(universe, dndz=(redshift, number), n_samples=2000)
        # Spectra of shear: where it has (l + 2)! / (l - 2)!, the convergence has l^2 (l + 1)^2.
        shear = ccl.angular_cl(universe, tracer, tracer, ELL)
        columns[f"Cl_kappa_zs{z:.1f}"] = shear * ELL * (ELL + 1) / ((ELL + 2) * (ELL - 1))
    write(f"{name}.txt", f"CCL {ccl.__version__}; {', '.join(NAMES)}", columns)


def camb_halofit():
    """What CAMB makes of open and closed universes with its own linear spectrum: the part that is not linear, over the linear one."""
    columns = {}
    for name, (omega_m, omega_b, h, n_s, _, w0, wa, omega_k) in CURVED.items():
        p = camb.set_params(
            H0=100 * h, ombh2=omega_b * h**2, omch2=(omega_m - omega_b) * h**2, omk=omega_k, mnu=0.0, nnu=3.046, TCMB=2.7255,
            ns=n_s, As=2e-9, w=w0, wa=wa, dark_energy_model="ppf", halofit_version="takahashi",
        )
        p.set_matter_power(redshifts=[1.0, 0.0], kmax=50.0)
        p.NonLinear = camb.model.NonLinear_none
        # Fine enough for oscillations, and so far that the scale at which structure is not linear comes from the table alone.
        k, _, linear = camb.get_results(p).get_matter_power_spectrum(minkh=1e-3, maxkh=50, npoints=200)
        p.NonLinear = camb.model.NonLinear_both
        _, redshifts, full = camb.get_results(p).get_matter_power_spectrum(minkh=1e-3, maxkh=50, npoints=200)
        columns[f"{name}_k"] = k
        for i, z in enumerate(redshifts):
            columns |= {f"{name}_linear_z{z:.0f}": linear[i], f"{name}_ratio_z{z:.0f}": full[i] / linear[i]}
    write("camb_curved.txt", f"CAMB {camb.__version__}", columns)


def third_order():
    """Growth to the third order in time, not in ln a: D'' = -2 H D' + 3/2 omega_m H0^2 a^-3 (D + source), with dots in units of H0."""
    omega_m, omega_k, w0, wa = 0.31, 0.03, -0.9, 0.2
    omega_de = 1 - omega_m - omega_k

    def hubble(a):
        dark = omega_de * a ** (-3 * (1 + w0 + wa)) * np.exp(-3 * wa * (1 - a))
        return np.sqrt(omega_m / a**3 + omega_k / a**2 + dark)

    def rates(_, y):
        a, d, v = y[0], y[1:6], y[6:]
        d1, d2 = d[0], d[1]
        # What each order is pulled by; the transverse one pulls nothing.
        pulled = [d1, d2 - d1**2, d[2] - 2 * d1**3, d[3] - 2 * d1 * (d2 - d1**2), -(d1**3)]
        return [a * hubble(a), *v, *(-2 * hubble(a) * v + 1.5 * omega_m / a**3 * np.array(pulled))]

    start, powers = 1e-6, np.array([1, 2, 3, 3, 3])
    growth = np.array([1, -3 / 7, -1 / 3, 10 / 21, -1 / 7]) * start**powers
    first = [start, *growth, *(powers * hubble(start) * growth)]
    times = [0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0]
    events = []
    for time in times:
        events.append(lambda _, y, time=time: y[0] - time)
    path = scipy.integrate.solve_ivp(rates, [0, 3], first, "DOP853", rtol=1e-12, atol=1e-40, events=events)
    states = np.array([found[0] for found in path.y_events])
    columns = {"params": [omega_m, omega_k, w0, wa], "a": times}
    for i, name in enumerate(["D1", "D2", "D3a", "D3b", "D3c"]):
        columns |= {name: states[:, 1 + i], f"d{name}": states[:, 6 + i] / [hubble(a) for a in times]}
    write("third_order.txt", "scipy; growth to the third order, and its slopes in ln a", columns)


if __name__ == "__main__":
    for name in CURVED:
        curved(name)
    camb_halofit()
    third_order()
