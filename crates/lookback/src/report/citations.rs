//! What to cite for a run: the papers of every method it used.

use lookback_inference::Optimizer;

use crate::runfile::{ForwardStep, LikelihoodSection, MethodSection, PriorSection, RunFile, SourceSection};

/// The file of a run that has them as BibTeX.
pub(crate) const FILE: &str = "citations.bib";

/// A paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Citation {
    /// BibTeX key.
    pub key: &'static str,
    /// For what.
    pub what: &'static str,
    author: &'static str,
    title: &'static str,
    journal: &'static str,
    year: u16,
}

impl Citation {
    /// Author, year and journal in one line.
    pub fn line(&self) -> String {
        format!("{} ({}), {}", self.author.replace(" and ", ", "), self.year, self.journal)
    }
}

macro_rules! citation {
    ($name:ident, $what:literal, $author:literal, $title:literal, $journal:literal, $year:literal) => {
        const $name: Citation = Citation {
            key: concat!(stringify!($name)),
            what: $what,
            author: $author,
            title: $title,
            journal: $journal,
            year: $year,
        };
    };
}

citation!(
    KAISER_SQUIRES,
    "shear and convergence",
    "Kaiser, N. and Squires, G.",
    "Mapping the dark matter with weak gravitational lensing",
    "Astrophysical Journal 404, 441",
    1993
);
citation!(
    COLES_JONES,
    "lognormal fields",
    "Coles, P. and Jones, B.",
    "A lognormal model for the cosmological mass distribution",
    "MNRAS 248, 1",
    1991
);
citation!(
    LIGHT_CONE,
    "the convergence of a simulated light cone",
    "Böhm, V. and Feng, Y. and Lee, M. E. and Dai, B.",
    "MADLens, a python package for fast and differentiable non-Gaussian lensing simulations",
    "arXiv:2012.07266",
    2020
);
citation!(
    BIAS,
    "biased galaxies",
    "Desjacques, V. and Jeong, D. and Schmidt, F.",
    "Large-scale galaxy bias",
    "Physics Reports 733, 1",
    2018
);
citation!(
    REDSHIFT_SPACE,
    "redshift space",
    "Kaiser, N.",
    "Clustering in real space and in redshift space",
    "MNRAS 227, 1",
    1987
);
citation!(
    ALIGNMENT,
    "intrinsic alignment",
    "Bridle, S. and King, L.",
    "Dark energy constraints from cosmic shear power spectra: impact of intrinsic alignments on photometric redshift requirements",
    "New Journal of Physics 9, 444",
    2007
);
citation!(
    TIME_STEPS,
    "time steps",
    "Feng, Y. and Chu, M.-Y. and Seljak, U. and McDonald, P.",
    "FASTPM: a new scheme for fast simulations of dark matter and haloes",
    "MNRAS 463, 2273",
    2016
);
citation!(
    ADJOINT,
    "gradients by reversing time",
    "Li, Y. and Modi, C. and Jamieson, D. and others",
    "Differentiable cosmological simulation with the adjoint method",
    "arXiv:2211.09815",
    2022
);
citation!(
    CORRELATED_FIELD,
    "fields of unknown spectrum",
    "Arras, P. and Frank, P. and Haim, P. and others",
    "Variable structures in M87* from space, time and frequency resolved interferometry",
    "Nature Astronomy 6, 259",
    2022
);
citation!(
    PROBABILISTIC_AUTOENCODER,
    "learned prior",
    "Boehm, V. and Seljak, U.",
    "Probabilistic Autoencoder",
    "TMLR 09/2022, arXiv:2006.05479",
    2022
);
citation!(
    HEYMANS,
    "shear calibration",
    "Heymans, C. and others",
    "The Shear Testing Programme - I",
    "MNRAS 368, 1323",
    2006
);
citation!(
    WIENER,
    "Wiener filter",
    "Wiener, N.",
    "Extrapolation, Interpolation, and Smoothing of Stationary Time Series",
    "MIT Press",
    1949
);
citation!(
    HESTENES,
    "conjugate gradients",
    "Hestenes, M. and Stiefel, E.",
    "Methods of conjugate gradients for solving linear systems",
    "J. Res. Natl. Bur. Stand. 49, 409",
    1952
);
citation!(
    LBFGS,
    "L-BFGS",
    "Nocedal, J.",
    "Updating quasi-Newton matrices with limited storage",
    "Mathematics of Computation 35, 773",
    1980
);
citation!(
    MGVI,
    "metric Gaussian variational inference",
    "Knollmueller, J. and Ensslin, T.",
    "Metric Gaussian Variational Inference",
    "arXiv:1901.11033",
    2019
);
citation!(
    HMC,
    "Hamiltonian Monte Carlo",
    "Duane, S. and Kennedy, A. and Pendleton, B. and Roweth, D.",
    "Hybrid Monte Carlo",
    "Physics Letters B 195, 216",
    1987
);
citation!(
    BETANCOURT,
    "choice of the draw and criterion of turning",
    "Betancourt, M.",
    "A Conceptual Introduction to Hamiltonian Monte Carlo",
    "arXiv:1701.02434",
    2017
);
citation!(
    MCLMC,
    "microcanonical Langevin Monte Carlo",
    "Robnik, J. and De Luca, G. B. and Silverstein, E. and Seljak, U.",
    "Microcanonical Hamiltonian Monte Carlo",
    "Journal of Machine Learning Research 24, 311",
    2023
);
citation!(
    GEOVI,
    "geometric variational inference",
    "Frank, P. and Leike, R. and Ensslin, T. A.",
    "Geometric variational inference",
    "Entropy 23, 853",
    2021
);
citation!(
    MALA,
    "Metropolis-adjusted Langevin algorithm",
    "Roberts, G. O. and Tweedie, R. L.",
    "Exponential convergence of Langevin distributions and their discrete approximations",
    "Bernoulli 2, 341",
    1996
);
citation!(
    MAMS,
    "Metropolis-adjusted microcanonical sampler",
    "Robnik, J. and Cohn-Gordon, R. and Seljak, U.",
    "Metropolis adjusted microcanonical Hamiltonian Monte Carlo",
    "arXiv:2503.01707",
    2025
);
citation!(
    MUSE,
    "marginal unbiased score expansion",
    "Millea, M. and Seljak, U.",
    "Marginal unbiased score expansion and application to CMB lensing",
    "Physical Review D 105, 103531",
    2022
);
citation!(
    BROYDEN,
    "secant steps",
    "Broyden, C. G.",
    "A class of methods for solving nonlinear simultaneous equations",
    "Mathematics of Computation 19, 577",
    1965
);
citation!(
    NUTS,
    "No-U-Turn sampler, tuning of the step size",
    "Hoffman, M. and Gelman, A.",
    "The No-U-Turn Sampler",
    "JMLR 15, 1593",
    2014
);
citation!(
    WALNUTS,
    "steps that are halved where they are too long",
    "Bou-Rabee, N. and Carpenter, B. and Kleppe, T. S. and Liu, S.",
    "The Within-Orbit Adaptive Leapfrog No-U-Turn Sampler",
    "arXiv:2506.18746",
    2025
);
citation!(
    VEHTARI,
    "R-hat and effective sample size",
    "Vehtari, A. and Gelman, A. and Simpson, D. and Carpenter, B. and Buerkner, P.-C.",
    "Rank-normalization, folding, and localization: an improved R-hat",
    "Bayesian Analysis 16, 667",
    2021
);
citation!(
    STUDENT,
    "Student-t likelihood",
    "Lange, K. and Little, R. and Taylor, J.",
    "Robust statistical modeling using the t distribution",
    "JASA 84, 881",
    1989
);
citation!(
    BARZILAI,
    "gradient descent",
    "Barzilai, J. and Borwein, J. M.",
    "Two-point step size gradient methods",
    "IMA Journal of Numerical Analysis 8, 141",
    1988
);
citation!(
    ADAM,
    "Adam",
    "Kingma, D. P. and Ba, J.",
    "Adam: a method for stochastic optimization",
    "ICLR, arXiv:1412.6980",
    2015
);
citation!(
    EL2O,
    "expectation with L2 optimisation",
    "Seljak, U. and Yu, B.",
    "Posterior inference unchained with EL2O",
    "arXiv:1901.04454",
    2019
);
citation!(
    PARETO,
    "smoothed importance weights",
    "Vehtari, A. and Simpson, D. and Gelman, A. and Yao, Y. and Gabry, J.",
    "Pareto smoothed importance sampling",
    "JMLR 25, 72",
    2024
);
citation!(
    PATHFINDER,
    "Pathfinder",
    "Zhang, L. and Carpenter, B. and Gelman, A. and Vehtari, A.",
    "Pathfinder: parallel quasi-Newton variational inference",
    "JMLR 23, 306",
    2022
);
citation!(
    THERMODYNAMIC,
    "thermodynamic integration",
    "Friel, N. and Hurn, M. and Wyse, J.",
    "Improving power posterior estimation of statistical evidence",
    "Statistics and Computing 24, 709",
    2014
);
citation!(
    SMC,
    "sequential Monte Carlo",
    "Del Moral, P. and Doucet, A. and Jasra, A.",
    "Sequential Monte Carlo samplers",
    "Journal of the Royal Statistical Society B 68, 411",
    2006
);
citation!(
    BENNETT,
    "evidence from neighbouring temperatures",
    "Bennett, C. H.",
    "Efficient estimation of free energy differences from Monte Carlo data",
    "Journal of Computational Physics 22, 245",
    1976
);
citation!(
    PHILOX,
    "random numbers",
    "Salmon, J. and Moraes, M. and Dror, R. and Shaw, D.",
    "Parallel random numbers: as easy as 1, 2, 3",
    "SC11",
    2011
);

/// The papers behind a run.
pub fn of(run: &RunFile) -> Vec<Citation> {
    let mut list = Vec::new();
    for prior in run.prior.values() {
        match prior {
            PriorSection::LognormalField { .. } => list.push(COLES_JONES),
            PriorSection::CorrelatedField(_) => list.push(CORRELATED_FIELD),
            PriorSection::Learned { .. } => list.push(PROBABILISTIC_AUTOENCODER),
            PriorSection::LightCone { light_cone, .. } => {
                list.extend([LIGHT_CONE, TIME_STEPS, ADJOINT]);
                if !light_cone.galaxies.is_empty() {
                    list.extend([BIAS, REDSHIFT_SPACE]);
                }
                if light_cone.sources.iter().any(SourceSection::is_aligned) {
                    list.push(ALIGNMENT);
                }
            }
            _ => {}
        }
    }
    for step in &run.forward {
        match step {
            ForwardStep::Shear {} | ForwardStep::ReducedShear {} => list.push(KAISER_SQUIRES),
            ForwardStep::Calibrate { .. } => list.push(HEYMANS),
            ForwardStep::Smooth { .. } => {}
        }
    }
    if let LikelihoodSection::StudentT { .. } = run.likelihood {
        list.push(STUDENT);
    }
    list.extend(run.warm_start.iter().chain([&run.method]).flat_map(of_method));
    list.push(PHILOX);
    list.dedup();
    list
}

/// The papers behind a method.
fn of_method(method: &MethodSection) -> Vec<Citation> {
    let mut list = Vec::new();
    match method {
        MethodSection::Wiener(_) => list.extend([WIENER, HESTENES]),
        MethodSection::Map(options) => list.push(match options.optimizer {
            Optimizer::Lbfgs => LBFGS,
            Optimizer::NewtonCg => HESTENES,
            Optimizer::GradientDescent => BARZILAI,
            Optimizer::Adam => ADAM,
        }),
        MethodSection::Mgvi(_) => list.extend([MGVI, HESTENES]),
        MethodSection::Geovi(_) => list.extend([GEOVI, MGVI, HESTENES]),
        MethodSection::Hmc(_) => list.extend([HMC, NUTS, VEHTARI]),
        MethodSection::Mala(_) => list.extend([MALA, NUTS, VEHTARI]),
        MethodSection::Mams(_) => list.extend([MAMS, MCLMC, NUTS, VEHTARI]),
        MethodSection::Nuts(options) => {
            list.extend([NUTS, BETANCOURT, VEHTARI]);
            list.extend(options.halve_above.map(|_| WALNUTS));
        }
        MethodSection::Mclmc(_) => list.extend([MCLMC, VEHTARI]),
        MethodSection::El2o(_) => list.extend([EL2O, PARETO]),
        MethodSection::Pathfinder(_) => list.extend([PATHFINDER, LBFGS, PARETO]),
        MethodSection::Muse(_) => list.extend([MUSE, BROYDEN]),
        MethodSection::Smc(_) => list.extend([SMC, HMC]),
        MethodSection::Thermodynamic(_) => list.extend([THERMODYNAMIC, BENNETT, NUTS, BETANCOURT, VEHTARI]),
    }
    list
}

/// The same as BibTeX.
pub fn bibtex(run: &RunFile) -> String {
    let entry = |c: Citation| {
        format!(
            "% {}\n@article{{{}{},\n  author = {{{}}},\n  title = {{{}}},\n  journal = {{{}}},\n  year = {{{}}}\n}}\n\n",
            c.what,
            c.key.to_lowercase(),
            c.year,
            c.author,
            c.title,
            c.journal,
            c.year
        )
    };
    of(run).into_iter().map(entry).collect()
}
