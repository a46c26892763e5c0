//! Every method on posteriors that are known: in one program, since each would compile all of them again.

mod approximations;
mod known_posteriors;
mod muse;
mod samplers;
mod targets;
