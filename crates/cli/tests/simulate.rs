//! `lookback simulate`, and runs whose prior is a simulated light cone: what they write, how they go on, what they refuse.

mod bench;

use std::fs;

use bench::Bench;

const SMALL: &str = r#"
seed = 3
realisations = 2

[simulation]
particles = 16
box_size = 100.0
steps = 3
start = 0.2

[light_cone]
sources = [{ z = 0.5 }, { z = 1.0 }]
pixels = 16
field_deg = 4.0

[output]
density = true
particles = true
npy = true
"#;

impl Bench {
    fn simulate(&self) -> (bool, String) {
        let output = self.lookback(&["simulate", "run.toml", "-o", "out"]);
        let words =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!words.contains("panicked"), "{words}");
        (output.status.success(), words)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path("out").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

#[test]
fn a_simulation_writes_everything_and_goes_on_where_it_stopped() {
    let bench = Bench::new(SMALL);
    let (good, words) = bench.simulate();
    assert!(good, "{words}");
    for name in
        ["report.html", "simulate.toml", "provenance.json", "cl_kappa1_mean.csv", "cl_kappa2_mean.csv"]
    {
        assert!(!bench.read(name).is_empty());
    }
    let files = ["kappa1.fits", "kappa2.npy", "density.npy", "positions.npy", "velocities.npy", "power.csv"];
    for name in files {
        assert!(!bench.read(&format!("realisation_0001/{name}")).is_empty());
    }
    let map = bench.read("realisation_0001/kappa2.fits");
    // A realisation that was interrupted has no spectra yet: it is made anew, the same to the bit, the others stay.
    let path = bench.path("out/realisation_0001");
    fs::remove_file(path.join("spectra.json")).expect("there");
    fs::write(path.join("kappa2.fits"), "half").expect("writes");
    let (good, words) = bench.simulate();
    assert!(good && words.contains("there already"), "{words}");
    assert_eq!(bench.read("realisation_0001/kappa2.fits"), map);
    // More realisations may be added; other settings may not.
    fs::write(bench.path("run.toml"), SMALL.replace("realisations = 2", "realisations = 3")).expect("writes");
    assert!(bench.simulate().0);
    assert!(!bench.read("realisation_0002/spectra.json").is_empty());
    fs::write(bench.path("run.toml"), SMALL.replace("seed = 3", "seed = 4")).expect("writes");
    let (good, words) = bench.simulate();
    assert!(!good && words.contains("other settings"), "{words}");
}

/// On a terminal, which `script` of util-linux plays, a bar with counts and times; elsewhere none.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_shows_a_bar() {
    let bench = Bench::new(&SMALL.replace("realisations = 2", "realisations = 6"));
    let command = format!("{} simulate run.toml -o out", env!("CARGO_BIN_EXE_lookback"));
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).current_dir(bench.path("")).env("TERM", "xterm");
    let output = script.output().expect("`script` of util-linux");
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && words.contains("/30 [") && words.contains('█'), "{words}");
    let (good, words) = bench.simulate();
    assert!(good && !words.contains('█'), "{words}");
}

/// A numpy array of single precision, without its header.
fn numbers(bytes: &[u8]) -> Vec<f32> {
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[start..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

#[test]
fn a_snapshot_is_the_end_of_a_shorter_simulation() {
    let times = "times = [0.2, 0.4, 0.5, 0.75, 1.0]";
    let galaxies = "[galaxies]\nb1 = 0.8\n[light_cone]";
    let long = SMALL.replace("steps = 3\nstart = 0.2", times).replace("[light_cone]", galaxies);
    let long = long.replace("density = true", "density = true\nsnapshots = [1.0, 0.25]");
    let short = "times = [0.2, 0.4, 0.5]";
    // A light cone would have to end today.
    let cone = SMALL.find("[light_cone]").expect("there")..SMALL.find("[output]").expect("there");
    let short =
        SMALL.replace(&SMALL[cone], "[galaxies]\nb1 = 0.8\n").replace("steps = 3\nstart = 0.2", short);
    let (long, short) = (Bench::new(&long), Bench::new(&short));
    for bench in [&long, &short] {
        let (good, words) = bench.simulate();
        assert!(good, "{words}");
    }
    for name in ["positions", "velocities", "density", "galaxies"] {
        let early = numbers(&long.read(&format!("realisation_0000/snapshot_z1/{name}.npy")));
        let end = numbers(&short.read(&format!("realisation_0000/{name}.npy")));
        let scale = end.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let apart = |a: f32, b: f32| {
            if name == "positions" { (a - b).abs().min(100.0 - (a - b).abs()) } else { (a - b).abs() }
        };
        assert!(early.len() == end.len() && scale > 0.0);
        assert!(early.iter().zip(&end).all(|(a, b)| apart(*a, *b) < 1e-4 * scale), "{name}");
    }
    assert!(!long.read("realisation_0000/snapshot_z0.25/power_galaxies.csv").is_empty());
}

#[test]
fn particles_are_written_as_fastpm_does() {
    let bench =
        Bench::new(&SMALL.replace("particles = true", "particles = true\nparticle_format = \"bigfile\""));
    let (good, words) = bench.simulate();
    assert!(good, "{words}");
    let plain = Bench::new(SMALL);
    assert!(plain.simulate().0);
    let floats = |bytes: Vec<u8>| -> Vec<f32> {
        bytes.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    for (block, name) in [("Position", "positions"), ("Velocity", "velocities")] {
        let folder = format!("realisation_0000/particles/1/{block}");
        let header = String::from_utf8(bench.read(&format!("{folder}/header"))).expect("a text");
        assert!(header.starts_with("DTYPE: <f4\nNMEMB: 3\nNFILE: 1\n000000: 4096 : "), "{header}");
        let expected = numbers(&plain.read(&format!("realisation_0000/{name}.npy")));
        assert_eq!(floats(bench.read(&format!("{folder}/000000"))), expected);
    }
    let header = String::from_utf8(bench.read("realisation_0000/particles/Header/attr-v2")).expect("a text");
    for line in ["BoxSize <f8 1 ", "#HUMANE [ 100 ]", "TotNumPart <i8 6 ", "[ 0 4096 0 0 0 0 ]"] {
        assert!(header.contains(line), "`{line}` is missing in {header}");
    }
    assert!(!bench.path("out/realisation_0000/positions.npy").exists());
}

#[test]
fn rays_are_traced_through_the_same_universe() {
    let bench = Bench::new(
        &SMALL.replace("field_deg = 4.0", "field_deg = 4.0\nrays = { sources = [1.0], planes = 8 }"),
    );
    let (good, words) = bench.simulate();
    assert!(good, "{words}");
    for name in ["rays_kappa.fits", "rays_gamma1.npy", "rays_gamma2.npy", "rays_omega.npy", "cl_rays_1.csv"] {
        assert!(!bench.read(&format!("realisation_0001/{name}")).is_empty());
    }
    let [born, rays, omega] = ["kappa2", "rays_kappa", "rays_omega"]
        .map(|name| numbers(&bench.read(&format!("realisation_0000/{name}.npy"))));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    // Planes that are seen beside them leave the maps as they are, but for rounding.
    let alone = Bench::new(SMALL);
    let (good, words) = alone.simulate();
    assert!(good, "{words}");
    let plain = numbers(&alone.read("realisation_0000/kappa2.npy"));
    let off: Vec<f32> = plain.iter().zip(&born).map(|(a, b)| a - b).collect();
    assert!(dot(&off, &off) < 1e-10 * dot(&plain, &plain));
    // Deflections are small: the maps are almost the same, and the rotation is of second order.
    let correlation = dot(&born, &rays) / (dot(&born, &born) * dot(&rays, &rays)).sqrt();
    assert!(correlation > 0.95, "{correlation}");
    assert!(dot(&omega, &omega) < 1e-2 * dot(&rays, &rays));
}

#[test]
fn another_number_of_realisations_can_be_asked_for() {
    let bench = Bench::new(SMALL);
    let there = |number: usize| bench.path(&format!("out/realisation_000{number}/spectra.json")).exists();
    for (count, last) in [("1", 0), ("3", 2)] {
        let output = bench.lookback(&["-q", "simulate", "run.toml", "-o", "out", "-n", count]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(there(last) && !there(last + 1), "{count}");
    }
    let output = bench.lookback(&["simulate", "run.toml", "-n", "0"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("at least 1"));
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let bench = Bench::new(SMALL);
    let map = |threads: &str| {
        let output =
            bench.lookback(&["--threads", threads, "simulate", "run.toml", "-o", "out", "--overwrite"]);
        assert!(output.status.success());
        bench.read("realisation_0000/kappa1.fits")
    };
    assert_eq!(map("1"), map("3"));
}

#[test]
fn bad_files_are_refused_in_words_and_write_nothing() {
    let cases = [
        ("particles = 16", "particles = 15", "must be even"),
        ("particles = 16", "particles = 1600", "GB of memory"),
        ("particles = 16", "partcles = 16", "did you mean `particles`?"),
        ("steps = 3", "steps = 0", "between 1 and 10000"),
        ("steps = 3", "times = [0.2, 0.1, 1.0]", "must rise"),
        ("box_size = 100.0", "box_size = -1.0", "positive length"),
        ("box_size = 100.0", "box_size = 100.0\nmesh_factor = 1.3", "an even number, as \"5/4\" does for 20"),
        (
            "box_size = 100.0",
            "box_size = 100.0\nmesh_factor = \"4/\"",
            "`mesh_factor` = \"4/\" is not a fraction",
        ),
        (
            "box_size = 100.0",
            "box_size = 100.0\nmesh_factor = true",
            "`mesh_factor` is a number, or a fraction",
        ),
        (
            "box_size = 100.0",
            "box_size = 100.0\nmesh_factor = 1.0625",
            "17 cells for 16 particles a side; it must give an even number, as 1 does for 16",
        ),
        ("{ z = 1.0 }", "{ z = 7.0 }", "beyond the beginning"),
        ("{ z = 1.0 }", "{ redshift = [1.0, 0.5], density = [1.0, 1.0] }", "must rise"),
        ("{ z = 1.0 }", "{ file = \"nowhere.txt\" }", "nowhere.txt"),
        ("field_deg = 4.0", "field_deg = 80.0", "degrees wide"),
        ("[light_cone]", "[cosmology]\nomega_m = -0.3\n[light_cone]", "omega_m = -0.3"),
        ("[light_cone]", "[cosmology]\nsigma8 = 0.8\na_s = 2.0\n[light_cone]", "not both"),
        ("realisations = 2", "realisations = 0", "at least 1"),
        ("pixels = 16", "nside = 8\npixels = 16", "not both"),
        ("pixels = 16\nfield_deg = 4.0", "nside = 0", "`nside` must lie between"),
        ("pixels = 16\n", "", "`pixels` is missing"),
        (
            "pixels = 16\n",
            "pixels = 16\nshells = [{ near = 50.0, far = 20.0 }]\n",
            "must be positive and rise",
        ),
        ("{ z = 1.0 }", "{ z = 1.0, alignment = { amplitude = 1.0 } }", "give n(z)"),
        ("steps = 3", "steps = 100000000000", "between 1 and 10000"),
        ("field_deg = 4.0", "field_deg = 4.0\nnearest = 5000.0", "lower `nearest`"),
        ("[light_cone]", "[cosmology]\ntable = \"power.txt\"\na_s = 2.0\n[light_cone]", "leave `a_s` out"),
        (
            "steps = 3",
            "steps = 3\nkeep_potentials = true\ngradient = \"spectral\"",
            "four_point or two_point",
        ),
        ("steps = 3", "steps = 3\nlpt = 4", "`lpt` must be 1, 2 or 3"),
        ("density = true", "density = true\nsnapshots = [5.0]", "outside of the simulation"),
        ("density = true", "density = true\nsnapshots = [0.0]", "written anyway"),
        (
            "field_deg = 4.0",
            "field_deg = 4.0\nrays = { sources = [0.01, 1.0] }",
            "lies within the first of 20 planes",
        ),
        ("field_deg = 4.0", "field_deg = 4.0\nrays = { sources = [] }", "rays need sources"),
        ("sources = [{ z = 0.5 }, { z = 1.0 }]", "sources = []", "at least one map"),
        ("[light_cone]", "[galaxies]\nb1 = nan\n[light_cone]", "bias = NaN"),
        (
            "steps = 3",
            "steps = 3\nsharpening = { alpha = 0.1, mu = 0.0, kl = 0.1, ks = -1.0 }",
            "positive ks",
        ),
    ];
    for (from, to, words) in cases {
        assert!(SMALL.contains(from), "{from}");
        let bench = Bench::new(&SMALL.replace(from, to));
        let (good, found) = bench.simulate();
        assert!(!good && found.contains(words), "`{words}` is missing in: {found}");
        assert!(!bench.path("out").exists(), "a refused simulation must not write: {found}");
    }
    let bench = Bench::new(SMALL);
    fs::create_dir(bench.path("out")).expect("made");
    fs::write(bench.path("out/mine.txt"), "keep").expect("writes");
    let (good, words) = bench.simulate();
    assert!(!good && words.contains("not the folder of simulations"), "{words}");
    let words = bench.beside_another("busy", &["simulate", "run.toml", "-o", "busy"]);
    assert!(words.contains("another process is at work in busy"), "{words}");
    // A file of the user's that has the name of ours is no licence to empty the folder.
    fs::write(bench.path("out/simulate.toml"), "mine").expect("writes");
    let words = bench.bad(&["simulate", "run.toml", "-o", "out", "--overwrite"]);
    assert!(words.contains("not the folder of simulations"), "{words}");
    assert_eq!(bench.read("simulate.toml"), b"mine");
    assert_eq!(bench.read("mine.txt"), b"keep");
}

#[test]
fn the_full_sky_is_written_as_healpix() {
    let sky = SMALL
        .replace("sources = [{ z = 0.5 }, { z = 1.0 }]", "sources = [{ z = 0.1 }, { z = 0.15 }]")
        .replace("box_size = 100.0", "box_size = 200.0")
        .replace("pixels = 16\nfield_deg = 4.0", "nside = 8\nshells = [{ near = 100.0, far = 300.0 }]")
        .replace("density = true", "density = true\nshear = true\nreduced_shear = true")
        .replace("realisations = 2", "realisations = 1");
    let bench = Bench::new(&sky);
    let (good, words) = bench.simulate();
    assert!(good, "{words}");
    for name in [
        "kappa1.fits",
        "gamma1_1.fits",
        "gamma2_2.fits",
        "g1_2.fits",
        "shell1.fits",
        "shell1.npy",
        "cl_shell1.csv",
    ] {
        assert!(!bench.read(&format!("realisation_0000/{name}")).is_empty(), "{name}");
    }
    let file = bench.read("realisation_0000/shell1.fits");
    let header = String::from_utf8_lossy(&file[..5760]).into_owned();
    for card in
        ["PIXTYPE = 'HEALPIX", "ORDERING= 'RING", "NSIDE   =                    8", "TTYPE1  = 'shell1"]
    {
        assert!(header.contains(card), "`{card}` is missing in {header}");
    }
    assert_eq!(file.len(), 5760 + (4 * 768usize).next_multiple_of(2880));
    let mean = file[5760..5760 + 4 * 768]
        .chunks(4)
        .map(|b| f32::from_be_bytes([b[0], b[1], b[2], b[3]]))
        .sum::<f32>()
        / 768.0;
    // The density contrast of a shell that holds a good part of the box.
    assert!(mean.abs() < 0.1, "{mean}");
    let page = String::from_utf8(bench.read("report.html")).expect("a page");
    assert!(
        page.contains("C_ell of shell1")
            && page.contains("Shear of the sources")
            && page.contains("gamma2_2")
            && page.contains("Reduced shear of the sources, gamma")
    );
    let [kappa, gamma, reduced] = ["kappa2", "gamma1_2", "g1_2"]
        .map(|name| numbers(&bench.read(&format!("realisation_0000/{name}.npy"))));
    let largest = reduced.iter().fold(0.0f32, |largest, g| largest.max(g.abs()));
    for ((g, gamma), kappa) in reduced.iter().zip(gamma).zip(kappa) {
        assert!((g * (1.0 - kappa) - gamma).abs() < 1e-5 * largest, "{g} {gamma} {kappa}");
    }
    let with_mean = Bench::new(&sky.replace("nside = 8", "nside = 8\nsubtract_mean = false"));
    let (good, words) = with_mean.simulate();
    assert!(!good && words.contains("leave out `subtract_mean = false`"), "{words}");
    let aligned = Bench::new(&sky.replace("{ z = 0.15 }", "{ z = 0.15, alignment = { amplitude = 1.0 } }"));
    let (good, words) = aligned.simulate();
    assert!(!good && words.contains("sources with an `alignment`"), "{words}");
    let unlensed = Bench::new(&sky.replace("sources = [{ z = 0.1 }, { z = 0.15 }]\n", ""));
    let (good, words) = unlensed.simulate();
    assert!(
        !good && words.contains("`shear` and `reduced_shear` need a light cone with `sources`"),
        "{words}"
    );
}

const SAMPLE: &str = "{ redshift = [0.2, 0.4, 0.6], density = [0.0, 1.0, 0.0], b1 = 0.5 }";

#[test]
fn galaxies_are_drawn_beside_what_they_lens() {
    let both = SMALL.replace("[light_cone]", &format!("[light_cone]\ngalaxies = [{SAMPLE}]"));
    let bench = Bench::new(&both);
    let (good, words) = bench.simulate();
    assert!(good, "{words}");
    for name in ["galaxies1.fits", "cl_galaxies1.csv", "cl_kappa1_galaxies1.csv", "cl_kappa1_kappa2.csv"] {
        assert!(!bench.read(&format!("realisation_0001/{name}")).is_empty(), "{name}");
    }
    let map = numbers(&bench.read("realisation_0000/galaxies1.npy"));
    let mean = map.iter().sum::<f32>() / map.len() as f32;
    assert!(map.iter().all(|x| x.is_finite()) && mean.abs() < 0.5, "{mean}");
    let report = String::from_utf8(bench.read("report.html")).expect("a page");
    assert!(report.contains("C_ell of kappa1 and galaxies1") && report.contains("Desjacques"));
    // Two columns of a file are the same galaxies.
    let other = Bench::new(
        &SMALL.replace("[light_cone]", "[light_cone]\ngalaxies = [{ file = \"nz.txt\", b1 = 0.5 }]"),
    );
    fs::write(other.path("nz.txt"), "# z n\n0.2 0\n0.4 3\n0.6 0\n").expect("writes");
    let (good, words) = other.simulate();
    assert!(good, "{words}");
    for (a, b) in map.iter().zip(numbers(&other.read("realisation_0000/galaxies1.npy"))) {
        assert!((a - b).abs() < 1e-4 * (1.0 + a.abs()), "{a} {b}");
    }
    let cases = [
        ("b1 = 0.5", "b1 = nan", "bias = NaN"),
        ("b1 = 0.5", "b1 = 0.5, file = \"nz.txt\"", "either `redshift` and `density`, or `file`"),
        ("density = [0.0, 1.0, 0.0]", "density = [0.0, -1.0, 0.0]", "zero or positive"),
        ("redshift = [0.2, 0.4, 0.6]", "redshift = [0.2, 0.4, 9.0]", "beyond the beginning"),
    ];
    for (from, to, expected) in cases {
        assert!(both.contains(from), "{from}");
        let (good, found) = Bench::new(&both.replace(from, to)).simulate();
        assert!(!good && found.contains(expected), "`{expected}` is missing in: {found}");
    }
}

#[test]
fn a_sharpening_is_fitted_and_can_be_used() {
    let text = SMALL
        .replace("box_size = 100.0", "box_size = 32.0\nmesh_factor = 2")
        .replace("sources = [{ z = 0.5 }, { z = 1.0 }]", "sources = [{ z = 0.5 }]");
    let bench = Bench::new(&text);
    let output = bench.lookback(&["sharpen", "run.toml", "-o", "fit", "--snapshots", "2"]);
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words} {}", String::from_utf8_lossy(&output.stderr));
    let section = &words[..words.find("\n\n").expect("two parts")];
    let after = |word: &str| -> f64 {
        let line = words.lines().find(|line| line.contains("rms over bins")).expect("a line");
        let end = line.find(word).expect("named");
        line[..end].split_whitespace().last().expect("a number").parse().expect("a number")
    };
    assert!(after(" after") < after(" before"), "{words}");
    for name in ["sharpening.toml", "power.csv", "power.svg"] {
        assert!(bench.path("fit").join(name).exists(), "{name}");
    }
    let written = fs::read_to_string(bench.path("fit/sharpening.toml")).expect("there");
    assert!(written.contains("16 particles a side, 32 Mpc/h, mesh factor 2, 3 steps"), "{written}");
    // What was printed can be pasted.
    fs::write(bench.path("run.toml"), format!("{text}\n{section}\n")).expect("writes");
    let (good, words) = bench.simulate();
    assert!(good, "{words}");
    let output = bench.lookback(&["sharpen", "run.toml", "--k-max", "1e9"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("wave numbers must rise"));
}

const RUN: &str = r#"
seed = 5

[sky]
pixels = [8, 8]
pixel_arcmin = 30.0

[prior.kappa]
kind = "light_cone"
simulation = { particles = 8, box_size = 200.0, steps = 3, start = 0.2 }
light_cone = { sources = [{ z = 0.7 }, { z = 1.2 }], compensate = false, nearest = 200.0 }

[data]
kind = "mock"
noise_std = [0.01, 0.01]

[method]
kind = "map"
optimizer = "lbfgs"
tolerance = 0.3
anneal = [16.0, 4.0]
anneal_steps = 3
"#;

#[test]
fn initial_conditions_are_found_from_tomographic_maps() {
    let bench = Bench::new(RUN);
    let output = bench.lookback(&["-q", "run", "run.toml", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in
        ["map_kappa1.fits", "map_kappa2.fits", "initial_modes.npy", "density.npy", "correlation_initial.csv"]
    {
        assert!(!bench.read(name).is_empty(), "{name}");
    }
    let summary: serde_json::Value = serde_json::from_slice(&bench.read("summary.json")).expect("JSON");
    // Noise of a known size is fitted to no more than its size: chi-squared at the maximum is below one, not far below.
    let chi2 = summary["reduced_chi2_centre"].as_f64().expect("a figure");
    assert!((0.3..1.2).contains(&chi2), "{chi2}");
    assert!(summary["pearson_r"].as_f64().expect("a figure") > 0.5);
    let report = String::from_utf8(bench.read("report.html")).expect("a page");
    assert!(report.contains("Truth, data, reconstruction"));
    let refused = Bench::new(&RUN.replace("pixels = [8, 8]", "pixels = [8, 10]"));
    let output = refused.lookback(&["check", "run.toml"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is square"));
}

#[test]
fn files_of_the_universe_are_inputs_of_a_run() {
    let text = RUN
        .replace("sources = [{ z = 0.7 }, { z = 1.2 }]", "sources = [{ file = \"nz.txt\" }, { z = 1.2 }]")
        .replace(
            "kind = \"light_cone\"",
            "kind = \"light_cone\"\ncosmology.distance_table = \"distances.txt\"",
        );
    let bench = Bench::new(&text);
    fs::write(bench.path("nz.txt"), "0.4 0.0\n0.8 1.0\n1.2 0.0\n").expect("writes");
    // Planck 2018, in Mpc/h.
    let distances =
        "# z chi\n0.0 0.0\n0.25 704.3\n0.5 1316.9\n1.0 2297.4\n1.5 3029.2\n2.0 3591.4\n3.0 4400.4\n";
    fs::write(bench.path("distances.txt"), distances).expect("writes");
    let output = bench.lookback(&["-q", "run", "run.toml", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = String::from_utf8(bench.read("summary.json")).expect("a text");
    assert!(summary.contains("nz.txt") && summary.contains("distances.txt"), "{summary}");
    fs::write(bench.path("distances.txt"), distances.replace("2297.4", "2297.0")).expect("writes");
    let output = bench.lookback(&["resume", "out"]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && words.contains("changed"), "{words}");
}

#[test]
fn initial_conditions_are_found_behind_a_mask() {
    let bench =
        Bench::new(&RUN.replace("noise_std = [0.01, 0.01]", "noise_std = [0.01, 0.01]\nmask = \"mask.npy\""));
    // The last two of eight columns are hidden.
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (8, 8), }";
    let mut mask = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    mask.extend(format!("{header:<117}\n").bytes());
    mask.extend((0..64u8).map(|i| u8::from(i % 8 < 6)));
    fs::write(bench.path("mask.npy"), mask).expect("writes");
    let output = bench.lookback(&["-q", "run", "run.toml", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&bench.read("summary.json")).expect("JSON");
    assert_eq!(summary["data"].as_f64(), Some(96.0));
    let chi2 = summary["reduced_chi2_centre"].as_f64().expect("a figure");
    assert!((0.3..1.2).contains(&chi2), "{chi2}");
    assert!(summary["pearson_r"].as_f64().expect("a figure") > 0.4);
}

/// Maps of somebody's own: here those that a mock was made of, which must give what the mock gave.
#[test]
fn initial_conditions_are_found_from_maps_in_files() {
    let bench = Bench::new(RUN);
    assert!(bench.lookback(&["-q", "run", "run.toml", "-o", "out"]).status.success());
    let mock = bench.read("initial_modes.npy");
    let maps = "kind = \"maps\"\nmaps = [\"data_kappa1.fits\", \"data_kappa2.fits\"]";
    for name in ["data_kappa1.fits", "data_kappa2.fits"] {
        fs::write(bench.path(name), bench.read(name)).expect("writes");
    }
    fs::write(bench.path("run.toml"), RUN.replace("kind = \"mock\"", maps)).expect("writes");
    let output = bench.lookback(&["-q", "run", "run.toml", "-o", "out", "--overwrite"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(bench.read("initial_modes.npy") == mock, "other modes than those of the mock");

    let mut map = bench.read("data_kappa1.fits");
    let end = map.chunks(80).position(|card| card.starts_with(b"END ")).expect("an end of the header");
    let data = (80 * (end + 1)).next_multiple_of(2880);
    map[data + 8 * 11..][..8].copy_from_slice(&f64::NAN.to_be_bytes());
    fs::write(bench.path("data_kappa1.fits"), map).expect("writes");
    let output = bench.lookback(&["check", "run.toml"]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("data_kappa1.fits") && words.contains("NaN at row 1, column 3"), "{words}");

    let large = RUN.replace("particles = 8", "particles = 1600");
    fs::write(bench.path("run.toml"), large).expect("writes");
    let output = bench.lookback(&["check", "run.toml"]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && words.contains("GB of memory"), "{words}");
}

#[test]
fn free_parameters_and_shear_of_several_sources_are_inferred_together() {
    let text = RUN
        .replace("kind = \"light_cone\"", "kind = \"light_cone\"\nfree = [\"sigma8\"]")
        .replace("[data]", "[prior.sigma8]\nkind = \"normal\"\nmean = 0.8\nstd = 0.1\n\n[[forward]]\nkind = \"shear\"\n\n[data]")
        .replace("noise_std = [0.01, 0.01]", "noise_std = [0.01, 0.01, 0.01, 0.01]");
    let bench = Bench::new(&text);
    let output = bench.lookback(&["-q", "run", "run.toml", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&bench.read("summary.json")).expect("JSON");
    // The truth is one draw of the prior, 0.8 with a spread of 0.1.
    let sigma8 = summary["sigma8_centre"].as_f64().expect("a figure");
    assert!((0.5..1.1).contains(&sigma8), "{sigma8}");
    let cases = [
        ("free = [\"sigma8\"]", "free = [\"sigma9\"]", "no step"),
        ("free = [\"sigma8\"]", "free = [\"h\", \"sigma8\"]", "needs a distribution"),
        ("[prior.sigma8]", "[prior.w0]", "no step"),
        ("[sky]", "[prior.w0]\nkind = \"normal\"\nmean = -1.0\nstd = 0.1\n\n[sky]", "no step"),
    ];
    for (from, to, words) in cases {
        assert!(text.contains(from), "{from}");
        let output = Bench::new(&text.replace(from, to)).lookback(&["check", "run.toml"]);
        let found = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(found.contains(words) && !found.contains("panicked"), "`{words}` is missing in: {found}");
    }
}

#[test]
fn shear_and_galaxies_are_inferred_together_with_their_bias() {
    let aligned =
        "{ redshift = [0.5, 1.0, 1.4], density = [0.0, 1.0, 0.0], alignment = { amplitude = 1.0 } }";
    let text = RUN
        .replace("sources = [{ z = 0.7 }, { z = 1.2 }]", &format!("sources = [{aligned}], galaxies = [{SAMPLE}]"))
        .replace("kind = \"light_cone\"", "kind = \"light_cone\"\nfree = [\"b1\", \"sigma8\", \"a_ia\"]")
        .replace(
            "[data]",
            "[prior.b1]\nkind = \"normal\"\nmean = 0.5\nstd = 0.2\n\n[prior.a_ia]\nkind = \"normal\"\nmean = 1.0\nstd = 0.5\n\n[prior.sigma8]\nkind = \"normal\"\nmean = 0.8\nstd = 0.02\n\n[prior.m]\nkind = \"normal\"\nmean = 0.0\nstd = 0.01\n\n[[forward]]\nkind = \"shear\"\n\n[[forward]]\nkind = \"calibrate\"\nparameter = \"m\"\n\n[data]",
        )
        .replace("noise_std = [0.01, 0.01]", "noise_std = [0.01, 0.01, 0.2]");
    let bench = Bench::new(&text);
    let output = bench.lookback(&["-q", "run", "run.toml", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["map_kappa.fits", "map_galaxies.fits", "data_gamma1.fits", "data_galaxies.fits"] {
        assert!(!bench.read(name).is_empty(), "{name}");
    }
    let summary: serde_json::Value = serde_json::from_slice(&bench.read("summary.json")).expect("JSON");
    // Each truth is one draw of its prior.
    for (name, mean, std) in [("b1", 0.5, 0.2), ("a_ia", 1.0, 0.5), ("sigma8", 0.8, 0.02), ("m", 0.0, 0.01)] {
        let found = summary[format!("{name}_centre")].as_f64().expect("a figure");
        assert!((found - mean).abs() < 4.0 * std, "{name}: {found}");
    }
    let chi2 = summary["reduced_chi2_centre"].as_f64().expect("a figure");
    assert!((0.3..1.3).contains(&chi2), "{chi2}");
    let cases = [
        ("free = [\"b1\"", "free = [\"b3\"", "no universe has it free"),
        (
            "noise_std = [0.01, 0.01, 0.2]",
            "survey = { galaxies_per_arcmin2 = 30.0, shape_noise = 0.26 }",
            "one for each map",
        ),
        (aligned, "", "no parameter `a_ia`; there are omega_m"),
        ("kind = \"shear\"", "kind = \"reduced_shear\"", "sources with an `alignment`"),
        ("nearest = 200.0", "nearest = 700.0", "missing in front of twice `nearest` = 700"),
    ];
    for (from, to, words) in cases {
        assert!(text.contains(from), "{from}");
        let output = Bench::new(&text.replace(from, to)).lookback(&["check", "run.toml"]);
        let found = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(found.contains(words) && !found.contains("panicked"), "`{words}` is missing in: {found}");
    }
}
