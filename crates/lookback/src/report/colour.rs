//! Colours of maps: perceptually uniform scales from a few anchors.

/// A colour scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Dark to bright, for signals.
    Signal,
    /// Blue through white to red, centred at zero.
    Diverging,
    /// White to dark, for widths.
    Width,
}

/// Anchors of `inferno` (Smith & van der Walt 2015, CC0), sampled at equal steps.
const INFERNO: [[f64; 3]; 9] = [
    [0.0, 0.0, 4.0],
    [31.0, 12.0, 72.0],
    [85.0, 15.0, 109.0],
    [136.0, 34.0, 106.0],
    [186.0, 54.0, 85.0],
    [227.0, 89.0, 51.0],
    [249.0, 140.0, 10.0],
    [249.0, 201.0, 50.0],
    [252.0, 255.0, 164.0],
];
/// Anchors of `vik` (Crameri 2018, MIT), sampled at equal steps.
const VIK: [[f64; 3]; 9] = [
    [0.0, 18.0, 97.0],
    [3.0, 67.0, 127.0],
    [72.0, 137.0, 173.0],
    [163.0, 196.0, 213.0],
    [236.0, 229.0, 224.0],
    [217.0, 178.0, 150.0],
    [196.0, 122.0, 78.0],
    [144.0, 57.0, 12.0],
    [89.0, 0.0, 8.0],
];
/// Anchors of `viridis` (Smith & van der Walt 2015, CC0), sampled at equal steps.
const VIRIDIS: [[f64; 3]; 9] = [
    [68.0, 1.0, 84.0],
    [71.0, 44.0, 122.0],
    [59.0, 81.0, 139.0],
    [44.0, 113.0, 142.0],
    [33.0, 144.0, 141.0],
    [39.0, 173.0, 129.0],
    [92.0, 200.0, 99.0],
    [170.0, 220.0, 50.0],
    [253.0, 231.0, 37.0],
];

impl Scale {
    /// Colour at `t` in 0 .. 1.
    pub(crate) fn at(self, t: f64) -> [u8; 3] {
        let anchors = match self {
            Scale::Signal => &INFERNO,
            Scale::Diverging => &VIK,
            Scale::Width => &VIRIDIS,
        };
        let place = t.clamp(0.0, 1.0) * (anchors.len() - 1) as f64;
        let left = (place.floor() as usize).min(anchors.len() - 2);
        let f = place - left as f64;
        [0, 1, 2].map(|c| (anchors[left][c] + f * (anchors[left + 1][c] - anchors[left][c])).round() as u8)
    }
}
