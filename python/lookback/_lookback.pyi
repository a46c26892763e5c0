"""Types of the compiled part; see the docstrings for meaning."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Integrator = Literal["leapfrog", "minimal_norm", "two_stage"]
Floats = NDArray[np.float32]
Pair = tuple[float, float]

__version__: str

class LookbackError(ValueError): ...

class Grid:
    def __new__(cls, shape: tuple[int, int], *, pixel_arcmin: float) -> Grid: ...
    @property
    def shape(self) -> tuple[int, int]: ...

class Spectrum:
    def __call__(self, ell: float) -> float: ...

class Linearization:
    def push(self, dx: Array) -> Array: ...
    def pull(self, dy: Array) -> Array: ...

class Operator:
    def __call__(self, x: Array) -> Array: ...
    def linearize(self, x: Array) -> tuple[Array, Linearization]: ...
    def then(self, next: Operator) -> Operator: ...
    def split(self, y: Array) -> dict[str, Array]: ...
    @property
    def domain(self) -> dict[str, list[int]]: ...
    @property
    def codomain(self) -> dict[str, list[int]]: ...

class Cosmology:
    def __new__(cls, parameters: dict[str, Any] | None = None) -> Cosmology: ...
    @property
    def parameters(self) -> dict[str, float]: ...
    @property
    def sigma8(self) -> float: ...
    def hubble(self, a: ArrayLike, *, derivatives: bool = False) -> Any: ...
    def distance(self, a: ArrayLike, *, derivatives: bool = False) -> Any: ...
    def transverse_distance(self, a: ArrayLike, *, derivatives: bool = False) -> Any: ...
    def scale_factor(self, distance: ArrayLike, *, derivatives: bool = False) -> Any: ...
    def growth(self, a: ArrayLike, *, derivatives: bool = False) -> Any: ...
    def growth_rate(self, a: ArrayLike, *, derivatives: bool = False) -> Any: ...
    def linear_power(self, k: ArrayLike, a: float = 1.0, *, derivatives: bool = False) -> Any: ...
    def halofit(self, k: ArrayLike, a: float = 1.0, *, derivatives: bool = False) -> Any: ...
    def convergence_spectrum(
        self,
        ell: ArrayLike,
        sources: dict[str, Any],
        other: dict[str, Any] | None = None,
        *,
        linear: bool = False,
        derivatives: bool = False,
    ) -> Any: ...

class Likelihood:
    def energy(self, prediction: Array) -> tuple[float, Array]: ...
    def simulate(self, prediction: Array, seed: int) -> Array: ...
    def residual(self, prediction: Array) -> Array: ...

class Posterior:
    def __new__(cls, model: Operator, likelihood: Likelihood) -> Posterior: ...
    def energy(self, z: Array) -> tuple[float, Array]: ...
    @property
    def dim(self) -> int: ...

class MapModel:
    def __new__(cls, path: str | PathLike[str]) -> MapModel: ...
    @property
    def card(self) -> dict[str, Any]: ...
    def prior(self, grid: Grid, *, name: str = "kappa") -> Operator: ...
    def sample(self, grid: Grid, count: int = 1, *, seed: int = 42) -> Floats: ...

class Model:
    def __new__(cls, path: str | PathLike[str]) -> Model: ...
    @property
    def card(self) -> dict[str, Any]: ...
    @property
    def latents(self) -> int: ...
    @property
    def shape(self) -> list[int]: ...
    def given(self, values: ArrayLike) -> Model: ...
    def sample(self, count: int = 1, *, seed: int = 42) -> Floats: ...
    def interpolate(self, begin: ArrayLike, end: ArrayLike, *, steps: int = 9) -> Floats: ...
    def encode(self, examples: ArrayLike, *, normal: bool = False) -> Floats: ...
    def decode(self, latents: ArrayLike, *, normal: bool = False) -> Floats: ...
    def log_prob(self, examples: ArrayLike) -> Array: ...
    def score(self, examples: ArrayLike) -> dict[str, Array]: ...
    def reconstruct(
        self,
        data: ArrayLike,
        *,
        noise_std: float = 0.0,
        blur: float | None = None,
        model_error: Literal["adaptive", "correlated", "diagonal", "none"] = "adaptive",
        error_factor: float | None = None,
        sampling: Literal["laplace", "smc", "nuts"] = "laplace",
        starts: int = 20,
        modes: int = 20,
        samples: int = 100,
        seed: int = 42,
    ) -> dict[str, Any]: ...
    def calibrate(
        self,
        examples: ArrayLike,
        *,
        like: ArrayLike | None = None,
        noise_std: float = 0.0,
        starts: int = 8,
        seed: int = 42,
    ) -> list[dict[str, Any]]: ...
    def prior(
        self, *, model_error: Literal["correlated", "diagonal", "none"] = "correlated", name: str = "signal"
    ) -> Operator: ...

class Result:
    @property
    def centre(self) -> Array | None: ...
    @property
    def samples(self) -> Array: ...
    @property
    def chains(self) -> NDArray[np.uintp]: ...
    @property
    def diverged(self) -> NDArray[np.bool_]: ...
    @property
    def figures(self) -> dict[str, float]: ...

def power_law(amplitude: float, *, pivot: float, index: float, running: float = 0.0) -> Spectrum: ...
def spectrum_table(ell: Array, power: Array) -> Spectrum: ...
def chain(operators: Sequence[Operator]) -> Operator: ...
def stack(operators: Sequence[Operator]) -> Operator: ...
def gaussian_field(grid: Grid, spectrum: Spectrum, name: str = "kappa") -> Operator: ...
def lognormal_field(grid: Grid, spectrum: Spectrum, *, shift: float, name: str = "kappa") -> Operator: ...
def correlated_field(
    grid: Grid,
    *,
    fluctuations: Pair,
    slope: Pair,
    flexibility: Pair | None = None,
    asperity: Pair | None = None,
    offset_mean: float = 0.0,
    offset_std: Pair = (1e-3, 1e-3),
    name: str = "kappa",
) -> Operator: ...
def distribution(
    name: str, kind: str, first: float, second: float | None = None, *, shape: Sequence[int] = ()
) -> Operator: ...
def shear(grid: Grid) -> Operator: ...
def reduced_shear(grid: Grid) -> Operator: ...
def sphere_shear(nside: int) -> Operator: ...
def smooth(grid: Grid, *, fwhm_arcmin: float, name: str = "kappa") -> Operator: ...
def mask(grid: Grid, observed: NDArray[np.bool_], names: Sequence[str] = ...) -> Operator: ...
def readout(grid: Grid, x_arcmin: Array, y_arcmin: Array, names: Sequence[str] = ...) -> Operator: ...
def draw(prior: Operator, seed: int) -> Array: ...
def mass_map(grid: Grid, gamma1: Array, gamma2: Array) -> tuple[Array, Array]: ...
def power_spectrum(grid: Grid, field: Array, bins: int = 24) -> tuple[list[float], list[float], list[int]]: ...
def gaussian(data: Array, sigma: Array) -> Likelihood: ...
def complex_gaussian(data: Array, sigma: Array) -> Likelihood: ...
def correlated_gaussian(data: Array, sigma: Array, factors: Array) -> Likelihood: ...
def student_t(data: Array, sigma: Array, dof: float) -> Likelihood: ...
def poisson(counts: Array, observed: NDArray[np.bool_] | None = None) -> Likelihood: ...
def function(
    function: Callable[[Array], tuple[Any, ...]],
    *,
    input_shape: Sequence[int],
    output_shape: Sequence[int],
    name: str = "Python function",
) -> Operator: ...
def python_likelihood(function: Callable[[Array], tuple[float, Array]], *, shape: Sequence[int]) -> Likelihood: ...
def energy(function: Callable[[Array], tuple[float, Array]], *, dim: int) -> Posterior: ...
def wiener(
    posterior: Posterior, *, samples: int = 0, tolerance: float = 1e-4, max_iterations: int = 2000, seed: int = 42
) -> Result: ...
def laplace(
    posterior: Posterior,
    *,
    samples: int = 0,
    optimizer: Literal["newton_cg", "lbfgs", "gradient_descent", "adam"] = "newton_cg",
    tolerance: float = 1e-3,
    max_iterations: int = 500,
    learning_rate: float = 0.1,
    starts: int = 1,
    curvature: Literal["hessian", "fisher"] | None = None,
    probes: int = 0,
    start_scale: float = 0.1,
    seed: int = 42,
) -> Result: ...
def el2o(
    posterior: Posterior,
    *,
    starts: int = 1,
    start_scale: float = 1.0,
    modes: int = 8,
    optimizer: Literal["newton_cg", "lbfgs", "gradient_descent", "adam"] = "lbfgs",
    max_iterations: int = 2000,
    pairs: int = 4,
    rounds: int = 30,
    tolerance: float = 1e-2,
    samples: int = 1000,
    candidates: int = 1,
    moves: int = 0,
    seed: int = 42,
) -> Result: ...
def pathfinder(
    posterior: Posterior,
    *,
    paths: int = 4,
    start_scale: float = 1.0,
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
    judging: int = 10,
    draws_per_path: int = 500,
    samples: int = 500,
    seed: int = 42,
) -> Result: ...
def thermodynamic(
    posterior: Posterior,
    *,
    chains: int = 4,
    warmup: int = 150,
    draws: int = 300,
    overlap: float = 0.5,
    target_acceptance: float = 0.8,
    max_rungs: int = 200,
    seed: int = 42,
) -> Result: ...
def smc(
    posterior: Posterior,
    *,
    particles: int = 1000,
    overlap: float = 0.5,
    moves: int = 3,
    final_moves: int = 10,
    leaps: int = 5,
    target_acceptance: float = 0.75,
    max_rungs: int = 200,
    seed: int = 42,
) -> Result: ...
def mgvi(
    posterior: Posterior,
    *,
    iterations: int = 10,
    pairs: int = 4,
    final_pairs: int = 50,
    newton_steps: int = 8,
    tolerance: float = 1e-2,
    start_scale: float = 0.1,
    seed: int = 42,
) -> Result: ...
def geovi(
    posterior: Posterior,
    *,
    iterations: int = 10,
    pairs: int = 4,
    final_pairs: int = 50,
    newton_steps: int = 8,
    tolerance: float = 1e-2,
    start_scale: float = 0.1,
    seed: int = 42,
) -> Result: ...
def hmc(
    posterior: Posterior,
    *,
    chains: int = 4,
    warmup: int = 200,
    draws: int = 500,
    thin: int = 1,
    path_length: float = 1.5,
    target_acceptance: float = 0.8,
    integrator: Integrator = "leapfrog",
    start_scale: float = 0.1,
    precondition: int | None = None,
    start: Array | None = None,
    seed: int = 42,
) -> Result: ...
def mala(
    posterior: Posterior,
    *,
    chains: int = 4,
    warmup: int = 200,
    draws: int = 500,
    thin: int = 1,
    path_length: float = 1.5,
    target_acceptance: float = 0.8,
    integrator: Integrator = "leapfrog",
    start_scale: float = 0.1,
    precondition: int | None = None,
    start: Array | None = None,
    seed: int = 42,
) -> Result: ...
def mams(
    posterior: Posterior,
    *,
    chains: int = 4,
    warmup: int = 200,
    draws: int = 500,
    thin: int = 1,
    path_length: float = 1.5,
    target_acceptance: float = 0.8,
    integrator: Integrator = "leapfrog",
    start_scale: float = 0.1,
    precondition: int | None = None,
    start: Array | None = None,
    seed: int = 42,
) -> Result: ...
def nuts(
    posterior: Posterior,
    *,
    chains: int = 4,
    warmup: int = 400,
    draws: int = 1000,
    thin: int = 1,
    target_acceptance: float = 0.8,
    max_depth: int = 10,
    halve_above: float | None = None,
    integrator: Integrator = "leapfrog",
    metric: Literal["diagonal", "unit"] = "diagonal",
    start_scale: float = 0.1,
    precondition: int | None = None,
    start: Array | None = None,
    seed: int = 42,
) -> Result: ...
def mclmc(
    posterior: Posterior,
    *,
    chains: int = 4,
    warmup: int = 2000,
    draws: int = 10_000,
    thin: int = 10,
    energy_error: float = 5e-4,
    integrator: Integrator = "minimal_norm",
    metric: Literal["diagonal", "unit"] = "diagonal",
    start_scale: float = 0.1,
    precondition: int | None = None,
    start: Array | None = None,
    seed: int = 42,
) -> Result: ...
def muse(
    posterior: Posterior,
    parameters: Sequence[str | int],
    *,
    simulations: int = 100,
    derivative_simulations: int = 20,
    derivative: str = "implicit",
    tolerance: float = 1e-2,
    max_iterations: int = 50,
    step: float = 0.7,
    optimizer: str = "newton_cg",
    samples: int = 100,
    start_scale: float = 0.1,
    seed: int = 42,
) -> Result: ...
def diagnostics(chains: Sequence[Sequence[float]]) -> dict[str, float]: ...
def run(file: str | PathLike[str], *, output: str | PathLike[str] | None = None, overwrite: bool = False) -> dict[str, Any]: ...
def resume(directory: str | PathLike[str]) -> dict[str, Any]: ...
def compare(directories: Sequence[str | PathLike[str]], *, page: str | PathLike[str] | None = None) -> list[dict[str, Any]]: ...
def check(file: str | PathLike[str]) -> str: ...
def calibrate(
    file: str | PathLike[str],
    *,
    data_sets: int = 100,
    output: str | PathLike[str] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]: ...
def simulate_file(
    file: str | PathLike[str], *, output: str | PathLike[str] | None = None, overwrite: bool = False
) -> dict[str, Any]: ...
def sharpen(
    file: str | PathLike[str],
    *,
    snapshots: int = 3,
    start: float = 0.5,
    k_min: float | None = None,
    k_max: float | None = None,
    output: str | PathLike[str] | None = None,
) -> dict[str, Any]: ...
def nbody(
    simulation: dict[str, Any],
    *,
    cosmology: dict[str, Any] | None = None,
    free: Sequence[str] = (),
    precision: Literal["f32", "f64"] = "f64",
) -> Operator: ...
def particles(
    simulation: dict[str, Any],
    *,
    cosmology: dict[str, Any] | None = None,
    free: Sequence[str] = (),
    precision: Literal["f32", "f64"] = "f64",
) -> Operator: ...
def light_cone(
    simulation: dict[str, Any],
    light_cone: dict[str, Any],
    *,
    cosmology: dict[str, Any] | None = None,
    free: Sequence[str] = (),
    seed: int = 42,
    precision: Literal["f32", "f64"] = "f64",
) -> Operator: ...
def galaxies(
    simulation: dict[str, Any],
    bias: tuple[float, float],
    *,
    redshift_space: bool = True,
    cosmology: dict[str, Any] | None = None,
    free: Sequence[str] = (),
    free_bias: bool = False,
    precision: Literal["f32", "f64"] = "f64",
) -> Operator: ...
def ray_tracing(
    simulation: dict[str, Any],
    light_cone: dict[str, Any],
    redshifts: Sequence[float],
    *,
    planes: int = 20,
    edge: float = 0.2,
    cosmology: dict[str, Any] | None = None,
    free: Sequence[str] = (),
    seed: int = 42,
    precision: Literal["f32", "f64"] = "f64",
) -> Operator: ...
def white_modes(side: int, *, seed: int, realisation: int = 0) -> Array: ...
def modes_of(field: Array) -> Array: ...
def train(
    file: str | PathLike[str],
    *,
    output: str | PathLike[str] | None = None,
    overwrite: bool = False,
    device: str | None = None,
) -> dict[str, Any]: ...
