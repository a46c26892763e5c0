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
            #[cfg(all(debug_assertions, not(test)))]
            const _: () = {
                use $crate::Operator;
                #[used]
                static SINGLE: fn(&$operator<f32>) -> &dyn Operator<f32> = |operator| operator;
                #[used]
                static DOUBLE: fn(&$operator<f64>) -> &dyn Operator<f64> = |operator| operator;
            };
        )+
    };
}
