//! The device: its memory, its products of matrices, its kernels.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use cudarc::cublas::{self, CudaBlas, sys::cublasOperation_t};
use cudarc::driver::{self, CudaContext, CudaFunction, CudaSlice, CudaStream, DevicePtr, DeviceRepr};
use cudarc::nvrtc;

use crate::{Error, Result};

const SOURCE: &str = include_str!("kernels.cu");

/// One NVIDIA GPU. Everything is done on one stream, in the order in which it is asked for.
#[derive(Debug)]
pub struct Device {
    stream: Arc<CudaStream>,
    blas: CudaBlas,
    kernels: HashMap<&'static str, CudaFunction>,
    free: Rc<Free>,
    name: String,
}

/// Memory that a step gave back, by its size: the next step asks for the same, and the driver's answer is slow.
///
/// What is done with it is done in order, so that it can be given away again before the last work on it is done.
#[derive(Debug, Default)]
struct Free(RefCell<HashMap<usize, Vec<CudaSlice<u8>>>>);

impl Free {
    /// Sizes are whole numbers of these.
    const UNIT: usize = 512;
}

impl Device {
    /// The first GPU that the driver shows (`CUDA_VISIBLE_DEVICES` chooses). Its kernels are compiled now, in about a second.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no GPU, or the libraries of CUDA (the driver, cuBLAS, NVRTC) are not found.
    pub fn open() -> Result<Device> {
        // SAFETY: these calls look for a library and load it; loading runs no code of ours.
        let missing = unsafe {
            if !driver::sys::is_culib_present() {
                Some("the NVIDIA driver (libcuda)")
            } else if !cublas::sys::is_culib_present() {
                Some("cuBLAS (libcublas, of the CUDA toolkit)")
            } else if !nvrtc::sys::is_culib_present() {
                Some("NVRTC (libnvrtc, of the CUDA toolkit)")
            } else {
                None
            }
        };
        if let Some(library) = missing {
            let message =
                format!("no GPU can be used: {library} is not found; LD_LIBRARY_PATH may name its folder");
            return Err(Error::Device(message));
        }
        let context = CudaContext::new(0).map_err(|error| failed("no GPU can be opened", error))?;
        // SAFETY: there is one stream, so that no array is written by one and read by another.
        unsafe { context.disable_event_tracking() };
        let name = context.name().map_err(|error| failed("the GPU", error))?;
        let stream = context.new_stream().map_err(|error| failed("the GPU", error))?;
        let blas = CudaBlas::new(stream.clone()).map_err(|error| failed("cuBLAS", error))?;
        let options = nvrtc::CompileOptions { fmad: Some(true), ..nvrtc::CompileOptions::default() };
        let compiled =
            nvrtc::compile_ptx_with_opts(SOURCE, options).map_err(|error| failed("the kernels", error))?;
        let module = context.load_module(compiled).map_err(|error| failed("the kernels", error))?;
        let kernels = kernel_names()
            .map(|name| Ok((name, module.load_function(name).map_err(|error| failed(name, error))?)))
            .collect::<Result<_>>()?;
        Ok(Device { stream, blas, kernels, free: Rc::default(), name })
    }

    /// What the driver calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until everything is done.
    ///
    /// # Errors
    /// What has failed since the last time.
    pub fn wait(&self) -> Result<()> {
        self.stream.synchronize().map_err(|error| failed("the GPU", error))
    }

    /// Room for so many numbers, which may be anything.
    pub(super) fn room<T: DeviceRepr>(&self, len: usize) -> Result<Buffer<T>> {
        if len > MOST_NUMBERS {
            return Err(Error::Device(format!(
                "{len} numbers in one array are more than the kernels of a GPU count here (2^31): a smaller `batch` or network may do"
            )));
        }
        let bytes = (len * size_of::<T>()).next_multiple_of(Free::UNIT).max(Free::UNIT);
        let kept = self.free.0.borrow_mut().get_mut(&bytes).and_then(Vec::pop);
        let memory = match kept {
            Some(memory) => memory,
            None => self.allocate(bytes)?,
        };
        let address = memory.device_ptr(&self.stream).0;
        Ok(Buffer { memory: Some(memory), free: self.free.clone(), address, len, of: PhantomData })
    }

    /// Memory from the driver; if it has none, what lies idle is given back first.
    fn allocate(&self, bytes: usize) -> Result<CudaSlice<u8>> {
        // SAFETY: whoever asks for room writes it before it is read.
        let ask = || unsafe { self.stream.alloc::<u8>(bytes) };
        ask().or_else(|_| {
            self.free.0.borrow_mut().clear();
            self.wait()?;
            ask().map_err(out_of_memory)
        })
    }

    /// So many zeros.
    pub(super) fn zeros<T: DeviceRepr + driver::ValidAsZeroBits>(&self, len: usize) -> Result<Buffer<T>> {
        let buffer = self.room(len)?;
        self.clear(&buffer)?;
        Ok(buffer)
    }

    /// A copy of what lies in the memory of the host.
    pub(super) fn upload<T: DeviceRepr>(&self, values: &[T]) -> Result<Buffer<T>> {
        let buffer = self.room(values.len())?;
        // SAFETY: the buffer is as long as the slice, and the call returns when the slice has been read.
        unsafe { driver::result::memcpy_htod_async(buffer.address, values, self.stream.cu_stream()) }
            .map_err(|error| failed("a copy to the GPU", error))?;
        Ok(buffer)
    }

    /// A copy in the memory of the host.
    pub(super) fn download<T: DeviceRepr + Default + Clone>(&self, buffer: &Buffer<T>) -> Result<Vec<T>> {
        let mut values = vec![T::default(); buffer.len];
        // SAFETY: the vector is as long as the buffer, and nobody looks at it before the stream is done.
        unsafe { driver::result::memcpy_dtoh_async(&mut values, buffer.address, self.stream.cu_stream()) }
            .map_err(|error| failed("a copy from the GPU", error))?;
        self.wait()?;
        Ok(values)
    }

    /// A copy of some numbers.
    pub(super) fn copy<T: DeviceRepr>(&self, from: View<'_, T>) -> Result<Buffer<T>> {
        let to = self.room(from.len)?;
        self.overwrite(to.view(), from)?;
        Ok(to)
    }

    /// Writes `from` over `to`.
    pub(super) fn overwrite<T>(&self, to: View<'_, T>, from: View<'_, T>) -> Result<()> {
        assert_eq!(to.len, from.len, "numbers that are copied");
        let bytes = from.len * size_of::<T>();
        // SAFETY: both views reach that far, and the copy takes its turn on the stream.
        unsafe { driver::result::memcpy_dtod_async(to.address, from.address, bytes, self.stream.cu_stream()) }
            .map_err(|error| failed("a copy on the GPU", error))
    }

    /// Writes zeros.
    pub(super) fn clear<T: driver::ValidAsZeroBits>(&self, buffer: &Buffer<T>) -> Result<()> {
        let bytes = buffer.len * size_of::<T>();
        // SAFETY: the buffer is that long.
        unsafe { driver::result::memset_d8_async(buffer.address, 0, bytes, self.stream.cu_stream()) }
            .map_err(|error| failed("the GPU", error))
    }

    /// Runs a kernel on `grid` blocks of `block` threads.
    ///
    /// The kernel's own numbers must agree with its arguments: they are written side by side in this folder.
    pub(super) fn launch(
        &self,
        kernel: &'static str,
        grid: [usize; 2],
        block: [usize; 2],
        arguments: &[Argument],
    ) -> Result<()> {
        let mut pointers: Vec<*mut c_void> = arguments.iter().map(Argument::pointer).collect();
        let size = |[x, y]: [usize; 2]| (x as u32, y as u32, 1);
        let function = &self.kernels[kernel];
        // SAFETY: the arguments have the types that the kernel declares, and views reach as far as it goes: every caller
        // takes sizes from the views that it passes.
        unsafe {
            driver::result::launch_kernel(
                function.cu_function(),
                size(grid),
                size(block),
                0,
                self.stream.cu_stream(),
                &mut pointers,
            )
        }
        .map_err(|error| failed(kernel, error))
    }

    /// Runs a kernel whose last argument counts the numbers, a thread each.
    pub(super) fn each(&self, kernel: &'static str, n: usize, arguments: &[Argument]) -> Result<()> {
        if n == 0 {
            return Ok(());
        }
        let mut arguments = arguments.to_vec();
        arguments.push(n.into());
        self.launch(kernel, [n.div_ceil(THREADS), 1], [THREADS, 1], &arguments)
    }

    /// `out = a b`, or `out += a b`; matrices lie row by row.
    pub(super) fn multiply(&self, out: View<'_>, add: bool, a: Matrix<'_>, b: Matrix<'_>) -> Result<()> {
        let (m, n, k) = (a.rows, b.columns, a.columns);
        assert_eq!(b.rows, k, "matrices of {m} x {k} and {} x {n}", b.rows);
        assert_eq!(out.len, m * n, "a product of {m} x {n}");
        if m * n == 0 {
            return Ok(());
        }
        let (one, keep) = (1.0f32, if add { 1.0f32 } else { 0.0 });
        let operation = |matrix: &Matrix<'_>| {
            if matrix.transposed { cublasOperation_t::CUBLAS_OP_T } else { cublasOperation_t::CUBLAS_OP_N }
        };
        // SAFETY: shapes agree, and each view holds its matrix (`Matrix::new`). cuBLAS counts by columns: what it takes for
        // b^T and a^T, and gives as out^T, are the same numbers by rows.
        unsafe {
            cublas::result::sgemm(
                *self.blas.handle(),
                operation(&b),
                operation(&a),
                n as i32,
                m as i32,
                k as i32,
                &one,
                b.view.address as *const f32,
                b.stride as i32,
                a.view.address as *const f32,
                a.stride as i32,
                &keep,
                out.address as *mut f32,
                n as i32,
            )
        }
        .map_err(|error| failed("a product of matrices", error))
    }
}

/// Most numbers of an array: kernels count in 32 bits, and the last block reaches beyond.
const MOST_NUMBERS: usize = i32::MAX as usize - (1 << 16);

/// Threads a block.
pub(super) const THREADS: usize = 256;

/// The kernels that the source declares.
fn kernel_names() -> impl Iterator<Item = &'static str> {
    SOURCE.lines().filter_map(|line| line.strip_prefix("__global__ void ")?.split('(').next())
}

fn failed(what: &str, error: impl std::fmt::Debug) -> Error {
    Error::Device(format!("{what}: {error:?}"))
}

fn out_of_memory(error: driver::DriverError) -> Error {
    Error::Device(format!("no room on the GPU ({error:?}): a smaller `batch` may help"))
}

/// Numbers in the memory of the device.
#[derive(Debug)]
pub(super) struct Buffer<T = f32> {
    /// There until it is dropped.
    memory: Option<CudaSlice<u8>>,
    free: Rc<Free>,
    address: u64,
    len: usize,
    of: PhantomData<T>,
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.free.0.borrow_mut().entry(memory.len()).or_default().push(memory);
        }
    }
}

impl<T> Buffer<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    /// All of it. Like a `Cell`, a view can be written through: what the stream does, it does in order.
    pub fn view(&self) -> View<'_, T> {
        View { address: self.address, len: self.len, of: PhantomData }
    }
}

/// Some of the numbers of a [`Buffer`].
#[derive(Debug)]
pub(super) struct View<'a, T = f32> {
    address: u64,
    len: usize,
    of: PhantomData<&'a T>,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<'a, T> View<'a, T> {
    pub fn len(self) -> usize {
        self.len
    }

    /// Numbers `range` of it.
    pub fn part(self, range: Range<usize>) -> View<'a, T> {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} numbers", self.len);
        let address = self.address + (range.start * size_of::<T>()) as u64;
        View { address, len: range.len(), of: PhantomData }
    }
}

/// A matrix in the memory of the device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a> {
    view: View<'a>,
    rows: usize,
    columns: usize,
    /// Distance of the rows as they lie in memory.
    stride: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    pub fn new(view: View<'a>, rows: usize, columns: usize) -> Matrix<'a> {
        assert_eq!(view.len, rows * columns, "a matrix of {rows} x {columns}");
        Matrix { view, rows, columns, stride: columns, transposed: false }
    }

    /// The transpose, without moving anything.
    pub fn transposed(self) -> Matrix<'a> {
        Matrix { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }
}

/// An argument of a kernel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Argument {
    Address(u64),
    Int(i32),
    Long(u64),
    Float(f32),
    Double(f64),
}

impl Argument {
    /// No array.
    pub const NONE: Argument = Argument::Address(0);

    fn pointer(&self) -> *mut c_void {
        match self {
            Argument::Address(x) | Argument::Long(x) => std::ptr::from_ref(x) as *mut c_void,
            Argument::Int(x) => std::ptr::from_ref(x) as *mut c_void,
            Argument::Float(x) => std::ptr::from_ref(x) as *mut c_void,
            Argument::Double(x) => std::ptr::from_ref(x) as *mut c_void,
        }
    }
}

impl<T> From<View<'_, T>> for Argument {
    fn from(view: View<'_, T>) -> Argument {
        Argument::Address(view.address)
    }
}

impl<T> From<&Buffer<T>> for Argument {
    fn from(buffer: &Buffer<T>) -> Argument {
        Argument::Address(buffer.address)
    }
}

impl From<usize> for Argument {
    fn from(count: usize) -> Argument {
        Argument::Int(i32::try_from(count).expect("fewer than 2^31 numbers in an array"))
    }
}

impl From<f32> for Argument {
    fn from(x: f32) -> Argument {
        Argument::Float(x)
    }
}

impl From<f64> for Argument {
    fn from(x: f64) -> Argument {
        Argument::Double(x)
    }
}

/// A list of arguments from whatever can be one.
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => {
        &[$(crate::cuda::device::Argument::from($argument)),*]
    };
}
pub(super) use arguments;
