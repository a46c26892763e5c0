//! Kernels in the vector instructions of this machine.

/// A loop over numbers, with what it works on.
pub(super) trait Kernel {
    /// What it finds.
    type Output;

    /// The loop; `#[inline(always)]`, so that it is compiled anew wherever it is run.
    fn run(self) -> Self::Output;
}

/// Runs a kernel in wide vectors where the machine has them; the bits are the same, as nothing is fused or summed in another order.
pub(super) fn wide<K: Kernel>(kernel: K) -> K::Output {
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
