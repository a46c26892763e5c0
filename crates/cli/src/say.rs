//! What is said on standard output.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// `println!` for whom it may be that nobody reads to the end (`lookback data | head`): the program ends there, and well.
macro_rules! say {
    () => { $crate::say::line(format_args!("")) };
    ($($words:tt)*) => { $crate::say::line(format_args!($($words)*)) };
}

pub(crate) fn line(words: Arguments<'_>) {
    match writeln!(std::io::stdout(), "{words}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        // There is no other place to say that this one is broken.
        _ => {}
    }
}
