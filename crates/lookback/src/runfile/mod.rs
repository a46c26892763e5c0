//! The run file: a TOML text that names a prior, a forward model, data with noise, a method and an output.

mod parse;
mod sections;
mod universe;

pub use parse::{ParseError, RunFile};
pub(crate) use parse::{read, resolve};
pub use sections::{
    At, Columns, DataSection, FieldPrior, ForwardStep, LikelihoodSection, LogNormalMoments, MaskFiles,
    MethodSection, Moments, NoiseStd, OutputSection, PowerLaw, Precision, PriorSection, ProjectionKind,
    ReportSection, SkyCentre, SkySection, SpectrumSection, Survey,
};
pub use universe::{
    AlignmentSection, BetweenName, CosmologySection, CrossingName, GalaxiesSection, GradientName,
    LaplaceName, LightConeSection, RaysSection, SampleSection, SchemeName, SharpeningSection, ShellSection,
    SimulationSection, SourceSection, SpacingName, TilingName, TransferName, WindowName,
};
