//! Interpolation between equidistant nodes by piecewise cubics with continuous slopes (Catmull & Rom 1974).

/// Weights of the four nodes around a place, the second and third of which enclose it, and their derivatives for a spacing
/// of one; `t` is the share of the way from the second to the third.
#[inline]
pub(crate) fn weights_and_slopes(t: f64) -> ([f64; 4], [f64; 4]) {
    let (t2, t3) = (t * t, t * t * t);
    (
        [
            -0.5 * t3 + t2 - 0.5 * t,
            1.5 * t3 - 2.5 * t2 + 1.0,
            -1.5 * t3 + 2.0 * t2 + 0.5 * t,
            0.5 * t3 - 0.5 * t2,
        ],
        [-1.5 * t2 + 2.0 * t - 0.5, 4.5 * t2 - 5.0 * t, -4.5 * t2 + 4.0 * t + 0.5, 1.5 * t2 - t],
    )
}
