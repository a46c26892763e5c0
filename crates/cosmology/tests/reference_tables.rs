//! Distances, growth and power spectra against tables of CCL 3.3.6 and CAMB 2.0.5, and spectra from files that CAMB and CLASS wrote.
//!
//! The tables are thinned copies of the independent codes' output; see `tests/reference/README.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lookback_cosmology::{
    Alignment, Bias, Cosmology, EisensteinHu, HUBBLE_DISTANCE, Halofit, Normalization, PARAMETERS,
    Parameters, PowerTable, Scalar, Settings, Sources, Tables, Tracer, convergence_spectrum, limber_spectrum,
    shapes_history,
};

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
}

/// One line a quantity: its name, then its values.
struct Table(std::collections::BTreeMap<String, Vec<f64>>);

impl Table {
    fn load(name: &str) -> Table {
        let text = std::fs::read_to_string(reference(name)).expect("a table");
        let columns = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next().expect("a name").to_string();
            (name, words.map(|word| word.parse().expect("a number")).collect())
        });
        Table(columns.collect())
    }

    fn column(&self, name: &str) -> &[f64] {
        &self.0[name]
    }

    fn cosmology(&self) -> Cosmology<f64> {
        let [omega_m, omega_b, h, n_s, amplitude, w0, wa, ref curvature @ ..] = self.column("params")[..]
        else {
            panic!("seven or eight")
        };
        let omega_k = curvature.first().copied().unwrap_or(0.0);
        let base = Parameters::planck18();
        let parameters = Parameters { omega_m, omega_b, h, n_s, amplitude, w0, wa, omega_k, ..base };
        Cosmology::new(parameters, Settings::default()).expect("a cosmology")
    }
}

const TABLES: [&str; 5] = ["planck15.txt", "planck18.txt", "wcdm.txt", "open.txt", "closed.txt"];

fn worst(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    pairs
        .map(|(ours, theirs)| if theirs == 0.0 { ours.abs() } else { (ours / theirs - 1.0).abs() })
        .fold(0.0, f64::max)
}

#[test]
fn distances_and_growth_agree_with_ccl() {
    for name in TABLES {
        let (table, a) = (Table::load(name), Table::load(name).column("a").to_vec());
        let cosmology = table.cosmology();
        let today = cosmology.instant(1.0).d1.d;
        let check = |what: &str, allowed: f64, ours: &dyn Fn(f64) -> f64| {
            let error = worst(a.iter().map(|&a| ours(a)).zip(table.column(what).iter().copied()));
            assert!(error < allowed, "{name} {what}: {error:.2e}");
        };
        check("E", 1e-5, &|a| cosmology.background().e(a));
        check("chi_Mpc_h", 1e-4, &|a| cosmology.history().distance(a));
        check("growth", 1e-4, &|a| cosmology.instant(a).d1.d / today);
        check("growth_rate", 1e-4, &|a| cosmology.instant(a).growth_rate());
        if table.0.contains_key("transverse_Mpc_h") {
            let history = cosmology.history();
            check("transverse_Mpc_h", 1e-4, &|a| history.transverse(history.distance(a)));
        }
    }
}

/// A flat universe without radiation.
fn of_matter_and_vacuum(omega_m: f64) -> Cosmology<f64> {
    let settings = Settings {
        normalization: Normalization::PrimordialAmplitude,
        radiation: false,
        ..Settings::default()
    };
    let parameters =
        Parameters { omega_m, omega_b: 0.05, h: 0.7, n_s: 0.96, amplitude: 2.0, ..Parameters::planck18() };
    Cosmology::new(parameters, settings).expect("a cosmology")
}

#[test]
fn growth_of_the_second_order_agrees_with_pmwd() {
    let (table, cosmology) = (Table::load("pmwd_growth.txt"), of_matter_and_vacuum(0.3));
    for (i, &a) in table.column("a").iter().enumerate() {
        let instant = cosmology.instant(a);
        // Theirs has the other sign.
        let ours = [instant.d1.d, instant.d1.slope, -instant.d2.d, -instant.d2.slope];
        for (ours, name) in ours.into_iter().zip(["D1", "dD1", "D2", "dD2"]) {
            let theirs = table.column(name)[i];
            assert!((ours / theirs - 1.0).abs() < 1e-5, "{name} at {a}: {ours} {theirs}");
        }
    }
    // sigma8 of A_s = 2e-9, from their own sum over k.
    assert!((cosmology.linear().sigma8() / 0.8121139671 - 1.0).abs() < 1e-4);
}

/// In a universe of matter alone all orders are powers of the scale factor (Bouchet et al. 1995; Buchert 1994).
#[test]
fn growth_of_matter_alone_has_closed_forms() {
    let cosmology = of_matter_and_vacuum(1.0);
    for a in [0.01f64, 0.1, 0.5, 1.0] {
        let instant = cosmology.instant(a);
        let orders = [
            ("D1", instant.d1, 1.0, 1.0),
            ("D2", instant.d2, 2.0, -3.0 / 7.0),
            ("D3a", instant.d3a, 3.0, -1.0 / 3.0),
            ("D3b", instant.d3b, 3.0, 10.0 / 21.0),
            ("D3c", instant.d3c, 3.0, -1.0 / 7.0),
        ];
        for (name, growth, power, factor) in orders {
            let expected = factor * a.powf(power);
            assert!((growth.d / expected - 1.0).abs() < 1e-6, "{name} at {a}: {} {expected}", growth.d);
            assert!((growth.slope / (power * expected) - 1.0).abs() < 1e-6, "slope of {name} at {a}");
        }
    }
}

#[test]
fn growth_of_all_orders_agrees_with_an_integration_in_time() {
    let table = Table::load("third_order.txt");
    let [omega_m, omega_k, w0, wa] = table.column("params")[..] else { panic!("four parameters") };
    let parameters = Parameters { omega_m, omega_k, w0, wa, ..Parameters::planck18() };
    let cosmology = Cosmology::new(parameters, Settings { radiation: false, ..Settings::default() });
    let cosmology = cosmology.expect("a cosmology");
    for (i, &a) in table.column("a").iter().enumerate() {
        let at = cosmology.instant(a);
        let orders = [("D1", at.d1), ("D2", at.d2), ("D3a", at.d3a), ("D3b", at.d3b), ("D3c", at.d3c)];
        for (name, growth) in orders {
            for (name, ours) in [(name.to_owned(), growth.d), (format!("d{name}"), growth.slope)] {
                // Ours starts as matter alone at a = 1e-5, where curvature has a share of 1e-6.
                let error = ours / table.column(&name)[i] - 1.0;
                assert!(error.abs() < 5e-6, "{name} at {a}: {error:.1e}");
            }
        }
    }
}

/// Equations 26 to 31 of Eisenstein & Hu (1998), from the paper.
#[test]
fn the_spectrum_without_wiggles_is_that_of_the_paper() {
    let cosmology = of_matter_and_vacuum(0.3);
    let (om, ob, h, theta): (f64, f64, f64, f64) = (0.3 * 0.49, 0.05 * 0.49, 0.7, 2.7255 / 2.7);
    let s = 44.5 * (9.83 / om).ln() / (1.0 + 10.0 * ob.powf(0.75)).sqrt();
    let alpha = 1.0 - 0.328 * (431.0 * om).ln() * ob / om + 0.38 * (22.3 * om).ln() * (ob / om).powi(2);
    let transfer = EisensteinHu::new(cosmology.parameters());
    for k in [1e-3, 0.01, 0.05, 0.1, 0.3, 1.0, 10.0] {
        // `s` is in Mpc, and `k` in h/Mpc.
        let shape = om / h * (alpha + (1.0 - alpha) / (1.0 + (0.43 * k * h * s).powi(4)));
        let q = k * theta * theta / shape;
        let l = (2.0 * std::f64::consts::E + 1.8 * q).ln();
        let c = 14.2 + 731.0 / (1.0 + 62.5 * q);
        let expected = l / (l + c * q * q);
        let found = transfer.no_wiggle(k);
        assert!((found / expected - 1.0).abs() < 1e-12, "{k}: {found} {expected}");
    }
}

/// Non-linear power of curved universes over CAMB's linear power, beside CAMB's.
#[test]
fn halofit_of_curved_universes_agrees_with_camb() {
    let camb = Table::load("camb_curved.txt");
    for name in ["open", "closed"] {
        let parameters = *Table::load(&format!("{name}.txt")).cosmology().parameters();
        let k = camb.column(&format!("{name}_k"));
        let linear = PowerTable::new(k, camb.column(&format!("{name}_linear_z0"))).expect("a table");
        let settings = Settings { normalization: Normalization::PrimordialAmplitude, ..Settings::default() };
        let cosmology = Cosmology::with_tables(
            parameters,
            settings,
            Tables { power: Some(Arc::new(linear)), ..Tables::default() },
        )
        .expect("a cosmology");
        for z in [0.0, 1.0] {
            let a = 1.0 / (1.0 + z);
            let power = |k: f64| cosmology.linear_power(k, a);
            let halofit = Halofit::new(&cosmology, a).expect("halofit");
            let column = |what: &str| camb.column(&format!("{name}_{what}_z{z:.0}"));
            // Dark energy clusters, and matter feels curvature, on scales beyond these.
            let waves = || k.iter().copied().enumerate().filter(|(_, k)| *k > 0.02);
            let grown = worst(waves().map(|(i, k)| (power(k), column("linear")[i])));
            assert!(grown < 1e-4, "{name}: linear power at z = {z}: {grown:.2e}");
            let ratio = |(i, k): (usize, f64)| (halofit.power(k, power(k)) / power(k), column("ratio")[i]);
            let error = worst(waves().map(ratio));
            assert!(error < 2e-3, "{name}: halofit at z = {z}: {error:.2e}");
        }
    }
}

/// Files as CAMB and CLASS write them, of one universe.
#[test]
fn files_of_camb_and_class_are_read() {
    let read = |name: &str, sigma8: f64, tolerance: f64| {
        let text = std::fs::read_to_string(reference(name)).expect("a file");
        let table = Arc::new(PowerTable::parse(&text).expect("a table"));
        let h = 0.6766;
        let parameters = Parameters {
            omega_m: (0.02242 + 0.11933) / (h * h),
            omega_b: 0.02242 / (h * h),
            h,
            ..Parameters::planck18()
        };
        let settings = Settings { normalization: Normalization::PrimordialAmplitude, ..Settings::default() };
        let cosmology = Cosmology::with_tables(
            parameters,
            settings,
            Tables { power: Some(table.clone()), ..Tables::default() },
        )
        .expect("a cosmology");
        // What the codes themselves say of the same spectrum.
        let ours = cosmology.linear().sigma8();
        assert!((ours / sigma8 - 1.0).abs() < tolerance, "{name}: sigma8 {ours}");
        let [low, high] = table.range();
        assert!(low < 2e-4 && high > 19.8, "{name}: from {low} to {high}");
        table
    };
    let camb = read("camb_matterpower.dat", 0.8219, 1e-4);
    let class = read("class_pk.dat", 0.821_861_6, 1e-5);
    let k = (0..200).map(|i| 1e-3 * 1.9e4f64.powf(f64::from(i) / 199.0));
    let error = worst(k.map(|k| (camb.power(k), class.power(k))));
    // The codes themselves differ by 0.7 % at k = 0.034, by 0.1 % from 0.06 on.
    assert!(error < 0.01, "{error:.1e}");
}

/// Massive neutrinos slow the expansion as CLASS says.
#[test]
fn expansion_with_massive_neutrinos_agrees_with_class() {
    let table = Table::load("class_neutrinos.txt");
    let [omega_m, omega_b, h] = table.column("params")[..] else { panic!("three") };
    let parameters = Parameters { omega_m, omega_b, h, m_nu: 0.06, ..Parameters::planck15() };
    let with = |parameters| {
        let cosmology = Cosmology::new(parameters, Settings::default()).expect("a cosmology");
        let scale_factors = || table.column("z").iter().map(|z| 1.0 / (1.0 + z));
        let e = scale_factors().map(|a| cosmology.background().e(a)).zip(table.column("E").iter().copied());
        let chi =
            scale_factors().map(|a| cosmology.history().distance(a)).zip(table.column("chi").iter().copied());
        (worst(e), worst(chi))
    };
    let (e, chi) = with(parameters);
    // Their tabulated distance is 3.4e-5 below the integral of their own E at z = 0.001.
    assert!(e < 1e-6 && chi < 1e-4, "E {e:.1e}, distance {chi:.1e}");
    // The test can tell: without their mass the agreement is lost.
    assert!(with(Parameters { m_nu: 0.0, ..parameters }).0 > 3e-5);
}

/// Neutrinos that hardly have a mass do what those without one do, whatever the amplitude is given by; heavier ones slow growth down before
/// they cluster and count as matter then, which on the whole leaves long waves as they are (to a third of their share of matter).
#[test]
fn long_waves_grow_alike_with_and_without_mass() {
    let sigma8 = |m_nu: f64, massive_neutrinos: u8| {
        let settings = Settings {
            normalization: lookback_cosmology::Normalization::PrimordialAmplitude,
            massive_neutrinos,
            ..Settings::default()
        };
        let parameters = Parameters { amplitude: 2.1, m_nu, ..Parameters::planck18() };
        Cosmology::new(parameters, settings).expect("a cosmology").linear().sigma8()
    };
    let without = sigma8(0.0, 1);
    // 2.1e-9 is the amplitude of Planck 2018 with 0.811; the fit of Eisenstein & Hu is good to a few percent.
    assert!((without / 0.811 - 1.0).abs() < 0.04, "{without}");
    for (m_nu, species, tolerance) in
        [(1e-6, 1, 1e-4), (1e-6, 3, 3e-4), (0.06, 1, 0.003), (0.06, 3, 0.003), (0.3, 3, 0.012)]
    {
        let ratio = sigma8(m_nu, species) / without;
        assert!((ratio - 1.0).abs() < tolerance, "{m_nu} eV in {species}: {ratio}");
    }
}

#[test]
fn neutrinos_whose_mass_would_be_left_out_are_refused() {
    let refused = |m_nu: f64, n_eff: f64, settings: Settings| {
        let parameters = Parameters { m_nu, n_eff, ..Parameters::planck18() };
        Cosmology::new(parameters, settings).err().map(|error| error.to_string())
    };
    let plain = Settings::default();
    assert_eq!(refused(0.06, 3.046, plain), None);
    let error = refused(0.06, 3.046, Settings { radiation: false, ..plain }).expect("refused");
    assert!(error.contains("m_nu") && error.contains("radiation"), "{error}");
    let error = refused(0.06, 3.046, Settings { massive_neutrinos: 0, ..plain }).expect("refused");
    assert!(error.contains("massive_neutrinos"), "{error}");
    let error = refused(0.06, 2.0, Settings { massive_neutrinos: 3, ..plain }).expect("refused");
    assert!(error.contains("n_eff") && error.contains("3.0396"), "{error}");
    let without_radiation =
        Cosmology::new(Parameters::planck18(), Settings { radiation: false, ..plain }).expect("one");
    assert!(without_radiation.why_fixed("n_eff").is_some() && without_radiation.why_fixed("h").is_none());
}

#[test]
fn linear_and_halofit_spectra_agree_with_ccl() {
    for name in TABLES {
        let table = Table::load(name);
        let cosmology = table.cosmology();
        let k = table.column("k_h_Mpc");
        let linear = worst(
            k.iter()
                .map(|&k| cosmology.linear_power(k, 1.0))
                .zip(table.column("P_lin_EH_z0").iter().copied()),
        );
        assert!(linear < 1e-3, "{name}: linear {linear:.2e}");
        for z in [0.0f64, 0.5, 1.0, 2.0] {
            let a = 1.0 / (1.0 + z);
            let halofit = Halofit::new(&cosmology, a).expect("halofit");
            let ours = k.iter().map(|&k| halofit.power(k, cosmology.linear_power(k, a)));
            let error = worst(ours.zip(table.column(&format!("P_halofit_EH_z{z:.1}")).iter().copied()));
            assert!(error < 0.01, "{name}: halofit at z = {z}: {error:.2e}");
        }
    }
}

#[test]
fn convergence_spectra_agree_with_ccl() {
    for name in TABLES {
        let table = Table::load(name);
        let cosmology = table.cosmology();
        for z in ["0.5", "1.0", "2.0"] {
            let sources = Sources::Plane(z.parse().expect("a redshift"));
            let ours = convergence_spectrum(&cosmology, (&sources, &sources), table.column("ell"), true)
                .expect("C_l");
            let error = worst(ours.into_iter().zip(table.column(&format!("Cl_kappa_zs{z}")).iter().copied()));
            assert!(error < 0.01, "{name}: C_l at z_s = {z}: {error:.2e}");
        }
    }
}

/// A narrow n(z) is a plane.
#[test]
fn a_narrow_distribution_is_a_plane() {
    let cosmology = Cosmology::new(Parameters::planck18(), Settings::default()).expect("a cosmology");
    let narrow = Sources::Distribution { redshift: vec![0.995, 1.0, 1.005], density: vec![0.0, 1.0, 0.0] };
    let multipoles = [30.0, 300.0, 3000.0];
    let spectrum = |sources: &Sources| {
        convergence_spectrum(&cosmology, (sources, sources), &multipoles, true).expect("C_l")
    };
    let error = worst(spectrum(&narrow).into_iter().zip(spectrum(&Sources::Plane(1.0))));
    assert!(error < 1e-3, "{error:.2e}");
}

fn sample(redshift: [f64; 3], b1: f64) -> Tracer {
    let sources = Sources::Distribution { redshift: redshift.to_vec(), density: vec![0.0, 1.0, 0.0] };
    Tracer::Galaxies { sources, bias: Bias { b1, b2: 0.3 }, redshift_space: true }
}

/// Limber's integral of galaxies and of galaxies with convergence in many small steps of redshift.
#[test]
fn spectra_of_galaxies_are_sums_over_redshift() {
    let cosmology = Cosmology::new(Parameters::planck18(), Settings::default()).expect("a cosmology");
    let (galaxies, lensed) = (sample([0.6, 0.62, 0.66], 0.8), Tracer::convergence(Sources::Plane(1.2)));
    let counts = |z: f64| if z < 0.62 { (z - 0.6) / 0.02 } else { (0.66 - z) / 0.04 } / 0.03;
    let history = cosmology.history();
    let source = history.distance(1.0 / 2.2);
    let (steps, multipoles) = (2000, [30.0, 300.0, 3000.0]);
    let mut sums = [[0.0; 2]; 3];
    for i in 0..steps {
        let width = 0.06 / f64::from(steps);
        let z = 0.6 + width * (f64::from(i) + 0.5);
        let a = 1.0 / (1.0 + z);
        let chi = history.distance(a);
        let halofit = Halofit::new(&cosmology, a).expect("halofit");
        // n(z) dz / dchi and the efficiency 3/2 omega_m (H0/c)^2 (1 + z) chi (1 - chi / chi_s).
        let number = counts(z) * cosmology.background().e(a) / HUBBLE_DISTANCE;
        let efficiency = 1.5 * cosmology.background().omega_m / HUBBLE_DISTANCE.powi(2)
            * (1.0 + z)
            * chi
            * (1.0 - chi / source);
        let dchi = width * HUBBLE_DISTANCE / cosmology.background().e(a);
        for (sum, l) in sums.iter_mut().zip(multipoles) {
            let k = (l + 0.5) / chi;
            let power = halofit.power(k, cosmology.linear_power(k, a));
            sum[0] += 1.8 * 1.8 * number * number / chi.powi(2) * power * dchi;
            sum[1] +=
                1.8 * number * efficiency * l * (l + 1.0) / (l + 0.5).powi(2) / chi.powi(2) * power * dchi;
        }
    }
    for (which, other) in [&galaxies, &lensed].into_iter().enumerate() {
        let ours = limber_spectrum(&cosmology, (&galaxies, other), &multipoles, true).expect("C_l");
        let error = worst(ours.into_iter().zip(sums.map(|sum| sum[which])));
        assert!(error < 1e-4, "{which}: {error:.2e}");
    }
}

/// Galaxies beside sources that their tides align: Bridle & King (2007), equation 6, in many small steps of redshift.
#[test]
fn alignments_are_those_of_the_tides() {
    let cosmology = Cosmology::new(Parameters::planck18(), Settings::default()).expect("a cosmology");
    let galaxies = sample([0.6, 0.62, 0.66], 0.8);
    let sources = Sources::Distribution { redshift: vec![0.4, 0.6, 1.0], density: vec![0.0, 1.0, 0.0] };
    let of = |amplitude: f64| Tracer::Convergence {
        sources: sources.clone(),
        alignment: Some(Alignment { amplitude, slope: 0.7, pivot: 0.5 }),
    };
    let counts = |z: f64| if z < 0.62 { (z - 0.6) / 0.02 } else { (0.66 - z) / 0.04 } / 0.03;
    let aligned = |z: f64| if z < 0.6 { (z - 0.4) / 0.2 } else { (1.0 - z) / 0.4 } / 0.3;
    let (steps, multipoles) = (2000, [30.0, 300.0, 3000.0]);
    let growth = |a: f64| cosmology.instant(a).d1.d / cosmology.instant(1.0).d1.d;
    let mut sums = [0.0; 3];
    for i in 0..steps {
        let width = 0.06 / f64::from(steps);
        let z = 0.6 + width * (f64::from(i) + 0.5);
        let a = 1.0 / (1.0 + z);
        let (chi, per_chi) = (cosmology.history().distance(a), cosmology.background().e(a) / HUBBLE_DISTANCE);
        let halofit = Halofit::new(&cosmology, a).expect("halofit");
        // C1 = 5e-14 (Mpc/h)^3 / (M_sun/h), and the critical density today 2.7754e11 (M_sun/h) / (Mpc/h)^3.
        let response = -2.0 * 5e-14 * 2.7754e11 * cosmology.background().omega_m / growth(a)
            * ((1.0 + z) / 1.5f64).powf(0.7);
        for (sum, l) in sums.iter_mut().zip(multipoles) {
            let k = (l + 0.5) / chi;
            let power = halofit.power(k, cosmology.linear_power(k, a));
            let flat = l * (l + 1.0) / (l + 0.5f64).powi(2) / chi.powi(2);
            *sum +=
                1.8 * counts(z) * per_chi * response * aligned(z) * per_chi * flat * power * width / per_chi;
        }
    }
    let spectrum = |amplitude: f64| {
        limber_spectrum(&cosmology, (&galaxies, &of(amplitude)), &multipoles, true).expect("C_l")
    };
    let difference = spectrum(2.0).into_iter().zip(spectrum(0.0)).map(|(with, without)| with - without);
    let error = worst(difference.zip(sums));
    assert!(error < 1e-3, "{error:.2e}");
}

/// One number of every kind that this crate offers.
fn quantities<S: Scalar>(cosmology: &Cosmology<S>) -> Vec<S> {
    let a = 0.4;
    let at = cosmology.instant(a);
    let chi = cosmology.history().distance(a);
    let halofit = Halofit::new(cosmology, a).expect("halofit");
    let sources = Sources::Plane(1.5);
    let mut all = vec![cosmology.background().e(a), chi, cosmology.history().transverse(chi)];
    all.extend([
        at.d1.d,
        at.d1.slope,
        at.d2.d,
        at.d2.slope,
        at.d3a.d,
        at.d3b.d,
        at.d3c.d,
        at.momentum_factor(),
    ]);
    all.push(cosmology.history().scale_factor_at(1500.0).expect("in range"));
    all.extend([0.02, 0.1, 1.0].map(|k| cosmology.linear_power(k, a)));
    all.extend([0.1, 1.0, 10.0].map(|k| halofit.power(S::of(k), cosmology.linear_power(k, a))));
    all.extend(convergence_spectrum(cosmology, (&sources, &sources), &[100.0, 2000.0], true).expect("C_l"));
    let pair = (&sample([0.3, 0.5, 0.8], 0.5), &Tracer::convergence(sources));
    all.extend(limber_spectrum(cosmology, pair, &[100.0, 2000.0], true).expect("C_l"));
    all
}

/// What expansion and growth do not depend on has the same derivatives the short way, and the rest has none.
#[test]
fn derivatives_of_the_spectrum_alone_are_those_of_all() {
    let parameters = Parameters { omega_k: 0.02, m_nu: 0.1, ..Parameters::planck18() };
    let cosmology = Cosmology::new(parameters, Settings::default()).expect("a cosmology");
    let all = quantities(&cosmology.with_gradient().expect("the same cosmology"));
    let some = quantities(&cosmology.with_spectrum_gradient());
    for (all, some) in all.iter().zip(&some) {
        assert!((all.value / some.value - 1.0).abs() < 1e-12);
        for (index, (a, b)) in all.gradient.iter().zip(some.gradient).enumerate() {
            let expected = if shapes_history(index) { 0.0 } else { *a };
            assert!((b - expected).abs() <= 1e-11 * expected.abs(), "{}: {b} {expected}", PARAMETERS[index]);
        }
    }
    let history = cosmology.with_gradient().expect("the same cosmology");
    for quantity in
        [history.history().distance(0.4), history.instant(0.4).d1.d, history.instant(0.4).d3c.slope]
    {
        for (index, slope) in quantity.gradient.into_iter().enumerate() {
            assert_eq!(shapes_history(index), slope != 0.0, "{}", PARAMETERS[index]);
        }
    }
}

/// Every derivative of every quantity against central differences of fourth order, for either amplitude.
#[test]
fn derivatives_agree_with_differences() {
    let sigma8 = Parameters { omega_k: 0.02, m_nu: 0.1, wa: 0.1, w0: -0.95, ..Parameters::planck18() };
    let primordial = Parameters { amplitude: 2.1, ..sigma8 };
    for (base, normalization) in
        [(sigma8, Normalization::Sigma8), (primordial, Normalization::PrimordialAmplitude)]
    {
        let settings = Settings { normalization, ..Settings::default() };
        let cosmology = Cosmology::new(base, settings).expect("a cosmology");
        let exact = quantities(&cosmology.with_gradient().expect("the same cosmology"));
        let values = base.to_array();
        for (index, name) in PARAMETERS.iter().enumerate() {
            let h = 1e-3 * values[index].abs().max(0.1);
            let moved = |steps: f64| {
                let mut p = values;
                p[index] += steps * h;
                quantities(&cosmology.moved_to(Parameters::from_array(p)).expect("a cosmology"))
            };
            let (p1, m1, p2, m2) = (moved(1.0), moved(-1.0), moved(2.0), moved(-2.0));
            for (i, quantity) in exact.iter().enumerate() {
                let difference = (8.0 * (p1[i] - m1[i]) - (p2[i] - m2[i])) / (12.0 * h);
                let scale = difference.abs().max(1e-3 * quantity.value.abs());
                let error = (quantity.gradient[index] - difference).abs() / scale;
                assert!(error < 1e-5, "d quantity {i} / d {name}: {} {difference}", quantity.gradient[index]);
            }
        }
    }
}

#[test]
fn parameters_out_of_range_are_refused_by_name() {
    let p = Parameters::planck18();
    for (bad, name) in [
        (Parameters { omega_m: -0.1, ..p }, "omega_m"),
        (Parameters { omega_m: 1.7, ..p }, "-0.700 for dark energy"),
        (Parameters { omega_b: 0.4, ..p }, "omega_b"),
        (Parameters { h: f64::NAN, ..p }, "h = NaN"),
        (Parameters { w0: -0.5, wa: 0.8, ..p }, "wa"),
        (Parameters { omega_m: 0.02, omega_b: 0.01, omega_k: -0.9, w0: -2.9, ..p }, "omega_k"),
    ] {
        let error = Cosmology::new(bad, Settings::default()).expect_err("refused").to_string();
        assert!(error.contains(name), "{name}: {error}");
    }
}
