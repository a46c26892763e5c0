//! Gravity on a mesh: the displacement field that sources of density pull particles along.

use lookback_mesh::{Cloud, Grid, RealFft};
use lookback_operator::Real;
use num_complex::Complex;

use crate::Result;
use crate::kernel::{Kernels, Tables, times_i};

/// `g(x) = -grad lap^-1 delta` at the particles, with `delta` painted from the particles themselves.
///
/// Paint, one forward transform, three inverse ones, readout. In the equation of motion
/// `dp/dt = 3/2 omega_m g / a`. The product with the transposed Jacobian costs three forward transforms and one inverse.
/// Memory: four meshes and a spectrum.
pub struct Gravity<T: Real> {
    cloud: Cloud,
    fft: RealFft<T>,
    tables: Tables<T>,
    density: Vec<T>,
    components: [Vec<T>; 3],
    spectrum: Vec<Complex<T>>,
    filtered: Vec<Complex<T>>,
}

impl<T: Real> Gravity<T> {
    /// `side^3` particles in a box of `length` \[Mpc/h\], forces on a mesh of `cells^3`.
    ///
    /// # Errors
    /// If a size is out of range.
    pub fn new(side: usize, cells: usize, length: f64, kernels: Kernels) -> Result<Gravity<T>> {
        let cloud = Cloud::new(side, cells, length)?;
        let fft = RealFft::new(&Grid::new(&[cells; 3], &[length; 3])?);
        let mesh = || vec![T::zero(); cells.pow(3)];
        Ok(Gravity {
            tables: Tables::new(kernels, cells, length),
            density: mesh(),
            components: [mesh(), mesh(), mesh()],
            spectrum: fft.make_spectrum(),
            filtered: fft.make_spectrum(),
            cloud,
            fft,
        })
    }

    /// The particles and their mesh.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// Contrast per painted particle over the normalisation of a transform and its inverse.
    fn scale(&self) -> T {
        T::of(1.0 / self.cloud.particles() as f64)
    }

    fn parts(meshes: &[Vec<T>; 3]) -> [&[T]; 3] {
        [&meshes[0], &meshes[1], &meshes[2]]
    }

    /// From the painted density to the three components of the field on the mesh.
    fn solve(&mut self) {
        self.fft.forward(&self.density, &mut self.spectrum);
        let scale = self.scale();
        for (axis, component) in self.components.iter_mut().enumerate() {
            self.tables.map(&self.spectrum, &mut self.filtered, |out, delta, kappa, inverse| {
                *out = times_i(delta) * (kappa[axis] * inverse * scale);
            });
            self.fft.inverse(&mut self.filtered, component);
        }
    }

    /// Writes `g` at the particles; the field stays on the mesh for the products below.
    pub fn at(&mut self, displacement: &[T], g: &mut [T]) {
        self.cloud.paint(displacement, &mut self.density);
        self.solve();
        self.cloud.readout(displacement, Gravity::parts(&self.components), g);
    }

    /// `tangent = dg/dx dx` at the displacement of the last call of [`at`](Gravity::at), which must be given again. The
    /// field is lost.
    pub fn push(&mut self, displacement: &[T], dx: &[T], tangent: &mut [T], scratch: &mut [T]) {
        scratch.fill(T::zero());
        self.cloud.readout_push(displacement, Gravity::parts(&self.components), dx, scratch);
        self.cloud.paint_push(displacement, dx, &mut self.density);
        self.solve();
        self.cloud.readout(displacement, Gravity::parts(&self.components), tangent);
        lookback_operator::vector::axpy(1.0, scratch, tangent);
    }

    /// Adds `scale * (dg/dx)^T cotangent` to `gradient`, at the displacement of the last call of
    /// [`at`](Gravity::at), which must be given again. The field is lost.
    pub fn pull(&mut self, displacement: &[T], cotangent: &[T], scale: f64, gradient: &mut [T]) {
        let scale = T::of(scale);
        self.cloud.readout_pull(displacement, Gravity::parts(&self.components), cotangent, scale, gradient);
        let [x, y, z] = &mut self.components;
        self.cloud.paint_vectors(displacement, cotangent, [x, y, z]);
        let per_particle = self.scale();
        for axis in 0..3 {
            self.fft.forward(&self.components[axis], &mut self.filtered);
            // The kernel is odd, so its transpose is its negative.
            self.tables.map(&self.filtered, &mut self.spectrum, |out, g, kappa, inverse| {
                let term = times_i(g) * (-kappa[axis] * inverse * per_particle);
                *out = if axis == 0 { term } else { *out + term };
            });
        }
        self.fft.inverse(&mut self.spectrum, &mut self.density);
        self.cloud.paint_pull(displacement, &self.density, scale, gradient);
    }
}
