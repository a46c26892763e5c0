//! Weights of PyTorch: the same layers with other layouts.

use std::collections::BTreeMap;

use lookback_operator::Real;
use safetensors::tensor::{Dtype, SafeTensors};

use crate::architecture::{LayerSection, Shape};
use crate::layers::{Image, Norm, Patches};
use crate::{Error, Result};

/// An array of a PyTorch model, in the order in which its `state_dict` has them.
#[derive(Debug, Clone, PartialEq)]
pub struct TorchArray {
    /// Its name there.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub values: Vec<f32>,
}

/// The arrays of a `state_dict` that was saved as safetensors whose names begin with `part` and a dot, module by module in the order of
/// their numbers, and within a module as PyTorch has them. Weights under spectral normalisation are divided by their norm, as a network in
/// `eval()` does.
///
/// # Errors
/// If the file is none, an array is not of 32-bit floats, or there are none of this name.
pub fn read_part(bytes: &[u8], part: &str) -> Result<Vec<TorchArray>> {
    let broken = |error: String| Error::Data(format!("is not a safetensors file of PyTorch: {error}"));
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| broken(error.to_string()))?;
    let prefix = format!("{part}.");
    let mut arrays = Vec::new();
    for (name, view) in tensors.tensors() {
        if !name.starts_with(&prefix) || name.ends_with("num_batches_tracked") {
            continue;
        }
        if view.dtype() != Dtype::F32 {
            return Err(broken(format!("`{name}` is of type {:?}, not 32-bit floats", view.dtype())));
        }
        let values = view.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        arrays.push(TorchArray { name, shape: view.shape().to_vec(), values });
    }
    if arrays.is_empty() {
        return Err(broken(format!(
            "it has no array `{prefix}...`; name the modules `encoder` and `decoder`"
        )));
    }
    let mut arrays = fold_spectral(arrays)?;
    arrays.sort_by_key(|array| place(&array.name));
    Ok(arrays)
}

/// Ends of the names of a weight under `spectral_norm` and of its two singular directions: of `torch.nn.utils.parametrizations`, and of the older one.
const SPECTRAL: [[&str; 3]; 2] = [
    ["parametrizations.weight.original", "parametrizations.weight.0._u", "parametrizations.weight.0._v"],
    ["weight_orig", "weight_u", "weight_v"],
];

/// Weights under spectral normalisation over their norm `u^T W v`, and all other arrays as they are.
fn fold_spectral(arrays: Vec<TorchArray>) -> Result<Vec<TorchArray>> {
    let mut arrays: BTreeMap<String, TorchArray> =
        arrays.into_iter().map(|array| (array.name.clone(), array)).collect();
    let found = |name: &String| {
        SPECTRAL.iter().find_map(|ends| Some((name.strip_suffix(ends[0])?.to_string(), *ends)))
    };
    for (module, ends) in arrays.keys().filter_map(found).collect::<Vec<_>>() {
        let mut take = |end: &str| {
            let name = format!("{module}{end}");
            let array = arrays.remove(&name);
            array.ok_or_else(|| Error::architecture(format!("there is no array `{name}` beside its weight")))
        };
        let [mut weight, left, right] = [take(ends[0])?, take(ends[1])?, take(ends[2])?];
        let norm = spectral_norm(&weight, &left.values, &right.values)?;
        weight.values.iter_mut().for_each(|weight| *weight = (f64::from(*weight) / norm) as f32);
        weight.name = format!("{module}weight");
        arrays.insert(weight.name.clone(), weight);
    }
    Ok(arrays.into_values().collect())
}

/// `u^T W v`, with `W` as a matrix of all inputs of each output. Outputs are the first index, and the second of a transposed convolution:
/// where both fit, the one along which `u` and `v` lie.
fn spectral_norm(weight: &TorchArray, u: &[f32], v: &[f32]) -> Result<f64> {
    let product = |outputs: usize| {
        let count = *weight.shape.get(outputs)?;
        let inside: usize = weight.shape[outputs + 1..].iter().product();
        if count != u.len() || count * v.len() != weight.values.len() {
            return None;
        }
        let term = |(at, w): (usize, &f32)| {
            let (before, output, after) = (at / inside / count, at / inside % count, at % inside);
            f64::from(*w) * f64::from(u[output]) * f64::from(v[before * inside + after])
        };
        Some(weight.values.iter().enumerate().map(term).sum::<f64>())
    };
    // A matrix has its outputs first.
    let norms = if weight.shape.len() > 2 { [product(0), product(1)] } else { [product(0), None] };
    let norm = norms.into_iter().flatten().max_by(|a, b| a.abs().total_cmp(&b.abs()));
    let name = &weight.name;
    match norm {
        None => {
            Err(Error::architecture(format!("`{name}` and its singular directions do not fit each other")))
        }
        Some(norm) if !norm.is_finite() || norm == 0.0 => {
            Err(Error::architecture(format!("`{name}` has a spectral norm of {norm}")))
        }
        Some(norm) => Ok(norm),
    }
}

/// Numbers of the modules, and the rank of the array within the last.
fn place(name: &str) -> (Vec<usize>, usize) {
    const LEAVES: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];
    let leaf = name.rsplit('.').next().unwrap_or(name);
    let rank = LEAVES.iter().position(|known| *known == leaf).unwrap_or(LEAVES.len());
    (name.split('.').filter_map(|part| part.parse().ok()).collect(), rank)
}

/// The weights of a network that is described by `sections`, from the arrays of a `torch.nn.Sequential` of the same layers whose result is
/// a row or an image `output`; takes them from the front of `arrays`, and gives back the shape that comes out.
///
/// `Linear` is transposed; images are flattened (height, width, channel) here and (channel, height, width) there, which permutes the
/// matrices beside them; `Conv2d` and `ConvTranspose2d` need the padding that keeps `side / stride` pixels and is the same on either side
/// (1 for a kernel of 4 with stride 2); `BatchNorm` brings its running statistics.
///
/// # Errors
/// If an array is missing or has another shape than its layer, or a layer has no counterpart.
pub fn import(
    input: Shape,
    output: Shape,
    sections: &[LayerSection],
    arrays: &mut std::vec::IntoIter<TorchArray>,
) -> Result<(Vec<f32>, Shape)> {
    let mut import = Import { arrays, weights: Vec::new() };
    let (shape, order) = import.layers((input, there(input)), &there(output), sections)?;
    if shape.len() == output.len() && order != there(output) {
        return Err(unknown(
            "a network whose last layer gives its numbers in another order than it does here: let a dense layer give them",
        ));
    }
    Ok((import.weights, shape))
}

/// What flows between layers: its shape, and for each number here its place there.
type Flowing = (Shape, Vec<usize>);

struct Import<'a> {
    arrays: &'a mut std::vec::IntoIter<TorchArray>,
    weights: Vec<f32>,
}

impl Import<'_> {
    /// Layers one after the other, the last of which is to give numbers in the order of `end`.
    fn layers(&mut self, mut at: Flowing, end: &[usize], sections: &[LayerSection]) -> Result<Flowing> {
        for (index, section) in sections.iter().enumerate() {
            at = self
                .layer(at, section, &order_ahead(&sections[index + 1..], end))
                .map_err(|error| error.in_layer(index))?;
        }
        Ok(at)
    }

    /// A layer; rows that it makes are in the order `ahead` if they have its length, as an image is made of them.
    fn layer(&mut self, (shape, from): Flowing, section: &LayerSection, ahead: &[usize]) -> Result<Flowing> {
        match *section {
            LayerSection::Dense { outputs, norm: Norm::None, .. } => {
                let inputs = shape.len();
                let matrix = take(self.arrays, &[outputs, inputs])?;
                let to = if ahead.len() == outputs { ahead.to_vec() } else { (0..outputs).collect() };
                for i in 0..inputs {
                    self.weights.extend((0..outputs).map(|o| matrix[to[o] * inputs + from[i]]));
                }
                let bias = take(self.arrays, &[outputs])?;
                self.weights.extend(to.iter().map(|&o| bias[o]));
                Ok((Shape::Row(outputs), to))
            }
            LayerSection::Convolution { channels, kernel, stride, norm: Norm::None, .. } => {
                let image = shape.image()?;
                check_padding(image, kernel, stride)?;
                let there = take(self.arrays, &[channels, image.channels, kernel, kernel])?;
                let at = |y, x, i, o| there[((o * image.channels + i) * kernel + y) * kernel + x];
                self.weights.extend(kernel_of([kernel, image.channels, channels], at));
                self.weights.extend(take(self.arrays, &[channels])?);
                Ok(of_image(Image {
                    height: image.height.div_ceil(stride),
                    width: image.width.div_ceil(stride),
                    channels,
                }))
            }
            LayerSection::TransposedConvolution { channels, kernel, stride, .. } => {
                let image = shape.image()?;
                let large = Image { height: image.height * stride, width: image.width * stride, channels };
                check_padding(large, kernel, stride)?;
                let there = take(self.arrays, &[image.channels, channels, kernel, kernel])?;
                let at = |y, x, o, i| there[((i * channels + o) * kernel + y) * kernel + x];
                self.weights.extend(kernel_of([kernel, channels, image.channels], at));
                self.weights.extend(take(self.arrays, &[channels])?);
                Ok(of_image(large))
            }
            LayerSection::BatchNorm { .. } => {
                // A row is normalised number by number.
                let per = match shape {
                    Shape::Row(_) => from.clone(),
                    Shape::Image(image) => (0..image.channels).collect(),
                };
                for _ in 0..4 {
                    let array = take(self.arrays, &[per.len()])?;
                    self.weights.extend(per.iter().map(|&i| array[i]));
                }
                Ok((shape, from))
            }
            LayerSection::Reshape { image } => {
                let (shape, order) = of_image(image);
                if from != order {
                    let message = "an image is made of numbers that stand in another order than in PyTorch: make it of a row that a dense layer gives";
                    return Err(Error::architecture(message));
                }
                Ok((shape, order))
            }
            LayerSection::Activation { .. } | LayerSection::Dropout { .. } => Ok((shape, from)),
            LayerSection::Residual { ref layers } => {
                let (end, order) = self.layers((shape, from.clone()), &from, layers)?;
                if end.len() != shape.len() {
                    return Err(unknown("a residual block that changes the shape"));
                }
                if order != from {
                    return Err(unknown("a residual block that changes the order of its numbers"));
                }
                Ok((shape, from))
            }
            LayerSection::Dense { .. } | LayerSection::Convolution { .. } => Err(unknown(
                "layers with `norm = \"spectral\"`: leave `norm` out, weights are divided by their norm as they are read",
            )),
        }
    }
}

fn of_image(image: Image) -> Flowing {
    (Shape::Image(image), there(Shape::Image(image)))
}

/// The order in which layers to come want numbers that others only pass on.
fn order_ahead(sections: &[LayerSection], end: &[usize]) -> Vec<usize> {
    for section in sections {
        match section {
            LayerSection::Reshape { image } => return there(Shape::Image(*image)),
            // The first weights take numbers in any order.
            LayerSection::Dense { .. }
            | LayerSection::Convolution { .. }
            | LayerSection::TransposedConvolution { .. } => return Vec::new(),
            _ => {}
        }
    }
    end.to_vec()
}

/// Refuses a convolution over an image whose zeros do not stand evenly on both sides: PyTorch's always do.
fn check_padding(image: Image, kernel: usize, stride: usize) -> Result<()> {
    let patches = Patches { image, kernel, stride };
    let [rows, columns] = patches.grid();
    let uneven = |side: usize, count: usize| {
        let zeros = ((count - 1) * stride + kernel).saturating_sub(side);
        zeros != 2 * patches.before(side)
    };
    if !(uneven(image.height, rows) || uneven(image.width, columns)) {
        return Ok(());
    }
    Err(unknown(&format!(
        "a kernel of {kernel} with stride {stride} over {} x {} pixels, which here has one zero more behind than before and in PyTorch as many; kernels with `kernel - stride` even have none",
        image.height, image.width
    )))
}

fn unknown(what: &str) -> Error {
    Error::architecture(format!("weights of PyTorch cannot be read for {what}"))
}

/// For each number of a row here, its place there.
fn there(shape: Shape) -> Vec<usize> {
    match shape {
        Shape::Row(width) => (0..width).collect(),
        Shape::Image(Image { height, width, channels }) => {
            let place = |at: usize| (at % channels) * height * width + at / channels;
            (0..height * width * channels).map(place).collect()
        }
    }
}

/// A kernel in the order (row, column, first, second).
fn kernel_of<T: Real>(
    [kernel, first, second]: [usize; 3],
    at: impl Fn(usize, usize, usize, usize) -> T,
) -> Vec<T> {
    let mut out = Vec::with_capacity(kernel * kernel * first * second);
    for (y, x) in (0..kernel).flat_map(|y| (0..kernel).map(move |x| (y, x))) {
        for i in 0..first {
            out.extend((0..second).map(|o| at(y, x, i, o)));
        }
    }
    out
}

/// The next array, which must have this shape; counters of batches are passed over.
fn take(arrays: &mut std::vec::IntoIter<TorchArray>, shape: &[usize]) -> Result<Vec<f32>> {
    let next = arrays.find(|array| !array.name.ends_with("num_batches_tracked"));
    match next {
        Some(array) if array.shape == shape => Ok(array.values),
        Some(TorchArray { name, shape: found, .. }) => {
            Err(Error::architecture(format!("`{name}` has the shape {found:?} where {shape:?} is needed")))
        }
        None => Err(Error::architecture(format!(
            "there is no array left where one of the shape {shape:?} is needed"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::build;
    use crate::layers::Function;
    use crate::{Batch, Network};

    const IMAGE: Image = Image { height: 4, width: 6, channels: 2 };

    fn array(name: &str, shape: &[usize], seed: usize) -> TorchArray {
        let len: usize = shape.iter().product();
        let values = (0..len).map(|i| ((i * 37 + seed * 11) % 19) as f32 / 10.0 - 0.9).collect();
        TorchArray { name: name.into(), shape: shape.to_vec(), values }
    }

    fn sections() -> Vec<LayerSection> {
        let dense = |outputs| LayerSection::Dense { outputs, norm: Norm::None, std: None };
        let small = Image { height: 2, width: 3, channels: 3 };
        vec![
            LayerSection::Convolution { channels: 3, kernel: 4, stride: 2, norm: Norm::None, std: None },
            LayerSection::Activation { function: Function::Relu },
            dense(5),
            dense(18),
            LayerSection::Reshape { image: small },
            LayerSection::BatchNorm { momentum: 0.9 },
            LayerSection::TransposedConvolution { channels: 2, kernel: 4, stride: 2, std: None },
        ]
    }

    fn arrays() -> Vec<TorchArray> {
        vec![
            array("0.weight", &[3, 2, 4, 4], 1),
            array("0.bias", &[3], 2),
            array("3.weight", &[5, 18], 3),
            array("3.bias", &[5], 4),
            array("4.weight", &[18, 5], 5),
            array("4.bias", &[18], 6),
            array("6.weight", &[3], 7),
            array("6.bias", &[3], 8),
            array("6.running_mean", &[3], 9),
            TorchArray { values: vec![0.5, 1.0, 2.0], ..array("6.running_var", &[3], 0) },
            array("6.num_batches_tracked", &[], 0),
            array("7.weight", &[3, 2, 4, 4], 10),
            array("7.bias", &[2], 11),
        ]
    }

    /// The same network as PyTorch defines it: channels first, padding 1.
    fn torch(x: &[f32], a: &[TorchArray]) -> Vec<f32> {
        let (height, width) = (4usize, 6usize);
        let mut y = vec![0.0f32; 18];
        for (o, r, c) in (0..3).flat_map(|o| (0..2).flat_map(move |r| (0..3).map(move |c| (o, r, c)))) {
            let mut sum = a[1].values[o];
            for (i, ky, kx) in
                (0..2).flat_map(|i| (0..4).flat_map(move |ky| (0..4).map(move |kx| (i, ky, kx))))
            {
                let (v, h) = (r * 2 + ky, c * 2 + kx);
                if (1..=height).contains(&v) && (1..=width).contains(&h) {
                    sum += a[0].values[((o * 2 + i) * 4 + ky) * 4 + kx]
                        * x[(i * height + v - 1) * width + h - 1];
                }
            }
            y[(o * 2 + r) * 3 + c] = sum.max(0.0);
        }
        let z = linear(&linear(&y, &a[2], &a[3]), &a[4], &a[5]);
        let normed: Vec<f32> = (0..18)
            .map(|at| {
                let c = at / 6;
                let std = (a[9].values[c] + 1e-5).sqrt();
                (z[at] - a[8].values[c]) / std * a[6].values[c] + a[7].values[c]
            })
            .collect();
        let mut out = vec![0.0f32; 2 * height * width];
        for (o, at) in (0..2).flat_map(|o| (0..height * width).map(move |at| (o, at))) {
            out[o * height * width + at] = a[12].values[o];
        }
        for (i, r, c) in (0..3).flat_map(|i| (0..2).flat_map(move |r| (0..3).map(move |c| (i, r, c)))) {
            for (o, ky, kx) in
                (0..2).flat_map(|o| (0..4).flat_map(move |ky| (0..4).map(move |kx| (o, ky, kx))))
            {
                let (v, h) = (r * 2 + ky, c * 2 + kx);
                if (1..=height).contains(&v) && (1..=width).contains(&h) {
                    out[(o * height + v - 1) * width + h - 1] +=
                        normed[(i * 2 + r) * 3 + c] * a[11].values[((i * 2 + o) * 4 + ky) * 4 + kx];
                }
            }
        }
        out
    }

    /// `Linear` of PyTorch.
    fn linear(x: &[f32], w: &TorchArray, b: &TorchArray) -> Vec<f32> {
        let row = |o: usize| {
            b.values[o] + x.iter().enumerate().map(|(i, x)| w.values[o * w.shape[1] + i] * x).sum::<f32>()
        };
        (0..w.shape[0]).map(row).collect()
    }

    #[test]
    fn an_imported_network_does_what_it_did() {
        let (weights, end) =
            import(Shape::Image(IMAGE), Shape::Image(IMAGE), &sections(), &mut arrays().into_iter())
                .expect("imports");
        assert_eq!(end, Shape::Image(IMAGE));
        let (network, _): (Network<f32>, Shape) = build(Shape::Image(IMAGE), &sections()).expect("builds");
        let first: Vec<f32> = (0..48).map(|i| (i as f32 * 0.7).sin()).collect();
        // Here the channel is the last index.
        let here: Vec<f32> = (0..48).map(|at| first[at % 2 * 24 + at / 2]).collect();
        let found = network.apply(&weights, Batch::new(48, here));
        let expected = torch(&first, &arrays());
        for (at, found) in found.data().iter().enumerate() {
            let expected = expected[at % 2 * 24 + at / 2];
            assert!(
                (found - expected).abs() < 1e-3 * expected.abs().max(1.0),
                "{at}: {found} for {expected}"
            );
        }
    }

    #[test]
    fn arrays_are_read_in_the_order_of_their_modules() {
        let names = [
            "encoder.0.weight",
            "encoder.0.bias",
            "encoder.2.weight",
            "encoder.10.weight",
            "decoder.0.weight",
        ];
        let bytes = [0u8; 8];
        let view = || safetensors::tensor::TensorView::new(Dtype::F32, vec![2], &bytes).expect("a view");
        let file = safetensors::serialize(names.map(|name| (name, view())), None).expect("writes");
        let found: Vec<String> =
            read_part(&file, "encoder").expect("reads").into_iter().map(|a| a.name).collect();
        assert_eq!(found, names[..4]);
        assert!(read_part(&file, "flow").expect_err("refused").to_string().contains("name the modules"));
    }

    /// A weight of rank one, whose norm is known, in the shapes of all layers and under both names.
    #[test]
    fn spectral_norms_are_folded_into_weights() {
        let unit = |len: usize, by: f32| {
            let x: Vec<f32> = (0..len).map(|i| (i as f32 * by + 0.3).sin()).collect();
            let length = x.iter().map(|x| x * x).sum::<f32>().sqrt();
            x.into_iter().map(|x| x / length).collect::<Vec<f32>>()
        };
        // Outputs first, and second as in a transposed convolution; with as many inputs as outputs, too.
        for (shape, outputs, [weight, left, right]) in [
            (vec![3, 5], 0, SPECTRAL[0]),
            (vec![3, 2, 4, 4], 0, SPECTRAL[1]),
            (vec![2, 3, 4, 4], 1, SPECTRAL[0]),
            (vec![3, 3, 2, 2], 1, SPECTRAL[1]),
            (vec![3, 3, 2, 2], 0, SPECTRAL[1]),
        ] {
            let len: usize = shape.iter().product();
            let inside: usize = shape[outputs + 1..].iter().product();
            let (u, v) = (unit(shape[outputs], 1.1), unit(len / shape[outputs], 0.7));
            let one = |at: usize| {
                let (before, output) = (at / inside / shape[outputs], at / inside % shape[outputs]);
                u[output] * v[before * inside + at % inside]
            };
            let array = |end: &str, shape: &[usize], values: Vec<f32>| TorchArray {
                name: format!("encoder.2.{end}"),
                shape: shape.to_vec(),
                values,
            };
            let bias = array("bias", &[3], vec![0.5; 3]);
            let arrays = vec![
                array(right, &[v.len()], v.clone()),
                bias.clone(),
                array(weight, &shape, (0..len).map(|at| 2.5 * one(at)).collect()),
                array(left, &[u.len()], u.clone()),
            ];
            let more = [array("my_weight_u", &[1], vec![1.0])];
            let all = arrays.iter().chain(&more).cloned().collect();
            let mut folded = fold_spectral(all).expect("folds");
            assert_eq!(folded.len(), 3);
            folded.retain(|array| array.name != more[0].name);
            assert_eq!(folded[0], bias);
            assert_eq!((folded[1].name.as_str(), &folded[1].shape), ("encoder.2.weight", &shape));
            for (at, found) in folded[1].values.iter().enumerate() {
                assert!((found - one(at)).abs() < 1e-6, "{shape:?} {at}: {found} for {}", one(at));
            }
            let error = fold_spectral(arrays[1..].to_vec()).expect_err("refused").to_string();
            assert!(error.contains(right), "{error}");
            let mut short = arrays;
            short[0].values.pop();
            assert!(fold_spectral(short).expect_err("refused").to_string().contains("do not fit"));
        }
    }

    #[test]
    fn arrays_that_do_not_fit_are_named() {
        let mut wrong = arrays();
        wrong[2].shape = vec![18, 5];
        let error = import(Shape::Image(IMAGE), Shape::Image(IMAGE), &sections(), &mut wrong.into_iter())
            .expect_err("refused")
            .to_string();
        assert_eq!(error, "layer 2: `3.weight` has the shape [18, 5] where [5, 18] is needed");
        let few = arrays()[..4].to_vec();
        let error = import(Shape::Image(IMAGE), Shape::Image(IMAGE), &sections(), &mut few.into_iter())
            .expect_err("refused")
            .to_string();
        assert!(error.contains("there is no array left"), "{error}");
    }

    /// A row becomes an image behind a normalisation, an activation and a block of its own, or at the end: with the numbers in the order that
    /// they have there.
    #[test]
    fn rows_are_in_the_order_of_the_image_that_they_become() {
        let dense = |outputs| LayerSection::Dense { outputs, norm: Norm::None, std: None };
        let bend = || LayerSection::Activation { function: Function::Relu };
        let image = Image { height: 2, width: 2, channels: 3 };
        let block = LayerSection::Residual { layers: vec![dense(4), bend(), dense(12)] };
        let mut arrays: Vec<TorchArray> = vec![array("0.weight", &[12, 3], 1), array("0.bias", &[12], 2)];
        arrays.extend((7..11).map(|seed| array("1.norm", &[12], seed)));
        arrays[5].values.iter_mut().for_each(|variance| *variance = variance.abs() + 0.5);
        arrays.extend([array("3.weight", &[4, 12], 3), array("3.bias", &[4], 4)]);
        arrays.extend([array("5.weight", &[12, 4], 5), array("5.bias", &[12], 6)]);
        let x = [0.3f32, -0.8, 0.5];
        // As PyTorch has it, channels first.
        let relu = |x: Vec<f32>| x.into_iter().map(|x| x.max(0.0)).collect::<Vec<f32>>();
        let mut y = linear(&x, &arrays[0], &arrays[1]);
        for (i, y) in y.iter_mut().enumerate() {
            let [scale, shift, mean, variance] = [2, 3, 4, 5].map(|a| arrays[a].values[i]);
            *y = (*y - mean) / (variance + 1e-5).sqrt() * scale + shift;
        }
        let y = relu(y);
        let inner = linear(&relu(linear(&y, &arrays[6], &arrays[7])), &arrays[8], &arrays[9]);
        let expected: Vec<f32> = y.iter().zip(inner).map(|(y, inner)| y + inner).collect();
        let mut sections = vec![dense(12), LayerSection::BatchNorm { momentum: 0.9 }, bend(), block];
        for with_reshape in [false, true] {
            if with_reshape {
                sections.push(LayerSection::Reshape { image });
            }
            let imported =
                import(Shape::Row(3), Shape::Image(image), &sections, &mut arrays.clone().into_iter());
            let (weights, _) = imported.expect("imports");
            let (network, _): (Network<f32>, Shape) = build(Shape::Row(3), &sections).expect("builds");
            let found = network.apply(&weights, Batch::new(3, x.to_vec()));
            for (at, found) in found.data().iter().enumerate() {
                let expected = expected[at % 3 * 4 + at / 3];
                assert!((found - expected).abs() < 1e-4, "{with_reshape} {at}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn images_that_are_taken_for_rows_are_refused() {
        let last =
            [LayerSection::Convolution { channels: 3, kernel: 4, stride: 2, norm: Norm::None, std: None }];
        let arrays = vec![array("0.weight", &[3, 2, 4, 4], 1), array("0.bias", &[3], 2)];
        let error = import(Shape::Image(IMAGE), Shape::Row(18), &last, &mut arrays.into_iter());
        assert!(error.expect_err("refused").to_string().contains("another order"), "named");
    }

    #[test]
    fn kernels_that_pytorch_pads_otherwise_are_refused() {
        let odd =
            [LayerSection::Convolution { channels: 1, kernel: 3, stride: 2, norm: Norm::None, std: None }];
        let arrays = vec![array("0.weight", &[1, 2, 3, 3], 1), array("0.bias", &[1], 2)];
        let error = import(Shape::Image(IMAGE), Shape::Row(6), &odd, &mut arrays.into_iter());
        assert!(error.expect_err("refused").to_string().contains("one zero more"), "named");
    }
}
