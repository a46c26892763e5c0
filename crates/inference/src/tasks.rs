//! Tasks on parts of vectors, and kernels in the vector instructions of this machine.

use rayon::prelude::*;

/// Tasks up to which one thread is done before a second would have begun.
const FEW: usize = 8;

/// What `work` makes of each task and its number, in their order.
pub(crate) fn each<I: Send, R: Send>(tasks: Vec<I>, work: impl Fn(usize, I) -> R + Sync) -> Vec<R> {
    let work = |(task, item)| work(task, item);
    if tasks.len() <= FEW {
        tasks.into_iter().enumerate().map(work).collect()
    } else {
        tasks.into_par_iter().enumerate().map(work).collect()
    }
}

/// A loop over numbers, with what it works on.
pub(crate) trait Kernel {
    /// What it finds.
    type Output;

    /// The loop; `#[inline(always)]`, so that it is compiled anew wherever it is run.
    fn run(self) -> Self::Output;
}

/// Runs a kernel in wide vectors where the machine has them; the bits are the same, as nothing is fused or summed in another order.
pub(crate) fn wide<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has the instructions.
        return unsafe { avx2(kernel) };
    }
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}
