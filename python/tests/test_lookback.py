"""The Python face: same numbers as numpy, clear exceptions, Python functions as models, files that the field's tools open."""

import ast
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import lookback as lb

ROOT = Path(__file__).parents[2]
SURVEY = ROOT / "examples" / "mock_survey.toml"


@pytest.fixture
def grid():
    return lb.Grid((16, 20), pixel_arcmin=1.0)


def law():
    return lb.power_law(2e-9, pivot=1000, index=-1.0)


def test_shear_is_the_fourier_product(grid):
    rng = np.random.default_rng(1)
    kappa = rng.standard_normal((16, 20))
    k1, k2 = np.meshgrid(np.fft.fftfreq(20), np.fft.fftfreq(16))
    norm = np.where(k1**2 + k2**2 == 0, 1, k1**2 + k2**2)
    phase = ((k1**2 - k2**2) / norm, 2 * k1 * k2 / norm)
    gamma = lb.shear(grid).split(lb.shear(grid)(kappa))
    for name, factor in zip(("gamma1", "gamma2"), phase):
        expected = np.fft.ifft2(factor * np.fft.fft2(kappa)).real
        np.testing.assert_allclose(gamma[name], expected, atol=1e-13)


def test_linearization_obeys_the_dot_product(grid):
    model = lb.lognormal_field(grid, law(), shift=0.1).then(lb.reduced_shear(grid))
    rng = np.random.default_rng(2)
    x, u = rng.standard_normal((2, 320))
    v = rng.standard_normal(640)
    y, linearization = model.linearize(x)
    np.testing.assert_array_equal(y, model(x))
    assert np.vdot(linearization.push(u), v) == pytest.approx(np.vdot(u, linearization.pull(v)), rel=1e-12)


def test_the_wiener_filter_agrees_with_dense_algebra():
    grid = lb.Grid((6, 5), pixel_arcmin=2.0)
    model = lb.gaussian_field(grid, law()).then(lb.shear(grid))
    jacobian = np.array([model(row) for row in np.eye(30)]).T
    rng = np.random.default_rng(3)
    data, sigma = 0.1 * rng.standard_normal(60), rng.uniform(0.05, 0.2, 60)
    sigma[7] = np.inf
    result = lb.wiener(lb.Posterior(model, lb.gaussian(data, sigma)), tolerance=1e-11, samples=2)
    weight = 1 / sigma**2
    precision = np.eye(30) + jacobian.T @ (weight[:, None] * jacobian)
    expected = np.linalg.solve(precision, jacobian.T @ (weight * data))
    np.testing.assert_allclose(result.centre.ravel(), expected, atol=1e-9)
    assert result.samples.shape == (2, 30)


def test_a_python_function_can_be_the_forward_model():
    matrix = np.random.default_rng(4).standard_normal((7, 3))

    def forward(x):
        return matrix @ np.exp(x), lambda dy: np.exp(x) * (matrix.T @ dy), lambda dx: matrix @ (np.exp(x) * dx)

    model = lb.function(forward, input_shape=[3], output_shape=[7])
    truth = np.array([0.3, -0.5, 0.8])
    data = matrix @ np.exp(truth)
    posterior = lb.Posterior(model, lb.gaussian(data, np.full(7, 1e-3)))
    for optimizer in ("newton_cg", "lbfgs"):
        result = lb.laplace(posterior, optimizer=optimizer, tolerance=1e-4)
        np.testing.assert_allclose(result.centre, truth, atol=1e-2)


def test_a_python_function_can_be_the_likelihood():
    data = np.array([1.0, -2.0])
    likelihood = lb.python_likelihood(lambda p: (0.5 * np.sum((p - data) ** 2), p - data), shape=[2])
    model = lb.distribution("x", "normal", 0.0, 1.0, shape=[2])
    result = lb.laplace(lb.Posterior(model, likelihood), optimizer="lbfgs", tolerance=1e-8)
    np.testing.assert_allclose(result.centre, data / 2, atol=1e-6)


def test_python_functions_see_arrays_of_the_shapes_that_were_declared():
    weight = np.arange(6.0).reshape(2, 3) + 1.0

    def model(x):
        assert x.shape == (2, 3)

        def pull(dy):
            assert dy.shape == (2, 3)
            return weight * dy

        return weight * x, pull

    def misfit(prediction):
        assert prediction.shape == (2, 3)
        return 0.5 * np.sum((prediction - 1.0) ** 2), prediction - 1.0

    operator = lb.function(model, input_shape=[2, 3], output_shape=[2, 3])
    value, linearization = operator.linearize(np.ones((2, 3)))
    np.testing.assert_array_equal(value, weight)
    np.testing.assert_array_equal(linearization.pull(np.ones((2, 3))), weight)
    likelihood = lb.python_likelihood(misfit, shape=[2, 3])
    found = lb.laplace(lb.Posterior(operator, likelihood), optimizer="lbfgs", tolerance=1e-6)
    np.testing.assert_allclose(found.centre.reshape(2, 3), weight / (1 + weight**2), atol=1e-4)
    for method in (lambda: likelihood.residual(weight), lambda: likelihood.simulate(weight, seed=1)):
        with pytest.raises(lb.LookbackError, match="value and a gradient only"):
            method()


def test_a_linearization_evaluates_once():
    calls = []

    def model(x):
        calls.append(x.copy())
        return x**2, lambda dy: 2 * x * dy, lambda dx: 2 * x * dx

    operator = lb.function(model, input_shape=[3], output_shape=[3])
    point = np.array([1.0, 2.0, 3.0])
    _, linearization = operator.linearize(point)
    for _ in range(3):
        np.testing.assert_array_equal(linearization.pull(np.ones(3)), 2 * point)
        np.testing.assert_array_equal(linearization.push(np.ones(3)), 2 * point)
    assert len(calls) == 1


def test_correlated_noise_is_that_of_its_covariance():
    rng = np.random.default_rng(4)
    data, prediction, factors = rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), rng.normal(size=(2, 2, 3))
    sigma = np.full((2, 3), 0.7)
    likelihood = lb.correlated_gaussian(data, sigma, factors)
    covariance = 0.49 * np.eye(6) + sum(np.outer(f.ravel(), f.ravel()) for f in factors)
    off = np.linalg.solve(covariance, (prediction - data).ravel())
    energy, gradient = likelihood.energy(prediction)
    expected = 0.5 * (prediction - data).ravel() @ off + 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    assert energy == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient.ravel(), off, rtol=1e-10)
    with pytest.raises(lb.LookbackError, match="shape of the data"):
        lb.correlated_gaussian(data, sigma, factors[0])


def test_a_python_function_can_be_the_whole_energy():
    scale = np.array([1.0, 0.5])
    target = lb.energy(lambda z: (0.5 * np.sum((z / scale) ** 2), z / scale**2), dim=2)
    for result in [
        lb.hmc(target, draws=1000, seed=5),
        lb.nuts(target, draws=1000, seed=5),
        lb.nuts(target, draws=1000, halve_above=0.5, seed=5),
        lb.mclmc(target, energy_error=1e-5, seed=5),
    ]:
        chains = [result.samples[result.chains == c, 0] for c in range(4)]
        quality = lb.diagnostics(chains)
        assert quality["r_hat"] < 1.02 and quality["ess_bulk"] > 400
        np.testing.assert_allclose(result.samples.std(axis=0), scale, rtol=0.1)


def test_arrays_in_another_order_are_refused(grid):
    rng = np.random.default_rng(2)
    kappa, shear, sigma = rng.normal(size=(16, 20)), rng.normal(size=(2, 16, 20)), np.full((2, 16, 20), 0.1)
    turned = np.ascontiguousarray(np.moveaxis(shear, 1, 2))
    last = np.ascontiguousarray(np.moveaxis(shear, 0, 2))
    lens = lb.shear(grid)
    np.testing.assert_array_equal(lens(kappa), lens(kappa.ravel()))
    model = lb.gaussian_field(grid, law()).then(lens)
    lb.Posterior(model, lb.gaussian(shear, sigma))
    lb.Posterior(model, lb.gaussian(shear.ravel(), sigma.ravel()))
    for call in (
        lambda: lens(np.ascontiguousarray(kappa.T)),
        lambda: lens.split(turned),
        lambda: lb.gaussian(shear, np.full((2, 20, 16), 0.1)),
        lambda: lb.student_t(shear, sigma.ravel(), 4.0),
        lambda: lb.Posterior(model, lb.gaussian(turned, np.full((2, 20, 16), 0.1))),
        lambda: lb.Posterior(model, lb.gaussian(last, np.full((16, 20, 2), 0.1))),
        lambda: lb.mask(grid, np.ones((20, 16), bool)),
        lambda: lb.mass_map(grid, turned[0], turned[1]),
        lambda: lb.power_spectrum(grid, np.ascontiguousarray(kappa.T)),
    ):
        with pytest.raises(lb.LookbackError, match="shape"):
            call()


def test_errors_are_exceptions_in_clear_words(grid):
    with pytest.raises(lb.LookbackError, match="noise 0 is 0"):
        lb.gaussian(np.zeros(3), np.zeros(3))
    with pytest.raises(lb.LookbackError, match="cannot join `shear` to `shear`"):
        lb.shear(grid).then(lb.shear(grid))
    with pytest.raises(lb.LookbackError, match="320 are needed"):
        lb.shear(grid)(np.zeros(7))
    with pytest.raises(lb.LookbackError, match="contiguous"):
        lb.shear(grid)(np.zeros((20, 16)).T)
    with pytest.raises(lb.LookbackError, match="did you mean|no distribution"):
        lb.distribution("m", "nromal", 0.0, 1.0)
    with pytest.raises(lb.LookbackError, match="no metric `dense`"):
        lb.nuts(lb.energy(lambda z: (0.5 * np.sum(z**2), z), dim=2), metric="dense")

    def broken(x):
        raise RuntimeError("the telescope fell over")

    model = lb.function(broken, input_shape=[2], output_shape=[2], name="telescope")
    for call in (lambda: model(np.zeros(2)), lambda: lb.nuts(lb.energy(broken, dim=2))):
        with pytest.raises(lb.LookbackError, match="fell over") as raised:
            call()
        # The exception that was raised, with its traceback, is the cause.
        cause = raised.value.__cause__
        assert isinstance(cause, RuntimeError) and cause.__traceback__ is not None
    with pytest.raises(lb.LookbackError, match="energy and a gradient only"):
        lb.laplace(lb.energy(lambda z: (0.5 * z @ z, z), dim=2), optimizer="newton_cg")


def test_muse_of_a_funnel_in_python_finds_the_known_width():
    latents, prior = 400, 3.0
    noise = np.random.default_rng(3)
    data = noise.normal(size=latents) * np.exp(0.5) + noise.normal(size=latents)

    def funnel(z):
        width, z = np.exp(0.5 * prior * z[0]), z[1:]
        slope = 0.5 * prior * width * z
        pull = lambda y: np.concatenate([[slope @ y], width * y])
        return width * z, pull, lambda dz: slope * dz[0] + width * dz[1:]

    model = lb.function(funnel, input_shape=[latents + 1], output_shape=[latents])
    found = lb.muse(lb.Posterior(model, lb.gaussian(data, np.ones(latents))), [0], simulations=60, samples=8)
    theta = np.linspace(-3, 4, 20001)
    log = -0.5 * (theta / prior) ** 2 - 0.5 * (data @ data / (1 + np.exp(theta)) + latents * np.log1p(np.exp(theta)))
    weight = np.exp(log - log.max())
    mean = (weight @ theta) / weight.sum()
    std = np.sqrt(weight @ (theta - mean) ** 2 / weight.sum())
    # The scatter of 60 simulations is 0.13 of an error bar, and 9 % of its width.
    assert abs(prior * found.figures["latent_0"] - mean) < 0.4 * std
    assert abs(prior * found.figures["latent_0_std"] / std - 1) < 0.3
    assert found.samples.shape == (8, latents + 1) and found.centre.shape == (latents + 1,)


def test_a_run_writes_files_that_the_tools_of_the_field_open(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    arviz = pytest.importorskip("arviz")
    summary = lb.run(SURVEY, output=tmp_path / "run")
    header, mean = fits.getheader(tmp_path / "run" / "mean.fits"), fits.getdata(tmp_path / "run" / "mean.fits")
    samples = np.load(tmp_path / "run" / "samples.npy")
    assert mean.shape == (192, 192) and samples.shape == (60, 192, 192)
    assert header["SEED"] == 42 and header["CREATOR"].startswith("lookback")
    np.testing.assert_allclose(samples.mean(axis=0), mean, atol=1e-6)
    # Mirrored pairs know their mean, so their variance loses no degree of freedom to it.
    std = fits.getdata(tmp_path / "run" / "std.fits")
    np.testing.assert_allclose(samples.std(axis=0, ddof=0), std, rtol=1e-3, atol=1e-6)
    xarray = pytest.importorskip("xarray")
    tree = xarray.open_datatree(tmp_path / "run" / "samples.zarr", engine="zarr")
    data = arviz.InferenceData.from_datatree(tree)
    assert data.posterior["kappa"].dims == ("chain", "draw", "y", "x")
    np.testing.assert_array_equal(data.posterior["kappa"].values[0], samples)
    assert data.sample_stats["chi2"].shape == (1, 60)
    np.testing.assert_array_equal(data.posterior["draw"], np.arange(60))
    assert data.sample_stats["diverging"].dtype == bool and not data.sample_stats["diverging"].any()
    assert summary["pearson_r"] > 0.5 and summary["directory"].endswith("run")


def test_numbers_that_a_fits_file_calls_blank_are_missing(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    shear = np.round(np.random.default_rng(3).normal(size=(2, 16, 16)) * 3000).astype(np.int16)
    for name, component in zip(("g1", "g2"), shear):
        stored = component.copy()
        stored[3, 4] = -32768
        image = fits.PrimaryHDU(stored)
        image.header["BSCALE"], image.header["BLANK"] = 1e-5, -32768
        image.writeto(tmp_path / f"{name}.fits")
    (tmp_path / "blank.toml").write_text(
        """
[sky]
pixels = [16, 16]
pixel_arcmin = 1.0
[prior.kappa]
kind = "gaussian_field"
spectrum.power_law = { amplitude = 1e-9, pivot = 1000.0, index = -1.2 }
[[forward]]
kind = "shear"
[data]
kind = "maps"
maps = ["g1.fits", "g2.fits"]
noise_std = [0.05, 0.05]
[method]
kind = "wiener"
samples = 2
"""
    )
    with pytest.raises(lb.LookbackError, match="NaN"):
        lb.check(tmp_path / "blank.toml")


def test_coordinates_of_maps_are_those_of_astropy(tmp_path):
    wcs = pytest.importorskip("astropy.wcs")
    fits = pytest.importorskip("astropy.io.fits")
    for projection in ("gnomonic", "plate_carree"):
        text = SURVEY.read_text().replace("pixels = [192, 192]", f'pixels = [40, 48]\ncentre = [150.0, 2.2]\nprojection = "{projection}"')
        text = text.replace("stars = 20", "stars = 0").replace("margin_arcmin = 8.0", "margin_arcmin = 0.0")
        (tmp_path / "small.toml").write_text(text.replace('kind = "mgvi"', 'kind = "map"').split("iterations")[0])
        lb.run(tmp_path / "small.toml", output=tmp_path / projection)
        sky = wcs.WCS(fits.getheader(tmp_path / projection / "mean.fits"))
        ra, dec = sky.all_pix2world(23.5, 19.5, 0)
        np.testing.assert_allclose([ra, dec], [150.0, 2.2], atol=1e-9)
        ra, dec = sky.all_pix2world(43.5, 19.5, 0)
        factor = np.cos(np.radians(2.2)) if projection == "gnomonic" else 1.0
        np.testing.assert_allclose((ra - 150.0) * factor, 20 * 0.5 / 60, rtol=1e-4)


def test_calibration_of_a_run_file(tmp_path):
    text = SURVEY.read_text().replace("pixels = [192, 192]", "pixels = [24, 32]").replace("stars = 20", "stars = 0")
    text = text.replace("margin_arcmin = 8.0", "margin_arcmin = 0.0").replace("final_pairs = 30", "final_pairs = 20")
    (tmp_path / "small.toml").write_text(text)
    found = lb.calibrate(tmp_path / "small.toml", data_sets=20, output=tmp_path / "out")
    assert found["data_sets"] == 20 and found["failed"] == []
    ranks = found["quantities"]["misfit"]["ranks"]
    assert ranks.shape == (20,) and np.all((ranks > 0) & (ranks < 1))
    assert (tmp_path / "out" / "report.html").exists()


def test_a_bad_run_file_writes_nothing(tmp_path):
    (tmp_path / "bad.toml").write_text(SURVEY.read_text().replace("pixel_arcmin", "pixel_arcmni"))
    with pytest.raises(lb.LookbackError, match="did you mean `pixel_arcmin`"):
        lb.run(tmp_path / "bad.toml", output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert "mgvi" in lb.check(SURVEY)


def test_ctrl_c_stops_a_run_and_leaves_a_checkpoint(tmp_path):
    text = SURVEY.read_text().replace("final_pairs = 30", "final_pairs = 3000")
    (tmp_path / "long.toml").write_text(text)
    # A shell in the background starts programs that ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(2.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        lb.run(tmp_path / "long.toml", output=tmp_path / "run")
    assert time.monotonic() - began < 6
    assert (tmp_path / "run" / "checkpoint.bin").stat().st_size > 0


def test_the_interpreter_goes_on_while_the_run_works(tmp_path):
    ticks = []
    stop = threading.Event()

    def tick():
        while not stop.wait(0.02):
            ticks.append(1)

    thread = threading.Thread(target=tick)
    thread.start()
    lb.run(SURVEY, output=tmp_path / "run")
    stop.set()
    thread.join()
    assert len(ticks) > 10


def test_stubs_have_the_defaults_that_functions_have():
    stub = ast.parse((ROOT / "python" / "lookback" / "_lookback.pyi").read_text())
    compared = 0

    def compare(written, real, name):
        nonlocal compared
        parameters = inspect.signature(real).parameters
        arguments = written.args.posonlyargs + written.args.args
        defaults = dict(zip([a.arg for a in arguments[len(arguments) - len(written.args.defaults):]], written.args.defaults))
        defaults |= {a.arg: d for a, d in zip(written.args.kwonlyargs, written.args.kw_defaults) if d is not None}
        for argument, default in defaults.items():
            # Tuples have no words in signatures of compiled functions.
            if ast.literal_eval(default) is not Ellipsis and parameters[argument].default is not Ellipsis:
                assert ast.literal_eval(default) == parameters[argument].default, f"{name}({argument})"
                compared += 1

    for node in stub.body:
        if isinstance(node, ast.FunctionDef):
            compare(node, getattr(lb, node.name), node.name)
        if isinstance(node, ast.ClassDef) and hasattr(lb, node.name):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not method.decorator_list:
                    kind = getattr(lb, node.name)
                    made = method.name in ("__init__", "__new__")
                    compare(method, kind if made else getattr(kind, method.name), f"{node.name}.{method.name}")
    assert compared > 50


def test_stubs_name_everything():
    stub = (ROOT / "python" / "lookback" / "_lookback.pyi").read_text()
    for name in lb.__all__:
        written_in_python = getattr(lb, name).__class__.__name__ in {"module", "function"}
        if not name.startswith("__") and not written_in_python:
            assert f"def {name}(" in stub or f"class {name}" in stub, name


def test_the_readme_example_runs(tmp_path):
    readme = (ROOT / "README.md").read_text()
    code = readme.split("```python")[1].split("```")[0]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


SIMULATION = {"particles": 8, "box_size": 160.0, "steps": 3, "start": 0.2}
LIGHT_CONE = {"sources": [{"z": 0.5}, {"z": 1.0}], "pixels": 8, "field_deg": 5.0}


@pytest.fixture
def cone():
    return lb.light_cone(SIMULATION, LIGHT_CONE, free=["omega_m", "sigma8"], seed=3)


def cone_point():
    return np.concatenate([lb.white_modes(8, seed=1).ravel(), [0.31, 0.81]])


def test_a_light_cone_has_derivatives(cone):
    x, rng = cone_point(), np.random.default_rng(1)
    assert cone.codomain == {"kappa1": [8, 8], "kappa2": [8, 8]}
    u, v = rng.normal(size=x.size), rng.normal(size=128)
    value, pushed = lb.jvp(cone, x, u)
    again, pulled = lb.vjp(cone, x, v)
    np.testing.assert_array_equal(value, again)
    np.testing.assert_array_equal(value, lb.simulate(cone, x[:512], x[512:]))
    assert pushed @ v == pytest.approx(pulled @ u, rel=1e-10)
    step = np.zeros_like(x)
    step[-1] = 1e-6
    slope = (cone(x + step) - cone(x - step)) @ v / 2e-6
    assert pulled[-1] == pytest.approx(slope, rel=1e-5)


def test_a_simulation_gives_the_density():
    box = lb.nbody(SIMULATION | {"mesh_factor": 2})
    delta = box(lb.white_modes(8, seed=1).ravel())
    assert delta.shape == (16, 16, 16) and abs(delta.mean()) < 1e-12


def test_particles_of_a_simulation_make_its_density():
    x = lb.white_modes(8, seed=1).ravel()
    particles = lb.particles(SIMULATION | {"scheme": "fast_pm"}, free=["omega_m"])
    found = particles.split(particles(np.append(x, 0.3111)))
    assert list(found) == ["displacement", "velocity"] and found["velocity"].shape == (3, 8, 8, 8)
    place = np.indices((8, 8, 8)) * 20.0 + found["displacement"]
    cells = np.zeros((8, 8, 8))
    low = np.floor(place / 20.0)
    for corner in np.ndindex(2, 2, 2):
        at = low + np.reshape(corner, (3, 1, 1, 1))
        share = np.prod(1 - np.abs(place / 20.0 - at), axis=0)
        np.add.at(cells, tuple(at.astype(int) % 8), share)
    delta = lb.nbody(SIMULATION | {"scheme": "fast_pm"})(x)
    np.testing.assert_allclose(cells - 1, delta, atol=1e-11)
    # In a smooth universe displacements grow as D: velocities are 100 f km/s for each Mpc/h. (A mesh as coarse as the lattice
    # weakens the force on short waves, so that most of the way is left to perturbation theory.)
    smooth = lb.particles(SIMULATION | {"start": 0.98, "steps": 1}, cosmology={"sigma8": 0.01})
    x, v = smooth(x).reshape(2, -1)
    assert (v @ x) / (x @ x) == pytest.approx(100.0 * lb.Cosmology().growth_rate(1.0), rel=0.01)


@pytest.mark.parametrize(
    "operator",
    [
        lambda p: lb.nbody(SIMULATION, free=["sigma8"], precision=p),
        lambda p: lb.particles(SIMULATION, free=["sigma8"], precision=p),
        lambda p: lb.light_cone(SIMULATION, LIGHT_CONE, free=["sigma8"], precision=p),
        lambda p: lb.galaxies(SIMULATION, (0.5, 0.1), free=["sigma8"], precision=p),
        lambda p: lb.ray_tracing(
            SIMULATION, {"pixels": 8, "field_deg": 5.0, "nearest": 60.0}, [0.5], planes=4, free=["sigma8"], precision=p
        ),
    ],
)
def test_single_precision_gives_nearly_the_same(operator):
    x = np.append(lb.white_modes(8, seed=1).ravel(), 0.81)
    single, double = operator("f32"), operator("f64")
    assert single.domain == double.domain and single.codomain == double.codomain
    cotangent = np.random.default_rng(1).normal(size=np.ravel(double(x)).size)
    (a, ga), (b, gb) = lb.vjp(single, x, cotangent), lb.vjp(double, x, cotangent)
    # The derivative by the parameter is larger than those by modes.
    for found, exact in [(a, b), (ga[:-1], gb[:-1]), (ga[-1:], gb[-1:])]:
        off = np.abs(np.ravel(found) - np.ravel(exact)).max() / np.abs(exact).max()
        assert 0 < off < 1e-3, off
    with pytest.raises(lb.LookbackError, match="f16"):
        operator("f16")


def test_slow_sizes_are_told_of():
    with pytest.warns(UserWarning, match="62 particles a side have a factor 31") as warnings:
        lb.nbody(dict(particles=62, box_size=50.0))
    assert warnings[0].filename == __file__, "it points to the line that asked"
    cone = dict(pixels=8, field_deg=2.0, sources=[dict(z=0.5)])
    with pytest.warns(UserWarning, match="62 particles a side have a factor 31"):
        lb.light_cone(dict(particles=62, box_size=500.0), cone)


def test_a_cosmology_knows_its_derivatives():
    universe = lb.Cosmology({"omega_m": 0.3, "sigma8": 0.8, "omega_k": 0.02})
    assert universe.parameters["omega_m"] == 0.3 and universe.sigma8 == pytest.approx(0.8)
    a = np.array([[0.2, 0.5], [0.8, 1.0]])
    assert universe.distance(a).shape == (2, 2) and float(universe.distance(1.0)) == 0.0
    assert (universe.transverse_distance(a) >= universe.distance(a)).all()
    np.testing.assert_allclose(universe.scale_factor(universe.distance(a)), a, rtol=1e-9)
    assert float(universe.growth(1)) == 1.0 and universe.hubble(1.0) == pytest.approx(1.0)
    ell, source = [100.0, 1000.0], {"z": 1.0}
    distribution = {"redshift": np.array([0.5, 1.0, 1.5]), "density": np.array([0.0, 1.0, 0.0], np.float32)}
    asked = [
        lambda u, **more: u.growth_rate([0.3, 0.7], **more),
        lambda u, **more: u.linear_power([0.1, 1.0], 0.5, **more),
        lambda u, **more: u.halofit([0.1, 1.0], **more),
        lambda u, **more: u.convergence_spectrum(ell, source, distribution, **more),
    ]
    for ask in asked:
        value, by = ask(universe, derivatives=True)
        np.testing.assert_array_equal(value, ask(universe))
        assert set(by) == set(universe.parameters)
        for name, step in [("omega_m", 1e-5), ("sigma8", 1e-5), ("omega_k", 1e-5)]:
            around = [
                ask(lb.Cosmology({"omega_m": 0.3, "sigma8": 0.8, "omega_k": 0.02} | {name: universe.parameters[name] + h}))
                for h in (step, -step)
            ]
            np.testing.assert_allclose(by[name], (around[0] - around[1]) / (2 * step), rtol=1e-4, atol=1e-6 * np.abs(value).max())
    assert (universe.convergence_spectrum(ell, source, linear=True) < universe.convergence_spectrum(ell, source)).all()
    with pytest.raises(lb.LookbackError, match="scale factor a must lie"):
        universe.distance([0.5, 1.5])
    with pytest.raises(lb.LookbackError, match="k .* must lie"):
        universe.halofit([0.1, np.nan])
    with pytest.raises(lb.LookbackError, match="omega_n"):
        lb.Cosmology({"omega_n": 0.3})
    with pytest.raises(lb.LookbackError, match="the table reaches from 0 to"):
        universe.scale_factor(-1.0)
    with pytest.raises(lb.LookbackError, match="a value is a `object`; numbers, texts, arrays"):
        universe.convergence_spectrum(ell, {"z": object()})
    with pytest.raises(lb.LookbackError, match="no other keys"):
        universe.convergence_spectrum(ell, {"z": 1.0, "algnment": {"amplitude": 1.0}})


def test_a_table_is_asked_only_for_what_it_knows(tmp_path):
    formula = lb.Cosmology({"omega_m": 0.3, "sigma8": 0.8})
    k = np.geomspace(1e-4, 20.0, 300)
    np.savetxt(tmp_path / "pk.txt", np.column_stack([k, formula.linear_power(k)]))
    table = lb.Cosmology({"omega_m": 0.3, "table": tmp_path / "pk.txt"})
    assert "a_s" not in table.parameters and "sigma8" not in table.parameters
    assert table.sigma8 == pytest.approx(0.8, rel=1e-4)
    np.testing.assert_allclose(table.linear_power(k), formula.linear_power(k), rtol=1e-3)
    power, by = table.linear_power(1.0, derivatives=True)
    assert power == pytest.approx(formula.linear_power(1.0), rel=1e-3) and set(by) == set(table.parameters)
    with pytest.raises(lb.LookbackError, match="between 1.000000e-4 and 2.000000e1, not 25"):
        table.halofit([1.0, 25.0])


def test_simulation_files_run_from_python(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(
        """
seed = 3
realisations = 2
[simulation]
particles = 16
box_size = 64.0
mesh_factor = 2
steps = 4
[light_cone]
sources = [{ file = "sources.txt" }]
pixels = 16
field_deg = 3.0
[output]
reduced_shear = true
npy = true
"""
    )
    (tmp_path / "sources.txt").write_text("0.4 0\n0.5 1\n0.6 0\n")
    done = lb.simulate_file(file, output=tmp_path / "universes")
    assert done["realisations"] == 2 and (tmp_path / "universes" / "report.html").exists()
    folder = tmp_path / "universes" / "realisation_0001"
    kappa, g = np.load(folder / "kappa1.npy"), np.load(folder / "g1_1.npy")
    gamma = lb.shear(lb.Grid((16, 16), pixel_arcmin=3.0 * 60 / 16))(np.ascontiguousarray(kappa, dtype=float))
    np.testing.assert_allclose(g, gamma[:256].reshape(16, 16) / (1 - kappa), rtol=1e-4, atol=1e-7)
    assert lb.simulate_file(file, output=tmp_path / "universes")["seconds"] < done["seconds"]
    # A map that was taken away is made again.
    (folder / "kappa1.fits").unlink()
    lb.simulate_file(file, output=tmp_path / "universes")
    assert (folder / "kappa1.fits").exists()
    (tmp_path / "sources.txt").write_text("0.2 0\n0.3 1\n0.4 0\n")
    with pytest.raises(lb.LookbackError, match="sources.txt has changed"):
        lb.simulate_file(file, output=tmp_path / "universes")
    (tmp_path / "sources.txt").write_text("0.1 0.2 0.3 0\n0.2 0.3 0.4 1\n")
    with pytest.raises(lb.LookbackError, match="two columns"):
        lb.simulate_file(file, output=tmp_path / "others")
    fitted = lb.sharpen(file, snapshots=2, output=tmp_path / "sharp")
    assert set(fitted["sharpening"]) == {"alpha", "mu", "kl", "ks"} and fitted["off_after"] < fitted["off_before"]
    assert (tmp_path / "sharp" / "power.svg").exists()


def test_a_simulation_that_keeps_potentials_has_the_same_gradient():
    x = lb.white_modes(8, seed=1).ravel()
    anew = lb.vjp(lb.nbody(SIMULATION), x, np.ones(512) + x)[1]
    kept = lb.vjp(lb.nbody(SIMULATION | {"keep_potentials": True}), x, np.ones(512) + x)[1]
    np.testing.assert_allclose(kept, anew, rtol=1e-9, atol=1e-12)
    with pytest.raises(lb.LookbackError, match="not spectral"):
        lb.nbody(SIMULATION | {"keep_potentials": True, "gradient": "spectral"})


def test_real_numbers_of_any_kind_are_taken():
    box = lb.nbody(SIMULATION)
    x = lb.white_modes(8, seed=1).ravel().astype(np.float32)
    np.testing.assert_array_equal(box(x), box(x.astype(float)))
    np.testing.assert_array_equal(box(list(range(512))), box(np.arange(512.0)))
    np.testing.assert_array_equal(box(np.arange(512)), box(np.arange(512.0)))
    for wrong in (x + 1j, np.array(["a"] * 512), x > 0, None):
        with pytest.raises(TypeError, match="an array of real numbers is needed, not of"):
            box(wrong)


def test_full_skies_are_read_by_healpy(tmp_path):
    import healpy

    file = tmp_path / "sky.toml"
    file.write_text("""
        seed = 3
        simulation = { particles = 16, box_size = 200.0, steps = 3, start = 0.2 }
        light_cone = { sources = [{ z = 0.2 }], nside = 16, nearest = 100.0 }
        output = { npy = true }
    """)
    lb.simulate_file(file, output=tmp_path / "out")
    folder = tmp_path / "out" / "realisation_0000"
    kappa, header = healpy.read_map(folder / "kappa1.fits", h=True)
    np.testing.assert_array_equal(kappa, np.load(folder / "kappa1.npy"))
    assert dict(header)["ORDERING"] == "RING"
    # The pixels' window, which is taken off, is half a percent there.
    ours = np.genfromtxt(folder / "cl_kappa1.csv", delimiter=",", names=True)["c_ell_sr"][:3]
    np.testing.assert_allclose(ours, healpy.anafast(kappa.astype(float), lmax=31)[2:5], rtol=0.02)


def test_full_skies_rays_and_galaxies_have_derivatives():
    sky = {"sources": [{"z": 0.1}], "shells": [{"near": 100.0, "far": 200.0}], "nside": 2}
    full = lb.light_cone(SIMULATION, sky, free=["sigma8"])
    assert full.codomain == {"kappa": [48], "shell1": [48]}
    options = {"pixels": 8, "field_deg": 5.0, "nearest": 60.0}
    rays = lb.ray_tracing(SIMULATION, options, [0.5, 1.0], planes=4, free=["omega_m"])
    assert list(rays.codomain)[:4] == ["kappa_1", "gamma1_1", "gamma2_1", "omega_1"]
    tracers = lb.galaxies(SIMULATION, (0.5, 0.1), free_bias=True)
    counts = {"redshift": [0.1, 0.2, 0.4], "density": [0.0, 1.0, 0.0]}
    both = {
        "sources": [counts | {"alignment": {"amplitude": 1.0}}],
        "galaxies": [counts | {"b1": 0.5}, counts | {"b1": 0.7, "b2": 0.1}],
        "pixels": 8,
        "field_deg": 5.0,
    }
    sample = lb.light_cone(SIMULATION, both, free=["b1_2", "a_ia", "sigma8"])
    assert list(sample.domain) == ["modes", "sigma8", "b1_2", "a_ia"]
    assert list(sample.codomain) == ["kappa", "galaxies1", "galaxies2"]
    rng = np.random.default_rng(1)
    points = [(full, [0.81]), (rays, [0.31]), (tracers, [0.5, 0.1]), (sample, [0.81, 0.7, 1.0])]
    for operator, parameters in points:
        x = np.concatenate([lb.white_modes(8, seed=1).ravel(), parameters])
        value = operator(x)
        u, v = rng.normal(size=x.size), rng.normal(size=value.size)
        pushed, pulled = lb.jvp(operator, x, u)[1], lb.vjp(operator, x, v)[1]
        assert np.ravel(pushed) @ v == pytest.approx(np.ravel(pulled) @ u, rel=1e-9)
    with pytest.raises(lb.LookbackError, match="leave out `sources`"):
        lb.ray_tracing(SIMULATION, LIGHT_CONE, [1.0])


def test_shear_on_the_sphere_goes_around_mass():
    shear = lb.sphere_shear(8)
    ring = np.concatenate([np.full(4 * min(i, 8, 32 - i), i) for i in range(1, 32)])
    from_pole = np.minimum(ring, 32 - ring)
    z = np.where(from_pole < 8, 1 - from_pole**2 / 192, 4 / 3 - from_pole / 12)
    gamma1, gamma2 = np.split(shear(3 * z**2 - 1), 2)
    # Mass at the poles: images are stretched to the east, by sin^2.
    np.testing.assert_allclose(gamma1, 1 - z**2, atol=0.05)
    np.testing.assert_allclose(gamma2, 0, atol=0.05)
    with pytest.raises(lb.LookbackError, match="nside 0"):
        lb.sphere_shear(0)


def test_every_choice_of_a_light_cone_counts():
    x = lb.white_modes(8, seed=1).ravel()
    neutrinos = {"m_nu": 0.3}
    sections = ({}, {}, {}), ({}, {}, neutrinos)
    base, massive = (
        lb.light_cone(SIMULATION | s, LIGHT_CONE | c, cosmology=u, seed=3)(x) for s, c, u in sections
    )
    choices = [
        ({"scheme": "fast_pm"}, {}, {}),
        ({"scheme": "fast_pm_arithmetic"}, {}, {}),
        ({"gradient": "two_point"}, {}, {}),
        ({"gradient": "spectral"}, {}, {}),
        ({"laplace": "finite_difference"}, {}, {}),
        ({"start_gradient": "four_point"}, {}, {}),
        ({"start_laplace": "finite_difference"}, {}, {}),
        ({"compensate": True}, {}, {}),
        ({"window": "tsc"}, {}, {}),
        ({"lpt": 1}, {}, {}),
        ({"spacing": "growth"}, {}, {}),
        ({"times": [0.2, 0.5, 0.8, 1.0]}, {}, {}),
        ({"sharpening": {"alpha": 0.1, "mu": 0.0, "kl": 0.05, "ks": 0.5}}, {}, {}),
        ({}, {"tiling": "permutations"}, {}),
        ({}, {"tiling": "aligned"}, {}),
        ({}, {"crossing": "lagrangian"}, {}),
        ({}, {"softness": 0.2}, {}),
        ({}, {"nearest": 60.0}, {}),
        ({}, {"subtract_mean": False}, {}),
        ({}, {"compensate": False}, {}),
        ({}, {"centre_pixels": [0.5, -0.5]}, {}),
        ({}, {}, {"transfer": "no_wiggle"}),
        ({}, {}, {"radiation": False}),
        ({}, {}, {"n_eff": 4.0}),
        ({}, {}, {"t_cmb": 2.9}),
        ({}, {}, {"a_s": 2.2}),
        ({}, {}, neutrinos | {"massive_neutrinos": 3}),
    ]
    for simulation, light_cone, cosmology in choices:
        cone = lb.light_cone(SIMULATION | simulation, LIGHT_CONE | light_cone, cosmology=cosmology, seed=3)
        value, before = cone(x), massive if "m_nu" in cosmology else base
        assert np.isfinite(value).all(), (simulation, light_cone, cosmology)
        change = np.abs(value - before).max() / before.std()
        assert 1e-8 < change < 50, (simulation, light_cone, cosmology, change)
    nearly = lb.light_cone(SIMULATION | {"keep_potentials": True}, LIGHT_CONE, seed=3)(x)
    np.testing.assert_allclose(nearly, base, rtol=1e-9, atol=1e-12)


def test_a_spectrum_from_a_file_has_its_own_amplitude(tmp_path):
    k = np.geomspace(1e-4, 30.0, 400)
    table = tmp_path / "power.txt"
    power = 2.5e4 * (k / 0.02) / (1 + (k / 0.02) ** 2) ** 1.3
    np.savetxt(table, np.column_stack([k, power]), header="k/h P")
    x = lb.white_modes(8, seed=1).ravel()

    def density(**more):
        return lb.nbody(SIMULATION, cosmology={"table": str(table)} | more)(x)

    np.savetxt(tmp_path / "twice.txt", np.column_stack([k, 2 * power]))
    twice = lb.nbody(SIMULATION, cosmology={"table": str(tmp_path / "twice.txt")})(x)
    assert twice.std() > 1.2 * density().std()
    same = [lb.nbody(SIMULATION, cosmology={"table": str(tmp_path / name), "sigma8": 0.7})(x) for name in ("twice.txt", "power.txt")]
    np.testing.assert_allclose(*same, rtol=1e-9)
    with pytest.raises(lb.LookbackError, match="its own"):
        density(a_s=2.1)
    with pytest.raises(lb.LookbackError, match="its own amplitude"):
        lb.nbody(SIMULATION, cosmology={"table": str(table)}, free=["sigma8"])
    assert "sigma8" in lb.nbody(SIMULATION, cosmology={"table": str(table), "sigma8": 0.7}, free=["sigma8"]).domain


def test_growth_and_distances_of_another_code_give_its_maps(tmp_path):
    """MADLens, with its tables: the maps, and what its tape makes of changes."""
    reference = ROOT / "crates/lensing/tests/reference/madlens_maps.npz"
    madlens = dict(np.load(reference))
    columns = [madlens[f"growth_{name}"] for name in ("a", "e", "d1", "f1", "d2", "f2")]
    columns[4] = -3 / 7 * columns[4]
    np.savetxt(tmp_path / "growth.txt", np.column_stack(columns), header="a E D1 f1 D2 f2", fmt="%.17g")
    distances = np.column_stack([madlens["redshift"], madlens["distance"]])
    np.savetxt(tmp_path / "distances.txt", distances, header="z chi", fmt="%.17g")
    cosmology = dict(
        omega_m=0.3089037414433296, omega_b=0.0486, h=0.6774, n_s=0.9667, sigma8=0.81581, radiation=False,
        growth_table=tmp_path / "growth.txt", growth_between="lines", distance_table=tmp_path / "distances.txt",
    )
    simulation = dict(
        particles=32, box_size=64.0, mesh_factor=2, lpt=2, start_gradient="four_point", scheme="fast_pm",
        times=np.linspace(0.1, 1.0, 11),
        sharpening=dict(alpha=0.01298855, mu=-2.59606026, kl=0.62717527, ks=1.61288947),
    )
    maps = dict(
        sources=[dict(z=0.5), dict(z=1.0)], pixels=64, field_deg=1.5, centre_pixels=[-0.5, -0.5], nearest=0.0,
        tiling="permutations", crossing="lagrangian", subtract_mean=False,
    )
    cone = lb.light_cone(simulation, maps, cosmology=cosmology)

    # Linear densities of MADLens to latents: white noise is the density over the root of its power.
    wave = [2 * np.pi / 64.0 * np.fft.fftfreq(32, 1 / 32)] * 2 + [2 * np.pi / 64.0 * np.fft.rfftfreq(32, 1 / 32)]
    k = np.sqrt(sum(k**2 for k in np.meshgrid(*wave, indexing="ij")))
    k[0, 0, 0] = 1.0
    root = np.sqrt(lb.Cosmology(cosmology).linear_power(k.ravel()).reshape(k.shape) / 2.0**3)

    def scaled(density, factor):
        modes = np.fft.rfftn(np.reshape(density, (32, 32, 32))) * factor
        modes[0, 0, 0] = 0.0
        return lb.modes_of(np.fft.irfftn(modes, s=(32, 32, 32), axes=(0, 1, 2))).ravel()

    def seen(maps):
        """Its rows are our columns."""
        return np.reshape(maps, (2, 64, 64)).transpose(0, 2, 1)

    x = scaled(madlens["rho"], 1 / root)
    off = np.abs(seen(cone(x)) - madlens["kappa_pgd"]).max() / madlens["kappa_pgd"].std()
    assert off < 3e-7, off
    pairs = [
        (seen(lb.jvp(cone, x, scaled(madlens["tangent_pgd"], 1 / root))[1]).ravel(), madlens["jvp_pgd"].ravel()),
        (
            lb.vjp(cone, x, seen(madlens["cotangent_pgd"]).ravel())[1].ravel(),
            scaled(madlens["vjp_pgd"], root),
        ),
    ]
    for ours, theirs in pairs:
        off = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        assert off < 2e-8, off

    universe = lb.Cosmology(cosmology)
    assert set(universe.growth(0.5, derivatives=True)[1]) == {"omega_b", "n_s", "sigma8"}
    np.testing.assert_allclose(universe.growth(0.5), np.interp(np.log(0.5), np.log(columns[0]), columns[2]), rtol=1e-12)
    with pytest.raises(lb.LookbackError, match="`omega_m` cannot be free: growth or distances are those of a table"):
        lb.light_cone(simulation, maps, cosmology=cosmology, free=["omega_m"])
    with pytest.raises(lb.LookbackError, match="before the first row of the growth table"):
        lb.light_cone(simulation | {"times": [0.05, 0.5, 1.0]}, maps, cosmology=cosmology)
    with pytest.raises(lb.LookbackError, match="give one"):
        lb.nbody(SIMULATION, cosmology={"growth_between": "lines"})
    with pytest.raises(lb.LookbackError, match=r"distances.txt: .* found"):
        lb.nbody(SIMULATION, cosmology={"growth_table": str(tmp_path / "distances.txt")})
    with pytest.raises(lb.LookbackError, match="as many numbers along each axis"):
        lb.modes_of(np.zeros((4, 4, 6)))
    with pytest.raises(lb.LookbackError, match="three axes"):
        lb.modes_of(np.zeros((4, 4)))
    with pytest.raises(lb.LookbackError, match="not finite|NaN|nan"):
        lb.modes_of(np.full((4, 4, 4), np.nan))


def test_wrong_universes_are_refused_in_words():
    with pytest.raises(lb.LookbackError, match="`steps` must lie between 1 and 10000"):
        lb.nbody(SIMULATION | {"steps": 10**11})
    with pytest.raises(lb.LookbackError, match="lower `nearest`"):
        lb.light_cone(SIMULATION, LIGHT_CONE | {"nearest": 5000.0})
    with pytest.raises(lb.LookbackError, match="`centre_pixels` is for flat maps"):
        lb.light_cone(SIMULATION, {"sources": [{"z": 0.1}], "nside": 2, "centre_pixels": [0.5, 0.5]})
    with pytest.raises(lb.LookbackError, match="mesh_factor"):
        lb.nbody(SIMULATION | {"mesh_factor": 1.3})
    assert lb.nbody(SIMULATION | {"mesh_factor": "3/2"})(np.zeros(512)).shape == (12, 12, 12)
    assert lb.nbody(SIMULATION, free="omega_m").domain == lb.nbody(SIMULATION, free=["omega_m"]).domain
    with pytest.raises(lb.LookbackError, match="no parameter `omega_n`"):
        lb.nbody(SIMULATION, free="omega_n")
    with pytest.raises(lb.LookbackError, match="partcles"):
        lb.nbody({"partcles": 8, "box_size": 1.0})
    with pytest.raises(lb.LookbackError, match="beyond the beginning"):
        lb.light_cone(SIMULATION, LIGHT_CONE | {"sources": [{"z": 9.0}]})
    with pytest.raises(lb.LookbackError, match="GB of memory"):
        lb.nbody(SIMULATION | {"particles": 1400})


def test_a_jax_function_has_the_gradient(cone):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    from lookback.jax import jax_function

    x, v = cone_point(), np.random.default_rng(2).normal(size=128)
    function = jax.jit(jax_function(cone))
    np.testing.assert_allclose(function(x), cone(x), rtol=1e-12)
    gradient = jax.grad(lambda x: (function(x) * v).sum())(x)
    np.testing.assert_allclose(gradient, lb.vjp(cone, x, v)[1], rtol=1e-12)
    # A value and two gradients at two points, the last of which is kept, in no particular order.
    other, back = jax.vjp(jax_function(cone), x)
    value, back_there = jax.vjp(jax_function(cone), 0.5 * x)
    np.testing.assert_allclose(value, cone(0.5 * x), rtol=1e-12)
    np.testing.assert_allclose(back_there(v)[0], lb.vjp(cone, 0.5 * x, v)[1], rtol=1e-12)
    np.testing.assert_allclose(back(v)[0], gradient, rtol=1e-12)
    np.testing.assert_allclose(other, cone(x), rtol=1e-12)


def test_a_torch_function_has_the_gradient(cone):
    torch = pytest.importorskip("torch")
    from lookback.torch import torch_function

    v = np.random.default_rng(2).normal(size=128)
    x = torch.tensor(cone_point(), requires_grad=True)
    value = torch_function(cone)(x)
    np.testing.assert_allclose(value.detach().numpy(), cone(cone_point()), rtol=1e-12)
    (value * torch.tensor(v)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), lb.vjp(cone, cone_point(), v)[1], rtol=1e-12)


def two_modes(z):
    """Three tenths at (-2, 0) with width 0.3, seven tenths at (2, 1) with widths 0.8 and 0.2."""
    means, widths = np.array([[-2.0, 0.0], [2.0, 1.0]]), np.array([[0.3, 0.3], [0.8, 0.2]])
    offset = (z - means) / widths
    logs = np.log([0.3, 0.7]) - np.log(2 * np.pi * widths.prod(axis=1)) - 0.5 * (offset**2).sum(axis=1)
    shares = np.exp(logs - logs.max())
    value = logs.max() + np.log(shares.sum())
    return -value, (shares[:, None] * offset / widths).sum(axis=0) / shares.sum()


def test_approximations_of_a_density_in_python_give_its_integral():
    target = lb.energy(two_modes, dim=2)
    el2o = lb.el2o(target, starts=20, start_scale=2.0)
    assert el2o.figures["modes"] == 2 and abs(el2o.figures["mode_0_weight"] - 0.7) < 1e-3
    # The density is normalised: its integral is one.
    assert abs(el2o.figures["log_evidence"]) < 4 * el2o.figures["log_evidence_error"]
    single = lb.energy(lambda z: (0.5 * np.sum(z**2 * [1, 4]), z * [1, 4]), dim=2)
    integral = np.log(2 * np.pi / 2)
    for found in (lb.pathfinder(single), lb.laplace(single, optimizer="lbfgs", samples=100), lb.thermodynamic(single), lb.smc(single)):
        error = found.figures["log_evidence_error"]
        assert abs(found.figures["log_evidence"] - integral) < 4 * error + 1e-6
    best = lb.laplace(target, optimizer="adam", starts=20, start_scale=2.0, max_iterations=3000)
    np.testing.assert_allclose(best.centre, [2, 1], atol=1e-2)
    with pytest.raises(lb.LookbackError, match="no optimizer `sgd`"):
        lb.laplace(target, optimizer="sgd")
    with pytest.raises(lb.LookbackError, match="no curvature `exact`"):
        lb.laplace(target, optimizer="lbfgs", curvature="exact")


def test_chains_start_where_they_are_told():
    target = lb.energy(two_modes, dim=2)
    start = lb.el2o(target, starts=20, start_scale=2.0, samples=4).samples
    found = lb.nuts(target, start=start, warmup=0, draws=1)
    assert found.samples.shape == (4, 2)
    assert lb.nuts(target, start=start, precondition=2, warmup=50, draws=10).samples.shape == (40, 2)
    with pytest.raises(lb.LookbackError, match="3 latents"):
        lb.nuts(target, start=np.zeros((1, 3)))
    with pytest.raises(lb.LookbackError, match="3 latents"):
        lb.nuts(target, start=np.zeros((1, 3)), precondition=2)


def test_runs_are_compared_and_open_in_arviz(tmp_path):
    text = """
title = "pixels"
[sky]
pixels = [12, 14]
pixel_arcmin = 1.0
[prior.kappa]
kind = "gaussian_field"
spectrum.power_law = {{ amplitude = {amplitude}, pivot = 1000.0, index = -1.2 }}
[[forward]]
kind = "shear"
[data]
{data}
noise_std = [0.02, 0.02]
[method]
kind = "map"
samples = 400
tolerance = 1e-6
[output]
log_likelihood = true
directory = "{name}"
"""
    files = 'kind = "maps"\nmaps = ["{0}/data_gamma1.fits", "{0}/data_gamma2.fits"]'.format(tmp_path / "mock")
    for name, amplitude, data in (
        ("mock", 1e-9, 'kind = "mock"'),
        ("right", 1e-9, files),
        ("faint", 1e-11, files),
    ):
        (tmp_path / f"{name}.toml").write_text(text.format(name=tmp_path / name, amplitude=amplitude, data=data))
        figures = lb.run(tmp_path / f"{name}.toml")
    assert 0 <= figures["predictive_p_chi2"] <= 1
    best, other = lb.compare([tmp_path / "faint", tmp_path / "right"], page=tmp_path / "models.html")
    assert (tmp_path / "models.html").read_text().count("<svg") == 6
    assert best["folder"].endswith("right") and best["probability"] > 0.99
    assert other["elpd_below"]["value"] > 2 * other["elpd_below"]["error"]
    arviz = pytest.importorskip("arviz")
    xarray = pytest.importorskip("xarray")
    tree = xarray.open_datatree(tmp_path / "right" / "samples.zarr", engine="zarr")
    loo = arviz.loo(arviz.InferenceData.from_datatree(tree))
    # Each smooths the tail of the weights in its own way.
    assert abs(loo.elpd_loo - best["elpd"]["value"]) < 0.02 * best["elpd"]["error"]
    assert abs(loo.p_loo - best["effective_parameters"]) < 0.02 * best["effective_parameters"]


def small_networks(pixels):
    """An autoencoder of two latents, and a training that suffices for blobs."""
    return f"""
[autoencoder]
latents = 2
[autoencoder.architecture]
encoder = [{{ kind = "dense", outputs = 32 }}, {{ kind = "activation", function = "silu" }}, {{ kind = "dense", outputs = 2 }}]
decoder = [{{ kind = "dense", outputs = 32 }}, {{ kind = "activation", function = "silu" }}, {{ kind = "dense", outputs = {pixels} }}]
[training]
epochs = 60
batch = 50
learning_rate = 5e-3
"""


def test_a_prior_is_learned_and_used(tmp_path):
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:8, :8]
    place = rng.uniform(2, 5, (600, 2, 1, 1))
    images = np.exp(-((y - place[:, 0]) ** 2 + (x - place[:, 1]) ** 2) / 4)
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "blobs.toml").write_text(f"""
title = "Blobs"
[data]
train = "images.npy"
{small_networks(pixels=64)}
[flow]
layers = 2
hidden = 16
training = {{ epochs = 10, batch = 50 }}
[model_error]
rank = 3
""")
    scores = lb.train(tmp_path / "blobs.toml", output=tmp_path / "model")
    assert scores["validation_mse"] < 1e-2
    model = lb.Model(tmp_path / "model")
    assert (model.latents, model.shape, model.card["title"]) == (2, [8, 8, 1], "Blobs")
    assert model.sample(5, seed=1).shape == (5, 8, 8)
    np.testing.assert_array_equal(model.sample(5, seed=1), model.sample(5, seed=1))
    z = model.encode(images[:4])
    np.testing.assert_allclose(model.decode(model.encode(images[:4], normal=True), normal=True), model.decode(z), atol=1e-4)
    assert model.interpolate(images[:2], images[2:4], steps=5).shape == (2, 5, 8, 8)
    assert model.log_prob(images[:4]).shape == (4,)
    odd = np.indices((8, 8)).sum(0) % 2
    assert np.argmin(model.score(np.concatenate([images[:9], odd[None]]))["combined"]) == 9

    data = images[:2] + 0.1 * rng.normal(size=(2, 8, 8))
    data[:, :, 4:] = np.nan
    found = model.reconstruct(data, noise_std=0.1, starts=6, samples=50)
    assert found["samples"].shape == (2, 50, 8, 8) and len(found["examples"]) == 2
    shares = [one["mode_weights"] for one in found["examples"]]
    assert found["modes"].shape == (sum(map(len, shares)), 8, 8)
    assert [one["first_mode"] for one in found["examples"]] == [0, len(shares[0])]
    # Mostly one mode, near the mean of the samples.
    assert np.abs(found["modes"][0] - found["mean"][0]).mean() < 0.1
    error = (found["mean"] - images[:2]) / found["std"]
    assert np.sqrt(np.mean(error**2)) < 2

    judged = model.calibrate(images[:4], starts=2)
    right = [one["calibrated"] for one in judged]
    assert right == sorted(right, reverse=True)
    # The first holds what it promises as well as the sharpest, or better.
    missed = lambda one: max(abs(held - promised) for held, promised in zip(one["within"], (0.68, 0.95)))
    sharpest = min((one for one in judged if one["calibrated"]), key=lambda one: one["score"], default=judged[0])
    assert missed(judged[0]) <= missed(sharpest)
    assert {one["factor"] for one in judged} >= {1.0, 10.0, 100.0}
    alike = model.calibrate(images[:4], like=data, noise_std=0.1, starts=2)
    assert len(alike) in (7, 8) and alike != model.calibrate(images[:4], noise_std=0.1, starts=2)

    prior = model.prior(model_error="none")
    truth = np.array([0.3, -0.4])
    sigma = np.full((8, 8), 0.05)
    posterior = lb.Posterior(prior, lb.gaussian(prior(truth), sigma))
    np.testing.assert_allclose(lb.laplace(posterior).centre, truth, atol=0.1)
    with pytest.raises(lb.LookbackError, match='"correlated", "diagonal" and "none" are known'):
        model.prior(model_error="some")
    for wrong in (np.zeros((3, 5)), np.zeros((8, 8, 3)), np.zeros((2, 3, 8, 8)), np.zeros((0, 8, 8))):
        with pytest.raises(lb.LookbackError, match="64 numbers on one axis"):
            model.encode(wrong)
    with pytest.raises(lb.LookbackError, match="2 numbers on one axis"):
        model.decode(z.T)
    with pytest.raises(lb.LookbackError, match="at least 2"):
        model.reconstruct(data, samples=1)


def test_hdf5_holds_the_same_examples(tmp_path):
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(2)
    images = (255 * rng.uniform(size=(200, 4, 4)) ** 2).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file.create_dataset("survey/images", data=images, chunks=(64, 4, 4), compression="gzip", shuffle=True)
        file.create_dataset("survey/scaled", data=images.astype(">f4"))
        file["survey/names"] = [b"a", b"b"]
    text = """
[data]
train = "images.npy"
[autoencoder]
latents = 2
architecture = { encoder = [{ kind = "dense", outputs = 2 }], decoder = [{ kind = "dense", outputs = 16 }] }
[training]
epochs = 1
batch = 50
[flow]
layers = 1
hidden = 4
training = { epochs = 1, batch = 50 }
[model_error]
rank = 2
"""
    scores = []
    for number, place in enumerate(["images.npy", "images.h5#survey/images", "images.h5#/survey/scaled"]):
        file = tmp_path / f"{number}.toml"
        file.write_text(text.replace("images.npy", place))
        found = lb.train(file, output=tmp_path / f"{number}")
        scores.append({name: value for name, value in found.items() if name != "directory"})
    assert scores[0] == scores[1] == scores[2]
    for place, words in [("images.h5", "say which dataset is meant"), ("images.h5#survey/image", "it holds survey/images"), ("images.h5#survey/names", "numbers of 1, 2, 4 or 8 bytes")]:
        (tmp_path / "wrong.toml").write_text(text.replace("images.npy", place))
        with pytest.raises(lb.LookbackError, match=words):
            lb.train(tmp_path / "wrong.toml", output=tmp_path / "none")
    whole = (tmp_path / "images.h5").read_bytes()
    (tmp_path / "images.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "wrong.toml").write_text(text.replace("images.npy", "images.h5#survey/images"))
    with pytest.raises(lb.LookbackError, match="cut short|whole HDF5"):
        lb.train(tmp_path / "wrong.toml", output=tmp_path / "none")


def test_latents_depend_on_parameters(tmp_path):
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:6, :6]
    place = rng.uniform(1, 4, (400, 2, 1, 1))
    images = np.exp(-((y - place[:, 0]) ** 2 + (x - place[:, 1]) ** 2) / 4)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "heights.npy", place[:, 0, 0, 0])
    (tmp_path / "blobs.toml").write_text(f"""
[data]
train = "images.npy"
condition = {{ kind = "parameters", train = "heights.npy" }}
{small_networks(pixels=36)}
[flow]
layers = 3
hidden = 16
training = {{ epochs = 40, batch = 50, learning_rate = 5e-3 }}
""")
    lb.train(tmp_path / "blobs.toml", output=tmp_path / "model")
    model = lb.Model(tmp_path / "model")
    rows = np.arange(6)[:, None]

    def height(of):
        return (of * rows).sum((-2, -1)) / of.sum((-2, -1))

    low, high = (np.median(height(np.clip(model.given(h).sample(200), 1e-3, None))) for h in (1.5, 3.5))
    assert high - low > 0.8
    right = model.given(place[:50, 0, 0]).log_prob(images[:50])
    wrong = model.given(5.0 - place[:50, 0, 0]).log_prob(images[:50])
    assert np.mean(right) > np.mean(wrong) + 0.5
    prior = model.given([2.0]).prior()
    assert np.isfinite(prior(np.zeros(sum(int(np.prod(s)) for s in prior.domain.values())))).all()
    for refused, words in [(lambda: model.sample(3), "must be given"), (lambda: model.given([1.0, np.nan]), "not a finite number")]:
        with pytest.raises(lb.LookbackError, match=words):
            refused()


def test_a_prior_of_maps_is_learned_and_used(tmp_path):
    grid = lb.Grid((32, 32), pixel_arcmin=1.0)
    prior = lb.lognormal_field(grid, lb.power_law(1e-9, pivot=1000.0, index=-1.0), shift=0.03)
    rng = np.random.default_rng(3)
    maps = np.stack([np.reshape(prior(rng.normal(size=32 * 32)), (32, 32)) for _ in range(6)])
    np.save(tmp_path / "maps.npy", maps)
    (tmp_path / "maps.toml").write_text("""
title = "Lognormal"
[data]
maps = "maps.npy"
pixel_arcmin = 1.0
[field]
layers = 1
filter_knots = 6
warp_knots = 8
margin = 0
[training]
epochs = 10
batch = 2
""")
    scores = lb.train(tmp_path / "maps.toml", output=tmp_path / "model")
    assert abs(scores["validation_distance"]) < 0.1
    model = lb.MapModel(tmp_path / "model")
    assert model.card["pixel_arcmin"] == 1.0 and "Lognormal" in repr(model)
    draws = model.sample(lb.Grid((24, 40), pixel_arcmin=1.0), 50)
    assert draws.shape == (50, 24, 40)
    np.testing.assert_allclose(draws.std(), maps.std(), rtol=0.2)
    other = model.prior(grid)
    z = rng.normal(size=32 * 32)
    assert np.shape(other(z)) == np.shape(prior(z))
    with pytest.raises(lb.LookbackError, match="trained on pixels of 1 arcmin"):
        model.prior(lb.Grid((32, 32), pixel_arcmin=2.0))
    with pytest.raises(lb.LookbackError, match="prior of maps"):
        lb.Model(tmp_path / "model")
