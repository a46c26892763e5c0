//! Arrays of a run that are used again: what comes from the system for the first time takes longer to come than to be used.

use lookback_mesh::Grid;
use lookback_operator::{Real, zeros};
use num_complex::Complex;
use rayon::prelude::*;

/// Arrays that somebody has used and somebody else may use. Each has room for a vector of the particles or for three spectra of their
/// lattice, whatever it was before.
pub(crate) struct Rooms<T> {
    /// Numbers of a vector.
    vector: usize,
    /// Modes of a spectrum.
    modes: usize,
    /// How many arrays stay here when they come back.
    most: usize,
    free: Vec<Vec<T>>,
}

/// Three spectra in one array.
pub(crate) struct Spectra<T> {
    room: Vec<T>,
    modes: usize,
}

impl<T: Real> Spectra<T> {
    /// Three spectra of zeros.
    pub(crate) fn new(modes: usize) -> Spectra<T> {
        Spectra { room: zeros(numbers(modes)), modes }
    }

    pub(crate) fn parts(&self) -> [&[Complex<T>]; 3] {
        let (first, rest) = bytemuck::cast_slice(&self.room).split_at(self.modes);
        let (second, third) = rest.split_at(self.modes);
        [first, second, third]
    }

    pub(crate) fn parts_mut(&mut self) -> [&mut [Complex<T>]; 3] {
        let (first, rest) = bytemuck::cast_slice_mut(&mut self.room).split_at_mut(self.modes);
        let (second, third) = rest.split_at_mut(self.modes);
        [first, second, third]
    }
}

impl<T> From<Spectra<T>> for Vec<T> {
    fn from(spectra: Spectra<T>) -> Vec<T> {
        spectra.room
    }
}

/// Real numbers of three spectra.
fn numbers(modes: usize) -> usize {
    3 * 2 * modes
}

impl<T: Real> Rooms<T> {
    /// No arrays yet, for the lattice of the particles.
    pub(crate) fn new(grid: &Grid) -> Rooms<T> {
        let modes = grid.rows() * grid.half_columns();
        Rooms { vector: 3 * grid.len(), modes, most: 0, free: Vec::new() }
    }

    /// From now on so many arrays stay here, if it was less.
    pub(crate) fn keep(&mut self, most: usize) {
        self.most = self.most.max(most);
    }

    fn room(&mut self) -> Vec<T> {
        let mut room = self.free.pop().unwrap_or_else(|| zeros(numbers(self.modes)));
        room.resize(numbers(self.modes), T::zero());
        room
    }

    /// Three spectra of whatever was there.
    pub(crate) fn spectra(&mut self) -> Spectra<T> {
        Spectra { room: self.room(), modes: self.modes }
    }

    /// A vector of whatever was there.
    pub(crate) fn vector(&mut self) -> Vec<T> {
        let mut room = self.room();
        room.truncate(self.vector);
        room
    }

    /// A vector of zeros.
    pub(crate) fn zeros(&mut self) -> Vec<T> {
        let fresh = self.free.is_empty();
        let mut out = self.vector();
        if !fresh {
            out.par_chunks_mut(PART).for_each(|part| part.fill(T::zero()));
        }
        out
    }

    /// The same vector again.
    pub(crate) fn copy(&mut self, x: &[T]) -> Vec<T> {
        let mut out = self.vector();
        copy_to(x, &mut out);
        out
    }

    /// Gives the memory of all that is here back to the system, where somebody needs more than that.
    pub(crate) fn leave(&mut self) {
        self.free.clear();
    }

    /// Takes arrays back; those from elsewhere that are too small are dropped.
    pub(crate) fn give_back<R: Into<Vec<T>>>(&mut self, rooms: impl IntoIterator<Item = R>) {
        for room in rooms.into_iter().map(Into::into) {
            if self.free.len() < self.most && room.capacity() >= numbers(self.modes) {
                self.free.push(room);
            }
        }
    }
}

/// Copies a vector, on all threads.
pub(crate) fn copy_to<T: Real>(x: &[T], out: &mut [T]) {
    out.par_chunks_mut(PART).zip(x.par_chunks(PART)).for_each(|(out, x)| out.copy_from_slice(x));
}

/// Numbers a task.
const PART: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_again_as_what_is_asked_for() {
        let grid = Grid::new(&[4, 4, 4], &[1.0; 3]).expect("a grid");
        let mut rooms = Rooms::<f32>::new(&grid);
        rooms.keep(1);
        let mut spectra = rooms.spectra();
        spectra.parts_mut().into_iter().flatten().for_each(|mode| *mode = Complex::new(1.0, 2.0));
        assert!(spectra.parts().into_iter().all(|part| part.len() == 4 * 4 * 3));
        let before = Vec::from(spectra);
        let place = before.as_ptr();
        rooms.give_back([before]);
        let vector = rooms.zeros();
        assert_eq!((vector.as_ptr(), vector.len()), (place, 3 * 64));
        assert!(vector.iter().all(|x| *x == 0.0));
        // Only one stays, and none that is too small.
        let other = rooms.copy(&vector);
        rooms.give_back([vec![0.0; 3], vector, other]);
        assert_eq!(rooms.free.len(), 1);
        assert_eq!(rooms.spectra().parts()[0].len(), 48);
    }
}
