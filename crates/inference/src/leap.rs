//! Kicks and moves of latents under way, in one pass over their vectors.

use lookback_operator::Real;
use lookback_operator::vector::CHUNK;

use crate::scales::Scales;
use crate::tasks::{Kernel, each, wide};

/// `u = by_u u + by_g s g` and `z += drift s u`, with the widths `s` of the latents; the three factors are `by`, in this order.
pub(crate) fn kick_and_move<T: Real>(by: [f64; 3], u: &mut [T], z: &mut [T], g: &[T], scales: Scales<'_, T>) {
    let by = by.map(T::of);
    let parts = u.chunks_mut(CHUNK).zip(z.chunks_mut(CHUNK)).zip(g.chunks(CHUNK));
    each(parts.collect(), |part, ((u, z), g)| {
        let scales = scales.map(|scales| &scales[part * CHUNK..][..u.len()]);
        wide(KickAndMove { by, u, z, g, scales });
    });
}

struct KickAndMove<'a, T> {
    by: [T; 3],
    u: &'a mut [T],
    z: &'a mut [T],
    g: &'a [T],
    scales: Scales<'a, T>,
}

impl<T: Real> Kernel for KickAndMove<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let KickAndMove { by: [by_u, by_g, drift], u, z, g, scales } = self;
        let Some(scales) = scales else {
            for ((u, z), &g) in u.iter_mut().zip(z).zip(g) {
                *u = by_u * *u + by_g * g;
                *z += drift * *u;
            }
            return;
        };
        for (((u, z), &g), &s) in u.iter_mut().zip(z).zip(g).zip(scales) {
            *u = by_u * *u + by_g * s * g;
            *z += drift * s * *u;
        }
    }
}
