//! Every operator of the house obeys the laws: Taylor, dot product, linearity, repeatability; in f64 to 1e-10 and in f32
//! to 1e-4. A new operator is one line in `registry`.

use std::sync::Arc;

use lookback::problem::Problem;
use lookback::runfile::RunFile;
use lookback_cosmology::{Alignment, Cosmology, Parameters, Settings, Sources, Tracer};
use lookback_imaging::{Mask, smooth};
use lookback_learn::field::{FieldCard, FieldGenerator, FieldModel, FieldSection};
use lookback_learn::flow::{Bijection, PublishedFlow};
use lookback_learn::layers::Image;
use lookback_learn::{
    Architecture, Augmentation, AutoencoderSection, Batch, Card, Condition, ErrorKind, Generator, Model,
    ModelError, Published, Scaling, Shape,
};
use lookback_lensing::{
    LightCone, LightConeSettings, RaySettings, RayTracing, ReducedShear, ShearCalibration, Sky, SphereShear,
    free_numbers, kaiser_squires,
};
use lookback_mesh::{Grid, Healpix, Readout, Window};
use lookback_nbody::{
    Bias, Galaxies, GradientKernel, Kernels, Lpt, Particles, Scheme, Settings as SimulationSettings,
    Sharpening, Simulation,
};
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{
    Block, Chain, DynOperator, Forget, Identity, InSingle, LinearOperator, Operator, Pointwise, Real,
    Remember, Renamed, Space, Stack, laws,
};
use lookback_prior::{
    CorrelatedField, CorrelatedFieldParameters, Distribution, Spectrum, gaussian_field, lognormal_field,
};
use npyz::WriterBuilder;

fn grid() -> Grid {
    Grid::sky(12, 15, 1e-3).expect("a grid")
}

fn spectrum() -> Spectrum {
    Spectrum::power_law(2e-9, 1000.0, -1.0, -0.2).expect("a law")
}

fn correlated<T: Real>(flexible: bool, rough: bool) -> DynOperator<T> {
    let scale = |mean, std| Distribution::LogNormal { mean, std };
    let parameters = CorrelatedFieldParameters {
        offset_mean: 0.1,
        offset_std: scale(0.2, 0.1),
        fluctuations: scale(0.5, 0.2),
        slope: Distribution::Normal { mean: -1.0, std: 0.5 },
        flexibility: flexible.then(|| scale(0.6, 0.3)),
        asperity: rough.then(|| scale(0.3, 0.1)),
    };
    Arc::new(CorrelatedField::new(&grid(), parameters, "sky", "").expect("a prior"))
}

/// A model that nobody has trained, of 12 x 16 pixels, with smooth functions throughout.
fn learned<T: Real>(error: ErrorKind) -> DynOperator<T> {
    learned_of(error, None)
}

/// The same, where the latents depend on two numbers.
fn learned_given_parameters<T: Real>() -> DynOperator<T> {
    let parameters = Condition::Parameters { offset: vec![0.1, 2.0], scale: vec![1.5, 0.7] };
    learned_of(ErrorKind::None, Some(parameters))
}

fn learned_of<T: Real>(error: ErrorKind, condition: Option<Condition>) -> DynOperator<T> {
    let image = Image { height: 12, width: 16, channels: 1 };
    let architecture = Architecture::Named(Published::Convolutional);
    let autoencoder = AutoencoderSection { latents: 4, architecture, dropout: 0.0, variational: None };
    let flow =
        PublishedFlow::SplineCoupling.section((4, condition.as_ref().map_or(0, Condition::width)), 2, 6);
    let drawn = |arrays: &[lookback_learn::Weight], away: f32| {
        let mut weights: Vec<f32> = lookback_learn::begin(arrays, 3);
        let mut shift = vec![0.0f32; weights.len()];
        Stream::new(4, Purpose::Test, 0).fill_normal(&mut shift);
        weights.iter_mut().zip(shift).for_each(|(w, s)| *w += away * s);
        weights
    };
    let shape = Shape::Image(image);
    let net = drawn(&autoencoder.build::<f32>(shape).expect("a net").weights(), 0.0);
    let flow_weights = drawn(&Bijection::weights(&flow.build::<f32>().expect("a flow")), 0.1);
    let card = Card {
        lookback_version: String::new(),
        title: "untrained".into(),
        seed: 3,
        shape: vec![12, 16, 1],
        scaling: Scaling { offset: 0.1, scale: 2.0 },
        augmentation: Augmentation::default(),
        autoencoder,
        flow,
        condition,
        flow_noise: Vec::new(),
        error_rank: 2,
        spread: None,
        error_factor: 1.0,
        usual: None,
        data: Vec::new(),
        scores: Vec::new(),
    };
    let factors = (0..2 * image.len()).map(|i| (i as f32 * 0.1).sin() * 0.1).collect();
    let wrong = ModelError { factors: Batch::new(image.len(), factors), variance: vec![0.04; image.len()] };
    let conditional = card.condition.is_some();
    let mut model =
        Model::new(card, net, flow_weights, wrong).expect("a model").cast::<T>().expect("a model");
    if conditional {
        model = model.given(&[2], &[0.3, -1.0]).expect("parameters");
    }
    Arc::new(Generator::new(Arc::new(model), error, "picture", &[12, 16], "").expect("a prior"))
}

/// Its pictures, blurred.
fn blurred_picture<T: Real>() -> DynOperator<T> {
    let picture = learned(ErrorKind::Correlated);
    let grid = Grid::sky(12, 16, 1e-3).expect("a grid");
    let blur = smooth(&grid, picture.codomain().clone(), 2e-3).expect("a width").shared();
    Arc::new(Chain::new(vec![picture, blur]).expect("fits"))
}

/// A prior of maps with the pixels of the grid, that nobody has trained.
fn learned_field<T: Real>() -> DynOperator<T> {
    let section = FieldSection { layers: 2, filter_knots: 4, warp_knots: 5, margin: 0 };
    let generator = FieldGenerator::new(section, &grid()).expect("a generator");
    let mut weights = Vec::new();
    for (array, weight) in generator.weights().into_iter().enumerate() {
        let bent = |i: usize| 0.2 * ((3 * i + 7 * array) as f32).sin();
        let of = |i: usize| match weight.name.rsplit_once('.').map_or(weight.name.as_str(), |(_, name)| name)
        {
            "scale" => 0.3,
            "places" => -2.0 + i as f32,
            "rises" if i == 0 => -2.1,
            _ => bent(i),
        };
        weights.extend((0..weight.len()).map(of));
    }
    let card = FieldCard {
        lookback_version: String::new(),
        title: "untrained".into(),
        seed: 3,
        pixel_arcmin: 1e-3f64.to_degrees() * 60.0,
        shape: [12, 15],
        field: section,
        ell: generator.ell().to_vec(),
        data: Vec::new(),
        scores: Vec::new(),
    };
    FieldModel::new(card, weights).expect("a model").prior(&grid(), "kappa", "").expect("a prior")
}

/// Its light cone.
fn light_cone<T: Real>(sky: Sky, redshifts: [f64; 2], length: f64) -> DynOperator<T> {
    let settings = SimulationSettings { length, times: vec![0.3, 0.6, 1.0], ..small() };
    let simulation = Simulation::new(settings, small_cosmology(), &[]).expect("a simulation");
    let maps = redshifts.map(|z| Tracer::convergence(Sources::Plane(z))).to_vec();
    // With the mean left in: its rounding is that of the map.
    let cone = LightConeSettings { subtract_mean: false, ..LightConeSettings::of(maps, sky) };
    Arc::new(LightCone::new(simulation, cone).expect("a light cone"))
}

/// The galaxies of its light cone, and aligned sources.
fn galaxies_of_light_cone<T: Real>(sky: Sky) -> DynOperator<T> {
    let settings = SimulationSettings { length: 400.0, times: vec![0.3, 0.6, 1.0], ..small() };
    let simulation = Simulation::new(settings, small_cosmology(), &[]).expect("a simulation");
    let sources = Sources::Distribution { redshift: vec![0.05, 0.1, 0.2], density: vec![0.0, 1.0, 0.0] };
    let alignment = Some(Alignment { amplitude: 1.0, slope: 0.0, pivot: 0.6 });
    let maps = vec![
        Tracer::Galaxies { sources: sources.clone(), bias: Bias { b1: 0.5, b2: 0.2 }, redshift_space: true },
        Tracer::Convergence { sources, alignment },
    ];
    let cone = LightConeSettings {
        subtract_mean: false,
        free: free_numbers(&maps),
        ..LightConeSettings::of(maps, sky)
    };
    Arc::new(LightCone::new(simulation, cone).expect("a light cone"))
}

/// Its galaxies.
fn galaxies<T: Real>() -> DynOperator<T> {
    // A window without kinks: galaxies weigh more than one where they crowd.
    let settings = SimulationSettings { window: Window::Tsc, ..small() };
    let simulation = Simulation::new(settings, small_cosmology(), &[]).expect("a simulation");
    Arc::new(Galaxies::new(simulation, Bias { b1: 0.5, b2: 0.2 }, false, true).expect("galaxies"))
}

/// Its particles.
fn particles<T: Real>() -> DynOperator<T> {
    let settings = SimulationSettings { window: Window::Tsc, ..small() };
    let simulation = Simulation::new(settings, small_cosmology(), &[]).expect("a simulation");
    Arc::new(Particles::new(simulation).expect("particles"))
}

/// Rays through planes of it.
fn ray_tracing<T: Real>(sky: Sky) -> DynOperator<T> {
    let settings = SimulationSettings { length: 160.0, times: vec![0.3, 0.6, 1.0], ..small() };
    let simulation = Simulation::new(settings, small_cosmology(), &[]).expect("a simulation");
    let rays = RaySettings { sources: vec![1.0], planes: 3, edge: 0.3 };
    let cone = LightConeSettings { nearest: 60.0, ..LightConeSettings::of(Vec::new(), sky) };
    Arc::new(RayTracing::new(simulation, cone, rays).expect("rays"))
}

fn small_cosmology() -> Cosmology<f64> {
    Cosmology::new(Parameters::planck18(), Settings::default()).expect("a cosmology")
}

/// A small universe; derivatives with respect to its parameters are tested beside it.
fn universe<T: Real>(settings: SimulationSettings) -> DynOperator<T> {
    Arc::new(Simulation::new(settings, small_cosmology(), &[]).expect("a simulation"))
}

fn small() -> SimulationSettings {
    SimulationSettings {
        particles: 8,
        length: 80.0,
        cells: 12,
        window: Window::Cic,
        kernels: Kernels::default(),
        start_kernels: Kernels::default(),
        lpt: Lpt::Second,
        sharpening: None,
        keep_potentials: false,
        checkpoints: 0,
        scheme: Scheme::BullFrog,
        times: vec![0.1, 0.5, 1.0],
    }
}

/// All operators, each with the size of the points at which it is tested.
fn registry<T: Real>() -> Vec<(DynOperator<T>, f64)> {
    let grid = grid();
    let map = Space::single("kappa", grid.shape(), "");
    let shear =
        Space::new(vec![Block::new("gamma1", grid.shape(), ""), Block::new("gamma2", grid.shape(), "")]);
    let cube = Grid::new(&[4, 5, 6], &[1.0, 2.0, 3.0]).expect("a grid");
    let observed: Vec<bool> = (0..grid.len()).map(|i| i % 3 != 0).collect();
    let points: Vec<(f64, f64)> =
        (0..40).map(|i| (1.4e-2 * f64::from(i) / 40.0, 1.1e-2 * f64::from(i * 7 % 40) / 40.0)).collect();
    let parameter = |d: Distribution| -> DynOperator<T> { Arc::new(d.operator("p", &[3], "")) };
    let sharpening = Some(Sharpening { alpha: 0.3, mu: -1.2, kl: 0.2, ks: 0.8 });
    let by_differences = Kernels { gradient: GradientKernel::FourPoint, ..Kernels::default() };
    let flat = Sky::Flat { pixels: 8, field: 0.1, centre: [0.0; 2], compensate: true };
    let two_maps = || -> DynOperator<T> { Arc::new(Pointwise::exp(shear.clone())) };
    let gaussian = || gaussian_field::<T>(&grid, &spectrum(), "kappa", "").shared();
    let lognormal = || lognormal_field::<T>(&grid, &spectrum(), 0.1, "kappa", "").expect("a prior").operator;
    let reduced = || -> DynOperator<T> { Arc::new(ReducedShear::new(&grid).expect("flat")) };
    vec![
        (Identity::new(map.clone()).shared(), 1.0),
        (universe(small()), 1.0),
        (universe(SimulationSettings { lpt: Lpt::Third, sharpening, ..small() }), 1.0),
        (
            universe(SimulationSettings {
                keep_potentials: true,
                checkpoints: 0,
                kernels: by_differences,
                window: Window::Tsc,
                ..small()
            }),
            1.0,
        ),
        (galaxies(), 1.0),
        (particles(), 1.0),
        (light_cone(flat, [0.6, 1.0], 160.0), 1.0),
        (light_cone(Sky::Full { nside: 2 }, [0.05, 0.1], 160.0), 1.0),
        (galaxies_of_light_cone(flat), 1.0),
        (galaxies_of_light_cone(Sky::Full { nside: 2 }), 1.0),
        (ray_tracing(flat), 1.0),
        (Arc::new(Remember::new(kaiser_squires(&grid).expect("flat").shared(), 1).expect("fits")), 1.0),
        (Forget::new(shear.clone(), 0..1).expect("fits").shared(), 1.0),
        (Arc::new(Renamed::new(two_maps(), |name| format!("{name}_1"))), 1.0),
        (Arc::new(Pointwise::exp(map.clone())), 1.0),
        (Mask::new(shear.clone(), &observed).expect("a mask").shared(), 1.0),
        (
            Mask::each(shear.clone(), &[observed.clone(), vec![true; observed.len()]])
                .expect("masks")
                .shared(),
            1.0,
        ),
        (smooth(&grid, map.clone(), 2e-3).expect("a width").shared(), 1.0),
        (Readout::new(&grid, shear.clone(), &points).expect("inside").shared(), 1.0),
        (kaiser_squires(&grid).expect("flat").shared(), 1.0),
        (kaiser_squires(&Grid::sky(16, 10, 1e-3).expect("even")).expect("flat").shared(), 1.0),
        (reduced(), 0.1),
        (SphereShear::new(Healpix::new(4).expect("a sphere")).shared(), 1.0),
        (Arc::new(ShearCalibration::new(&shear, "m")), 1.0),
        (Arc::new(ShearCalibration::beside(&shear, &map, "m")), 1.0),
        (gaussian(), 1.0),
        (
            gaussian_field(&cube, &Spectrum::power_law(1.0, 1.0, -2.0, 0.0).expect("a law"), "delta", "")
                .shared(),
            1.0,
        ),
        (lognormal(), 1.0),
        (correlated(false, false), 1.0),
        (correlated(true, false), 1.0),
        (correlated(true, true), 1.0),
        (parameter(Distribution::Normal { mean: 1.0, std: 2.0 }), 1.0),
        (parameter(Distribution::LogNormal { mean: 2.0, std: 1.0 }), 1.0),
        (parameter(Distribution::Uniform { low: -1.0, high: 3.0 }), 1.0),
        (parameter(Distribution::LogUniform { low: 0.1, high: 10.0 }), 1.0),
        (parameter(Distribution::HalfNormal { std: 2.0 }), 1.0),
        (parameter(Distribution::Laplace { mean: -1.0, scale: 0.5 }), 1.0),
        (Arc::new(Chain::new(vec![lognormal(), reduced()]).expect("fits")), 1.0),
        (
            Arc::new(
                Chain::fused(vec![gaussian(), kaiser_squires(&grid).expect("flat").shared()]).expect("fits"),
            ),
            1.0,
        ),
        (learned(ErrorKind::None), 1.0),
        (learned_given_parameters(), 1.0),
        (learned_given_parameters().repeated(3).expect("networks"), 1.0),
        (learned(ErrorKind::Diagonal), 1.0),
        (learned(ErrorKind::Correlated), 1.0),
        (learned(ErrorKind::Correlated).repeated(3).expect("networks"), 1.0),
        (blurred_picture().repeated(2).expect("a network within"), 1.0),
        (learned_field(), 1.0),
        (
            Arc::new(
                Stack::new(vec![gaussian(), parameter(Distribution::HalfNormal { std: 1.0 })]).expect("two"),
            ),
            1.0,
        ),
    ]
}

fn all_obey<T: Real>(tolerance: f64) {
    for (operator, size) in registry::<T>() {
        let mut x = vec![T::zero(); operator.domain().len()];
        Stream::new(11, Purpose::Test, 0).fill_normal(&mut x);
        // Points stay clear of the kink of a Laplace distribution at zero.
        x.iter_mut().for_each(|x| *x = (*x + T::of(0.05) * x.signum()) * T::of(size));
        laws::check(operator.as_ref(), &x, tolerance)
            .unwrap_or_else(|error| panic!("{} in {}: {error}", operator.name(), T::NAME));
    }
}

#[test]
fn all_operators_obey_the_laws_in_f64() {
    all_obey::<f64>(1e-10);
}

#[test]
fn all_operators_obey_the_laws_in_f32() {
    all_obey::<f32>(1e-4);
}

/// Everything between white noise and masked maps of the reduced shear of two sources, as a run file describes it: a universe whose matter is free, the light
/// cone, the shear, what calibrates it, and a mask.
#[test]
fn the_whole_chain_of_a_reconstruction_obeys_the_laws() {
    const RUN: &str = r#"
        seed = 3

        [sky]
        pixels = [8, 8]
        pixel_arcmin = 30.0

        [prior.omega_m]
        kind = "normal"
        mean = 0.31
        std = 0.01

        [prior.m]
        kind = "normal"
        mean = 0.0
        std = 0.02

        [prior.kappa]
        kind = "light_cone"
        free = ["omega_m"]
        simulation = { particles = 8, box_size = 200.0, mesh_factor = 1.5, window = "tsc", steps = 3, start = 0.2 }
        light_cone = { sources = [{ z = 0.7 }, { z = 1.2 }], compensate = false, nearest = 200.0 }

        [[forward]]
        kind = "reduced_shear"

        [[forward]]
        kind = "calibrate"
        parameter = "m"

        [data]
        kind = "mock"
        noise_std = [0.01, 0.01, 0.01, 0.01]
        mask = "mask.npy"

        [method]
        kind = "map"
    "#;
    let folder = tempfile::tempdir().expect("a folder");
    let mut mask = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(&[8, 8]);
    let mut writer = options.writer(&mut mask).begin_nd().expect("an array");
    writer.extend((0..64).map(|i| f64::from(i % 3))).and_then(|()| writer.finish()).expect("written");
    std::fs::write(folder.path().join("mask.npy"), mask).expect("written");
    let run = RunFile::from_text(RUN, folder.path(), "chain").expect("good");
    let problem = Problem::<f64>::build(&run).expect("a problem");
    let model = problem.posterior.model();
    let latents = problem.true_latents.expect("a mock");
    laws::check(model.as_ref(), &latents, 1e-8).expect("lawful");
    let mut weight = vec![0.0; model.codomain().len()];
    Stream::new(4, Purpose::Test, 0).fill_normal(&mut weight);
    let directions = laws::directions(&latents[..8 * 8 * 8], latents.len());
    assert_eq!(directions.len(), 3, "modes, and two parameters");
    for (pulled, differences) in
        laws::slopes(model.as_ref(), &weight, &latents, &directions, 1e-5).expect("slopes")
    {
        println!("{pulled} {differences}");
        assert!((pulled / differences - 1.0).abs() < 1e-6, "{pulled} {differences}");
    }
}

/// What computes in f32 among f64 does what it does in f32, which obeys the laws, and differs from f64 by roundings.
#[test]
fn operators_in_single_precision_are_those_in_f32() {
    for (single, double) in [(galaxies::<f32>(), galaxies::<f64>()), (learned_field(), learned_field())] {
        let wrapped = InSingle::new(single.clone());
        let draw = |len: usize, substream: u32| {
            let mut x = vec![0.0f64; len];
            Stream::new(11, Purpose::Test, substream).fill_normal(&mut x);
            x
        };
        let round = |x: &[f64]| x.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let (n, m) = (double.domain().len(), double.codomain().len());
        let (x, dx, dy) = (draw(n, 0), draw(n, 1), draw(m, 2));
        let (value, mut there) = wrapped.linearize(&x).expect("fits");
        let (inner_value, mut inner) = single.linearize(&round(&x)).expect("fits");
        let (mut pushed, mut inner_pushed) = (vec![0.0; m], vec![0.0f32; m]);
        there.push(&dx, &mut pushed).expect("fits");
        inner.push(&round(&dx), &mut inner_pushed).expect("fits");
        let (mut pulled, mut inner_pulled) = (vec![0.0; n], vec![0.0f32; n]);
        there.pull(&dy, &mut pulled).expect("fits");
        inner.pull(&round(&dy), &mut inner_pulled).expect("fits");
        for (wrapped, inner) in [(&value, inner_value), (&pushed, inner_pushed), (&pulled, inner_pulled)] {
            assert!(wrapped.iter().zip(inner).all(|(wrapped, inner)| *wrapped == f64::from(inner)));
        }
        assert_eq!(value, wrapped.apply(&x).expect("fits"), "{}", wrapped.name());
        let exact = double.apply(&x).expect("fits");
        let size = exact.iter().fold(0.0, |most: f64, y| most.max(y.abs()));
        let most = value.iter().zip(&exact).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
        assert!(most > 0.0 && most < 1e-4 * size, "{}: {most:.1e} of {size:.1e}", wrapped.name());
    }
}

#[test]
fn wrong_lengths_are_errors_not_panics() {
    let in_single: DynOperator<f64> = Arc::new(InSingle::new(galaxies()));
    for (operator, _) in registry::<f64>().into_iter().chain([(in_single, 1.0)]) {
        let name = operator.name();
        let (n, m) = (operator.domain().len(), operator.codomain().len());
        let mut linearization = operator.linearization();
        let (mut y, mut x) = (vec![0.1; m], vec![0.1; n]);
        assert!(linearization.move_to(&vec![0.1; n + 1], &mut y).is_err(), "{name}");
        assert!(linearization.move_to(&x, &mut vec![0.1; m + 1]).is_err(), "{name}");
        linearization.move_to(&x, &mut y).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(linearization.push(&vec![0.1; n + 1], &mut y).is_err(), "{name}");
        assert!(linearization.pull(&vec![0.1; m + 1], &mut x).is_err(), "{name}");
    }
}

#[test]
fn operators_that_do_not_fit_are_refused_in_words() {
    let shear = kaiser_squires::<f64>(&grid()).expect("flat").shared();
    let other = kaiser_squires::<f64>(&grid()).expect("flat").shared();
    let error = Chain::new(vec![shear, other]).err().expect("refused").to_string();
    assert!(
        error.contains("gamma1[12 x 15], gamma2[12 x 15]") && error.contains("kappa[12 x 15]"),
        "{error}"
    );
}

#[test]
fn a_shortcut_gives_what_the_long_way_gives() {
    for grid in [grid(), Grid::sky(16, 10, 1e-3).expect("even")] {
        let map = Space::single("kappa", grid.shape(), "");
        let links = || {
            let prior = gaussian_field::<f64>(&grid, &spectrum(), "kappa", "").shared();
            let blur = smooth(&grid, map.clone(), 2e-3).expect("a width").shared();
            vec![prior, blur, kaiser_squires(&grid).expect("flat").shared()]
        };
        let (long, short) = (Chain::new(links()).expect("fits"), Chain::fused(links()).expect("fits"));
        assert_eq!((long.links().len(), short.links().len()), (3, 1));
        let mut x = vec![0.0; grid.len()];
        Stream::new(12, Purpose::Test, 0).fill_normal(&mut x);
        let (a, b) = (long.apply(&x).expect("fits"), short.apply(&x).expect("fits"));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-14), "{:?}", grid.shape());
    }
}

#[test]
fn many_points_at_once_give_what_each_gives_alone() {
    for operator in [learned::<f64>(ErrorKind::Diagonal), blurred_picture()] {
        let many = operator.repeated(5).expect("networks");
        let mut x = vec![0.0; many.domain().len()];
        Stream::new(13, Purpose::Test, 0).fill_normal(&mut x);
        let together = many.apply(&x).expect("fits");
        let alone: Vec<f64> =
            x.chunks_exact(operator.domain().len()).flat_map(|x| operator.apply(x).expect("fits")).collect();
        assert_eq!(together.len(), alone.len());
        assert!(together.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-12), "{}", operator.name());
    }
    let gaussian = gaussian_field::<f64>(&grid(), &spectrum(), "kappa", "").shared();
    assert!(gaussian.repeated(2).is_none(), "a transform saves nothing");
}
