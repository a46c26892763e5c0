//! Growth of structure to third order in Lagrangian perturbation theory, as an ordinary differential equation.

use crate::{Background, Scalar};

/// Number of growth functions: `D1`, `D2`, `D3a`, `D3b`, `D3c`.
pub(crate) const ORDERS: usize = 5;

/// A growth function at one time.
#[derive(Debug, Clone, Copy)]
pub struct Growth<S> {
    /// `D`.
    pub d: S,
    /// `dD / dln a`.
    pub slope: S,
    /// `d^2 D / dln a^2`.
    pub curvature: S,
}

/// All growth functions at one time, in the order `D1, D2, D3a, D3b, D3c`.
pub(crate) type State<S> = [(S, S); ORDERS];

/// Second derivatives with respect to `ln a`.
///
/// With `L D = D'' + (2 + dln H/dln a) D'` and `b = 3/2 Omega_m(a)`, in which massive neutrinos count as they slow down (Bouchet et al. 1995; Catelan 1995, where the
/// displacement is `D1 grad P1 + D2 grad P2 + D3a grad P3a + D3b grad P3b + D3c curl A`):
///
/// ```text
/// L D1  = b D1                      D1  ->  a           in a universe of matter alone
/// L D2  = b (D2 - D1^2)             D2  -> -3/7 a^2
/// L D3a = b (D3a - 2 D1^3)          D3a -> -1/3 a^3
/// L D3b = b (D3b - 2 D1 (D2 - D1^2))   D3b -> 10/21 a^3
/// L D3c = -b D1^3                   D3c -> -1/7 a^3
/// ```
pub(crate) fn acceleration<S: Scalar>(friction: S, b: S, y: &State<S>) -> [S; ORDERS] {
    let [(d1, d1s), (d2, d2s), (d3a, d3as), (d3b, d3bs), (_, d3cs)] = *y;
    let square = d1 * d1;
    [
        first_acceleration(friction, b, (d1, d1s)),
        b * (d2 - square) - friction * d2s,
        b * (d3a - square * d1 * 2.0) - friction * d3as,
        b * (d3b - d1 * (d2 - square) * 2.0) - friction * d3bs,
        -(b * square * d1) - friction * d3cs,
    ]
}

/// That of the first order alone.
pub(crate) fn first_acceleration<S: Scalar>(friction: S, b: S, (d, slope): (S, S)) -> S {
    b * d - friction * slope
}

/// `2 + dln H/dln a` and `3/2 Omega_m(a)`, of what clusters: growth is that of waves which are longer than neutrinos stream.
pub(crate) fn coefficients<S: Scalar>(background: &Background<S>, a: f64) -> (S, S) {
    let (e2, slope, clustering) = background.e2_slope_and_clustering(a);
    (slope / (e2 * 2.0) + 2.0, clustering / (e2 * a.powi(3)) * 1.5)
}

/// The growing modes early on: `D1 = a + 2/3 a_eq` (Meszaros 1974), the others as in a universe of matter alone.
pub(crate) fn early<S: Scalar>(background: &Background<S>, a: f64) -> State<S> {
    let equality = background.early_radiation(a) / background.e2_slope_and_clustering(a).2;
    let d1 = equality * (2.0 / 3.0) + a;
    let power = |c: f64, n: i32| (S::of(c * a.powi(n)), S::of(c * f64::from(n) * a.powi(n)));
    [(d1, S::of(a)), power(-3.0 / 7.0, 2), power(-1.0 / 3.0, 3), power(10.0 / 21.0, 3), power(-1.0 / 7.0, 3)]
}

/// One step of the classical Runge-Kutta method, from the coefficients at its start, middle and end.
pub(crate) fn runge_kutta<S: Scalar>(y: &State<S>, h: f64, at: [(S, S); 3]) -> State<S> {
    let rate = |(friction, b): (S, S), y: &State<S>| {
        let second = acceleration(friction, b, y);
        std::array::from_fn::<_, ORDERS, _>(|i| (y[i].1, second[i]))
    };
    let moved = |k: &State<S>, h: f64| -> State<S> {
        std::array::from_fn(|i| (y[i].0 + k[i].0 * h, y[i].1 + k[i].1 * h))
    };
    let k1 = rate(at[0], y);
    let k2 = rate(at[1], &moved(&k1, 0.5 * h));
    let k3 = rate(at[1], &moved(&k2, 0.5 * h));
    let k4 = rate(at[2], &moved(&k3, h));
    std::array::from_fn(|i| {
        let sum = |f: fn((S, S)) -> S| f(k1[i]) + (f(k2[i]) + f(k3[i])) * 2.0 + f(k4[i]);
        (y[i].0 + sum(|k| k.0) * (h / 6.0), y[i].1 + sum(|k| k.1) * (h / 6.0))
    })
}
