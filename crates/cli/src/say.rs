//! What is said on standard output.

use std::fmt::Arguments;
use std::io::Write;

/// `println!` for whom it may be that nobody reads to the end (`lookback data | head`): what is said after that is lost, and nothing else.
macro_rules! say {
    () => { $crate::say::line(format_args!("")) };
    ($($words:tt)*) => { $crate::say::line(format_args!($($words)*)) };
}

pub(crate) fn line(words: Arguments<'_>) {
    writeln!(std::io::stdout(), "{words}").ok();
}
