//! The patches of an image that a kernel sees, and their adjoint.

use lookback_operator::Real;
use serde::{Deserialize, Serialize};

/// Height, width and channels of an image, whose numbers lie in this order, the channel fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Numbers a pixel.
    pub channels: usize,
}

impl Image {
    /// Numbers of the image.
    pub fn len(self) -> usize {
        self.height * self.width * self.channels
    }

    /// True if there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Square patches of an image, `stride` pixels apart, padded with zeros so that there are `ceil(side / stride)` of them along a side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patches {
    pub image: Image,
    pub kernel: usize,
    pub stride: usize,
}

impl Patches {
    /// Patches along both sides.
    pub fn grid(self) -> [usize; 2] {
        [self.image.height.div_ceil(self.stride), self.image.width.div_ceil(self.stride)]
    }

    /// Number of patches.
    pub fn count(self) -> usize {
        self.grid()[0] * self.grid()[1]
    }

    /// Numbers of a patch.
    pub fn len(self) -> usize {
        self.kernel * self.kernel * self.image.channels
    }

    /// Zeros before the first pixel of a side; half of all zeros, rounded down.
    pub fn before(self, side: usize) -> usize {
        ((side.div_ceil(self.stride) - 1) * self.stride + self.kernel).saturating_sub(side) / 2
    }

    /// Calls `run` for each row of each patch that meets the image: its place in the patches, its place in the image, its length.
    fn each_run(self, mut run: impl FnMut(usize, usize, usize)) {
        let Image { height, width, channels } = self.image;
        let [rows, columns] = self.grid();
        let (top, left) = (self.before(height), self.before(width));
        for row in 0..rows {
            for column in 0..columns {
                let patch = (row * columns + column) * self.len();
                // Columns of the kernel from `first` to `last` lie within the image.
                let x = column * self.stride;
                let first = left.saturating_sub(x);
                let last = self.kernel.min((width + left).saturating_sub(x));
                for ky in 0..self.kernel {
                    let y = row * self.stride + ky;
                    if y < top || y - top >= height || first >= last {
                        continue;
                    }
                    let at = patch + (ky * self.kernel + first) * channels;
                    let pixel = (y - top) * width + x + first - left;
                    run(at, pixel * channels, (last - first) * channels);
                }
            }
        }
    }

    /// Copies the patches of an image into `patches`, whose padding must be zero already.
    pub fn gather<T: Real>(self, image: &[T], patches: &mut [T]) {
        self.each_run(|at, from, len| patches[at..at + len].copy_from_slice(&image[from..from + len]));
    }

    /// Adds patches to an image: the adjoint of [`gather`](Patches::gather).
    pub fn gather_adjoint<T: Real>(self, patches: &[T], image: &mut [T]) {
        self.each_run(|at, to, len| {
            image[to..to + len].iter_mut().zip(&patches[at..at + len]).for_each(|(a, &b)| *a += b);
        });
    }
}
