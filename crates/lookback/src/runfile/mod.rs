//! The run file: a TOML text that names a prior, a forward model, data with noise, a method and an output.

mod parse;
mod sections;

pub use parse::{ParseError, RunFile};
pub use sections::{
    At, Columns, DataSection, FieldPrior, ForwardStep, LikelihoodSection, LogNormalMoments, MethodSection,
    Moments, NoiseStd, OutputSection, PowerLaw, Precision, PriorSection, ProjectionKind, ReportSection,
    SkyCentre, SkySection, SpectrumSection, Survey,
};
