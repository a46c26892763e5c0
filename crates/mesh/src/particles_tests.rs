//! Painting and reading against their definitions, transposes and differences, on any number of threads.

use crate::{Cloud, Differences, Field, RowOf, Window};
use lookback_operator::Real;
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::vector::dot;

fn normal(len: usize, substream: u32, scale: f64) -> Vec<f64> {
    let mut x = vec![0.0; len];
    Stream::new(11, Purpose::Test, substream).fill_normal(&mut x);
    x.iter().map(|x| x * scale).collect()
}

/// The window by its definition, as a function of the distance in cells.
fn window(window: Window, u: f64) -> f64 {
    let u = u.abs();
    match window {
        Window::Cic => (1.0 - u).max(0.0),
        Window::Tsc if u < 0.5 => 0.75 - u * u,
        Window::Tsc => 0.5 * (1.5 - u).max(0.0).powi(2),
    }
}

/// The weight of every mesh point for every particle: slow and obvious.
fn weights(cloud: &Cloud, length: f64, x: &[f64]) -> Vec<Vec<f64>> {
    let (n, c) = (cloud.side(), cloud.cells());
    let h = length / c as f64;
    (0..n.pow(3))
        .map(|p| {
            let q = [p / (n * n), p / n % n, p % n];
            let place: Vec<f64> =
                (0..3).map(|d| q[d] as f64 * length / n as f64 + x[d * n.pow(3) + p]).collect();
            (0..c.pow(3))
                .map(|m| {
                    let at = [m / (c * c), m / c % c, m % c];
                    (0..3)
                        .map(|d| {
                            let gap = (place[d] - at[d] as f64 * h).rem_euclid(length);
                            window(cloud.window(), gap.min(length - gap) / h)
                        })
                        .product::<f64>()
                })
                .collect()
        })
        .collect()
}

fn single(x: &[f64]) -> Vec<f32> {
    x.iter().map(|x| *x as f32).collect()
}

/// Clouds in cells, some of which have more particles in a row than are taken together.
fn clouds_in_cells() -> Vec<Cloud> {
    let large = [(40, 60), (37, 33)];
    let large = large.map(|(side, cells)| Cloud::new(side, cells, 60.0, Window::Cic).expect("a cloud"));
    clouds().into_iter().filter(|cloud| cloud.window() == Window::Cic).chain(large).collect()
}

fn clouds() -> Vec<Cloud> {
    let sizes = [(4, 4), (4, 8), (4, 6), (6, 5), (6, 12), (5, 11), (3, 17)];
    let windows = [Window::Cic, Window::Tsc];
    let cloud =
        |&(side, cells): &(usize, usize), window| Cloud::new(side, cells, 20.0, window).expect("a cloud");
    sizes.iter().flat_map(|size| windows.map(|window| cloud(size, window))).collect()
}

#[test]
fn painting_and_reading_agree_with_the_definition_on_any_number_of_threads() {
    for cloud in clouds() {
        let (particles, cells) = (cloud.particles(), cloud.mesh_len());
        for spread in [0.5, 9.0] {
            let x = normal(3 * particles, 0, spread);
            let (v, field) = (normal(particles, 1, 1.0), normal(cells, 2, 1.0));
            let table = weights(&cloud, 20.0, &x);
            let painted = |v: &dyn Fn(usize) -> f64| -> Vec<f64> {
                (0..cells).map(|m| (0..particles).map(|p| v(p) * table[p][m]).sum()).collect()
            };
            let expected = [painted(&|_| 1.0), painted(&|p| v[p])];
            let mut first: Option<Vec<f64>> = None;
            for threads in [1, 2, 5] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                let mut meshes = [vec![1.0; cells], vec![1.0; cells]];
                pool.install(|| {
                    cloud.paint(&x, &mut meshes[0]);
                    cloud.paint_values(&x, &v, &mut meshes[1]);
                });
                for (a, b) in meshes.concat().iter().zip(expected.concat()) {
                    assert!((a - b).abs() < 1e-12, "{cloud:?}: {a} {b}");
                }
                let mut vectors = Field::new(&cloud);
                pool.install(|| cloud.paint_vectors(&x, &[&v[..], &v, &v].concat(), &mut vectors));
                for (m, expected) in expected[1].iter().zip(&expected[0]).enumerate() {
                    let [x, y, z, count] = vectors.at(m);
                    assert!([x, y, z].iter().all(|v| (v - expected.0).abs() < 1e-12), "{cloud:?}");
                    assert!((count - expected.1).abs() < 1e-12, "{cloud:?}: {count}");
                }
                assert_eq!(first.get_or_insert_with(|| meshes.concat()), &meshes.concat());
            }
            let mut read = vec![0.0; particles];
            cloud.read(&x, &field, &mut read);
            for (a, row) in read.iter().zip(&table) {
                assert!((a - dot(row, &field)).abs() < 1e-12);
            }
        }
    }
}

/// Displacements of a simulation that has gone astray: it is for others to say so, and the mesh must show it.
#[test]
fn a_particle_that_is_nowhere_harms_nobody() {
    for cloud in clouds() {
        let (mut mesh, mut field) = (vec![0.0; cloud.mesh_len()], Field::new(&cloud));
        let (potential, particles) = (normal(cloud.mesh_len(), 3, 1.0), cloud.particles() as f64);
        for axis in 0..3 {
            for strange in [f64::INFINITY, -1e300, 1.3e7, f64::NAN] {
                let mut x = normal(3 * cloud.particles(), 0, 0.5);
                x[axis * cloud.particles() + 7] = strange;
                cloud.paint(&x, &mut mesh);
                let count: f64 = mesh.iter().sum();
                if strange.is_nan() {
                    assert!(count.is_nan(), "{cloud:?}");
                } else {
                    assert!((count - particles).abs() < 1e-9, "{cloud:?} {strange}: {count}");
                }
                let mut p = x.clone();
                cloud.paint_vectors(&x.clone(), &p, &mut field);
                cloud.visit_forces(&mut x.clone(), &mut p, &field, |_, _, _| {});
                if cloud.window() == Window::Cic {
                    let source = (&potential[..], Differences::FOUR_POINT);
                    cloud.visit_gradient(&mut x.clone(), &mut p, source, |_, _, _| {});
                    let mut bar = vec![0.0; cloud.mesh_len()];
                    let c = normal(x.len(), 1, 1.0);
                    cloud.paint_gradient_adjoint(&x, &c, source.1, &mut bar);
                    // Differences of a constant are nothing, so what they give back sums to nothing.
                    let sum: f64 = bar.iter().sum();
                    let size: f64 = bar.iter().map(|bar| bar.abs()).sum();
                    let right = if strange.is_nan() { sum.is_nan() } else { sum.abs() <= 1e-9 * size };
                    assert!(right, "{cloud:?} {strange}: {sum} of {size}");
                    let [mut g, mut change] = [p.clone(), p.clone()];
                    cloud.push_gradients([&x, &p], source, [&mut g, &mut change]);
                    let vectors = [&mut x[..], &mut g, &mut change, &mut p];
                    cloud.visit_gradient_tides(vectors, ([&potential, &bar], source.1), |_, _, _| [0.0; 0]);
                }
            }
        }
    }
}

/// Where every particle goes, one after the other, from the definition of the window: for lattices that are larger than what is
/// painted together.
fn painted(cloud: &Cloud, length: f64, x: &[f64], v: &[f64]) -> Vec<f64> {
    let (n, c) = (cloud.side(), cloud.cells());
    let mut mesh = vec![0.0; c.pow(3)];
    for p in 0..n.pow(3) {
        let q = [p / (n * n), p / n % n, p % n];
        let place: [f64; 3] =
            std::array::from_fn(|d| (q[d] as f64 / n as f64 + x[d * n.pow(3) + p] / length) * c as f64);
        for m in 0..125 {
            let steps = [m / 25, m / 5 % 5, m % 5];
            let point: [f64; 3] = std::array::from_fn(|d| place[d].floor() + steps[d] as f64 - 2.0);
            let weight: f64 = (0..3).map(|d| window(cloud.window(), place[d] - point[d])).product();
            let at = point.map(|m| m.rem_euclid(c as f64) as usize);
            mesh[(at[0] * c + at[1]) * c + at[2]] += v[p] * weight;
        }
    }
    mesh
}

#[test]
fn large_lattices_and_single_precision_agree_with_the_definition() {
    let near = |found: &[f32], expected: &[f64], what: &str| {
        let largest = expected.iter().fold(1.0f64, |a, b| a.max(b.abs()));
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 2e-5 * largest, "{what}: {found} {expected}");
        }
    };
    for (side, cells, kind) in
        [(40, 13, Window::Cic), (37, 60, Window::Cic), (40, 13, Window::Tsc), (37, 60, Window::Tsc)]
    {
        let cloud = Cloud::new(side, cells, 20.0, kind).expect("a cloud");
        let (particles, points) = (cloud.particles(), cloud.mesh_len());
        let (x, v) = (normal(3 * particles, 0, 0.7), normal(particles, 1, 1.0));
        let counts = painted(&cloud, 20.0, &x, &vec![1.0; particles]);
        let weighted = painted(&cloud, 20.0, &x, &v);
        let mut mesh = vec![0.0; points];
        cloud.paint(&x, &mut mesh);
        assert!(mesh.iter().zip(&counts).all(|(a, b)| (a - b).abs() < 1e-10 * (1.0 + b)), "{cloud:?}");
        cloud.paint_values(&x, &v, &mut mesh);
        assert!(mesh.iter().zip(&weighted).all(|(a, b)| (a - b).abs() < 1e-10 * (1.0 + b.abs())));

        let (x_single, mut mesh_single) = (single(&x), vec![0.0f32; points]);
        cloud.paint(&x_single, &mut mesh_single);
        near(&mesh_single, &counts, "counts");
        let vectors = [&v[..], &x[..particles], &x[particles..2 * particles]].concat();
        let (mut field, mut field_single) = (Field::new(&cloud), Field::new(&cloud));
        cloud.paint_vectors(&x, &vectors, &mut field);
        cloud.paint_vectors(&x_single, &single(&vectors), &mut field_single);
        for (d, expected) in [(0, Some(&weighted)), (1, None), (2, None), (3, Some(&counts))] {
            field.get(d, &mut mesh);
            if let Some(expected) = expected {
                assert!(mesh.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-10 * (1.0 + b.abs())));
            }
            field_single.get(d, &mut mesh_single);
            near(&mesh_single, &mesh, "vectors");
        }
        let (mut adjoint, mut adjoint_single) = (vec![0.0; points], vec![0.0f32; points]);
        field.difference_adjoint(Differences::FOUR_POINT, &mut adjoint, &mut mesh);
        field_single.difference_adjoint(Differences::FOUR_POINT, &mut adjoint_single, &mut mesh_single);
        near(&adjoint_single, &adjoint, "adjoint");
        near(&mesh_single, &counts, "fourth number");
    }
}

#[test]
fn derivatives_are_transposes_and_agree_with_differences() {
    for cloud in clouds() {
        let n3 = 3 * cloud.particles();
        let (x, dx, c) = (normal(n3, 1, 3.0), normal(n3, 2, 1.0), normal(cloud.particles(), 3, 1.0));
        let field = normal(cloud.mesh_len(), 4, 1.0);
        let h = 1e-6;
        let moved = |sign: f64| -> Vec<f64> { x.iter().zip(&dx).map(|(x, dx)| x + sign * h * dx).collect() };
        let central = |f: &dyn Fn(&[f64]) -> f64| (f(&moved(1.0)) - f(&moved(-1.0))) / (2.0 * h);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6 * b.abs().max(1.0), "{cloud:?} {a} {b}");

        let mut mesh = vec![0.0; cloud.mesh_len()];
        cloud.paint_push(&x, &dx, &mut mesh);
        let mut gradient = vec![0.0; n3];
        cloud.gradient(&x, &field, None, 1.0, &mut gradient);
        close(dot(&mesh, &field), dot(&gradient, &dx));
        close(
            dot(&gradient, &dx),
            central(&|x| {
                let mut mesh = vec![0.0; cloud.mesh_len()];
                cloud.paint(x, &mut mesh);
                dot(&mesh, &field)
            }),
        );

        let read = |x: &[f64]| {
            let mut v = vec![0.0; cloud.particles()];
            cloud.read(x, &field, &mut v);
            dot(&v, &c)
        };
        let mut tangent = vec![0.0; cloud.particles()];
        cloud.read_push(&x, &field, &dx, &mut tangent);
        let mut gradient = vec![0.0; n3];
        cloud.gradient(&x, &field, Some(&c), 1.0, &mut gradient);
        close(dot(&tangent, &c), dot(&gradient, &dx));
        close(dot(&gradient, &dx), central(&read));
        cloud.paint_values(&x, &c, &mut mesh);
        close(read(&x), dot(&mesh, &field));
    }
}

/// The difference of a mesh along an axis, by its definition.
fn difference(cloud: &Cloud, mesh: &[f64], axis: usize, four: bool) -> Vec<f64> {
    let n = cloud.cells();
    let h = 20.0 / n as f64;
    let at = |m: usize, step: i64| {
        let mut place = [m / (n * n), m / n % n, m % n];
        place[axis] = (place[axis] as i64 + step).rem_euclid(n as i64) as usize;
        mesh[(place[0] * n + place[1]) * n + place[2]]
    };
    (0..mesh.len())
        .map(|m| {
            let near = at(m, 1) - at(m, -1);
            if four { (8.0 * near - (at(m, 2) - at(m, -2))) / (12.0 * h) } else { near / (2.0 * h) }
        })
        .collect()
}

/// Forces, tides and changes of forces against a mesh for each component, read one at a time.
#[test]
fn forces_and_tides_agree_with_component_meshes() {
    for cloud in clouds() {
        let n = cloud.particles();
        let (mut x, mut p) = (normal(3 * n, 1, 3.0), normal(3 * n, 2, 1.0));
        let (mut x_bar, mut c) = (vec![0.0; 3 * n], normal(3 * n, 3, 1.0));
        let meshes: Vec<Vec<f64>> = (4..8).map(|s| normal(cloud.mesh_len(), s, 1.0)).collect();
        let mut field = Field::new(&cloud);
        meshes.iter().enumerate().for_each(|(component, mesh)| field.set(component, mesh));
        let (mut force, mut tide, mut change) = (vec![0.0; 3 * n], vec![0.0; 3 * n], vec![0.0; 3 * n]);
        for (axis, mesh) in meshes[..3].iter().enumerate() {
            let part = axis * n..(axis + 1) * n;
            cloud.read(&x, mesh, &mut force[part.clone()]);
            cloud.gradient(&x, mesh, Some(&c[part.clone()]), 1.0, &mut tide);
            cloud.read_push(&x, mesh, &c, &mut change[part]);
        }
        let close = |a: &[f64], b: &[f64]| assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12));
        let mut pushed = [vec![0.0; 3 * n], vec![0.0; 3 * n]];
        let [g, dg] = &mut pushed;
        cloud.push_forces(&x, &c, &field, g, dg);
        close(g, &force);
        close(dg, &change);
        cloud.gradient(&x, &meshes[3], None, 1.0, &mut tide);
        cloud.visit_tides([&mut x, &mut p, &mut x_bar, &mut c], &field, |[_, p, x_bar, _], g, tide| {
            for d in 0..3 {
                p[d].copy_from_slice(g[d]);
                x_bar[d].copy_from_slice(tide[d]);
            }
            [g[0].len() as f64]
        });
        close(&p, &force);
        close(&x_bar, &tide);
        cloud.visit_forces(&mut x, &mut p, &field, |_, p, g| {
            p.into_iter().zip(g).for_each(|(p, g)| p.iter_mut().zip(g).for_each(|(p, g)| *p -= g));
        });
        close(&p, &vec![0.0; 3 * n]);
    }
}

#[test]
fn gradients_of_a_potential_agree_with_a_field_of_differences() {
    for cloud in clouds_in_cells() {
        let potential = normal(cloud.mesh_len(), 3, 1.0);
        for kernel in [Differences::TWO_POINT, Differences::FOUR_POINT] {
            let mut field = Field::new(&cloud);
            field.set_differences(&potential, kernel, None);
            for spread in [0.5, 9.0] {
                let x = normal(3 * cloud.particles(), 0, spread);
                let (mut expected, mut found) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                cloud.visit_forces(&mut x.clone(), &mut expected, &field, |_, out, g| {
                    out.into_iter().zip(g).for_each(|(out, g)| out.copy_from_slice(g));
                });
                cloud.visit_gradient(&mut x.clone(), &mut found, (&potential, kernel), |_, out, g| {
                    out.into_iter().zip(g).for_each(|(out, g)| out.copy_from_slice(g));
                });
                for (a, b) in found.iter().zip(&expected) {
                    assert!((a - b).abs() < 1e-12, "{cloud:?} {kernel:?}: {a} {b}");
                }
                let mut rounded = vec![0.0; x.len()];
                cloud.visit_gradient(
                    &mut single(&x),
                    &mut rounded,
                    (&single(&potential), kernel),
                    |_, out, g| {
                        out.into_iter().zip(g).for_each(|(out, g)| out.copy_from_slice(g));
                    },
                );
                for (a, b) in rounded.iter().zip(&expected) {
                    assert!((f64::from(*a) - b).abs() < 3e-5, "{cloud:?} {kernel:?}: {a} {b}");
                }
            }
        }
    }
}

#[test]
fn tides_of_potentials_agree_with_a_field_of_differences() {
    for cloud in clouds_in_cells() {
        let n = 3 * cloud.particles();
        let (phi, psi) = (normal(cloud.mesh_len(), 3, 1.0), normal(cloud.mesh_len(), 4, 1.0));
        let c = normal(n, 5, 1.0);
        for kernel in [Differences::TWO_POINT, Differences::FOUR_POINT] {
            let mut field = Field::new(&cloud);
            field.set_differences(&phi, kernel, Some(&psi));
            for spread in [0.5, 9.0] {
                let x = normal(n, 0, spread);
                let [mut expected, mut found] = [[vec![0.0; n], vec![0.0; n]], [vec![0.0; n], vec![0.0; n]]];
                let [g, tide] = &mut expected;
                let particles = [&mut x.clone()[..], g, tide, &mut c.clone()];
                let sum = cloud.visit_tides(particles, &field, keep);
                let [g, tide] = &mut found;
                let particles = [&mut x.clone()[..], g, tide, &mut c.clone()];
                let potentials = ([&phi[..], &psi], kernel);
                let again = cloud.visit_gradient_tides(particles, potentials, keep);
                assert!(again.iter().zip(sum).all(|(a, b)| (a - b).abs() < 1e-7), "{again:?} {sum:?}");
                let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
                let (g, tide) = (&mut vec![0.0; n], &mut vec![0.0; n]);
                let particles = [&mut x.clone()[..], g, tide, &mut c.clone()];
                let once = alone.install(|| cloud.visit_gradient_tides(particles, potentials, keep));
                assert_eq!(once, again);
                for (a, b) in found.concat().iter().zip(expected.concat()) {
                    assert!((a - b).abs() < 1e-12, "{cloud:?} {kernel:?}: {a} {b}");
                }
                let [mut change, mut found] = [[vec![0.0; n], vec![0.0; n]], [vec![0.0; n], vec![0.0; n]]];
                let [g, dg] = &mut change;
                cloud.push_forces(&x, &c, &field, g, dg);
                cloud.push_gradients([&x, &c], (&phi, kernel), found.each_mut().map(|out| &mut out[..]));
                for (a, b) in found.concat().iter().zip(change.concat()) {
                    assert!((a - b).abs() < 1e-12, "{cloud:?} {kernel:?}: {a} {b}");
                }
                let [mut x, mut c, phi, psi] = [&x, &c, &phi, &psi].map(|x| single(x));
                let [mut g, mut tide] = [vec![0.0; n], vec![0.0; n]];
                let particles = [&mut x[..], &mut g, &mut tide, &mut c];
                cloud.visit_gradient_tides(particles, ([&phi, &psi], kernel), keep);
                for (a, b) in g.iter().chain(&tide).zip(expected.concat()) {
                    assert!((f64::from(*a) - b).abs() < 1e-4, "{cloud:?} {kernel:?}: {a} {b}");
                }
            }
        }
    }
}

#[test]
fn what_gradients_give_back_agrees_with_a_field_of_vectors_on_any_number_of_threads() {
    for cloud in clouds_in_cells() {
        let n = 3 * cloud.particles();
        let c = normal(n, 5, 1.0);
        for kernel in [Differences::TWO_POINT, Differences::FOUR_POINT] {
            for spread in [0.5, 9.0] {
                let x = normal(n, 0, spread);
                let mut field = Field::new(&cloud);
                cloud.paint_vectors(&x, &c, &mut field);
                let ones = || vec![1.0; cloud.mesh_len()];
                let (mut expected, mut first) = (ones(), ones());
                field.difference_adjoint(kernel, &mut expected, &mut ones());
                for threads in [1, 2, 5] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                    let mut found = ones();
                    pool.install(|| cloud.paint_gradient_adjoint(&x, &c, kernel, &mut found));
                    for (a, b) in found.iter().zip(&expected) {
                        assert!((a - b).abs() < 1e-11, "{cloud:?} {kernel:?}: {a} {b}");
                    }
                    if threads == 1 {
                        first = found.clone();
                    }
                    assert_eq!(found, first);
                    let (x, c) = (single(&x), single(&c));
                    let mut rounded = vec![1.0; cloud.mesh_len()];
                    pool.install(|| cloud.paint_gradient_adjoint(&x, &c, kernel, &mut rounded));
                    for (a, b) in rounded.iter().zip(&expected) {
                        assert!((f64::from(*a) - b).abs() < 3e-4, "{cloud:?} {kernel:?}: {a} {b}");
                    }
                }
            }
        }
    }
}

/// Keeps gradients and tides in the place of other vectors, and adds them up.
fn keep<T: Real>([_, p, x_bar, _]: [RowOf<'_, T>; 4], g: [&[T]; 3], tide: [&[T]; 3]) -> [f64; 2] {
    p.into_iter().zip(g).for_each(|(out, g)| out.copy_from_slice(g));
    x_bar.into_iter().zip(tide).for_each(|(out, tide)| out.copy_from_slice(tide));
    [g, tide].map(|vectors| vectors.into_iter().flatten().map(|x| x.f64()).sum())
}

#[test]
fn differences_agree_with_the_definition_and_their_transpose() {
    for cells in [4, 5, 12] {
        let cloud = Cloud::new(4, cells, 20.0, Window::Cic).expect("a cloud");
        for (four, kernel) in [(false, Differences::TWO_POINT), (true, Differences::FOUR_POINT)] {
            let mesh = normal(cloud.mesh_len(), 0, 1.0);
            let sevens = vec![7.0; mesh.len()];
            let mut field = Field::new(&cloud);
            field.set(3, &sevens);
            let component = |field: &Field<f64>, component: usize| {
                let mut mesh = vec![0.0; cloud.mesh_len()];
                field.get(component, &mut mesh);
                mesh
            };
            field.set_differences(&mesh, kernel, None);
            for axis in 0..3 {
                let expected = difference(&cloud, &mesh, axis, four);
                let found = component(&field, axis);
                assert!(found.iter().zip(&expected).all(|(f, e)| (f - e).abs() < 1e-12));
            }
            assert_eq!(component(&field, 3), sevens);
            field.set_differences(&mesh, kernel, Some(&mesh));
            assert_eq!(component(&field, 3), mesh);
            let mut other = Field::new(&cloud);
            (0..4).for_each(|d| other.set(d, &normal(cloud.mesh_len(), 1 + d as u32, 1.0)));
            let (mut adjoint, mut fourth) = (vec![0.0; mesh.len()], vec![0.0; mesh.len()]);
            other.difference_adjoint(kernel, &mut adjoint, &mut fourth);
            assert_eq!(component(&other, 3), fourth);
            let left: f64 = (0..3).map(|d| dot(&component(&field, d), &component(&other, d))).sum();
            assert!((left - dot(&mesh, &adjoint)).abs() < 1e-11 * left.abs().max(1.0));
        }
    }
}
