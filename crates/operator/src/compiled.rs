//! Where generic operators are compiled.

/// Compiles what operators do as an [`Operator`](crate::Operator), for both precisions, in the crate that defines them.
///
/// Generic code is compiled by whoever uses it, again in each of its crates: tests of a simulation took longer to compile than to
/// run. With little optimisation crates share what one below them has compiled; that is how they are developed, with debug
/// assertions. Releases do not share, so there nothing is compiled in advance; and unit tests of the crate compile what they use.
#[doc(hidden)]
#[macro_export]
macro_rules! compile_here {
    ($($operator:ident),+) => {
        $(
            $crate::compile_function!(fn(&$operator<f32>) -> &dyn $crate::Operator<f32>, |operator| operator);
            $crate::compile_function!(fn(&$operator<f64>) -> &dyn $crate::Operator<f64>, |operator| operator);
        )+
    };
}

/// Compiles a function where it stands, and all that it calls: see [`compile_here`].
#[doc(hidden)]
#[macro_export]
macro_rules! compile_function {
    ($kind:ty, $function:expr) => {
        #[cfg(all(debug_assertions, not(test)))]
        const _: () = {
            #[used]
            static COMPILED: $kind = $function;
        };
    };
}
