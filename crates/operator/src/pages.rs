//! Large arrays on large pages: what is written for the first time comes from the system page by page, and that takes time.

use crate::Real;

/// Zeros [on large pages](on_large_pages). Large arrays mostly come as zeros from the system, so that those who write to them touch them
/// first, on all threads.
pub fn zeros<T: Real>(len: usize) -> Vec<T> {
    on_large_pages(vec![T::zero(); len])
}

/// Asks the system to keep memory that nobody has touched yet on large pages, if it gives them to those who ask (Linux does, mostly):
/// hundreds of times fewer pages are asked for and given back.
pub fn on_large_pages<X>(untouched: Vec<X>) -> Vec<X> {
    #[cfg(target_os = "linux")]
    {
        let start = untouched.as_ptr().addr();
        let end = start + untouched.capacity() * size_of::<X>();
        let (first, last) = (start.next_multiple_of(LARGE), end / LARGE * LARGE);
        if first < last {
            let pages = untouched.as_ptr().with_addr(first).cast_mut().cast();
            // SAFETY: advice on whole pages within an allocation; it changes nothing that can be read there. To be refused does no harm.
            unsafe { libc::madvise(pages, last - first, libc::MADV_HUGEPAGE) };
        }
    }
    untouched
}

/// Bytes of a large page, which are many pages of any other size.
#[cfg(target_os = "linux")]
const LARGE: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_zero_whatever_their_number() {
        for len in [0, 1, 1000, LEN] {
            let zeros: Vec<f32> = zeros(len);
            assert_eq!(zeros.len(), len);
            assert!(zeros.iter().all(|x| x.to_bits() == 0));
        }
    }

    /// More than a few large pages.
    const LEN: usize = 5 << 20;
}
