//! Launches, written down by a device that does nothing else.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;

use candle_core::Result;

use super::*;

static ROWS: Kernels = Kernels::new("rows", &[]);

/// The kernel, its blocks, its shared memory and its arguments.
type Called = (String, [u32; 3], u32, Vec<Arg>);

/// Writes down what it is asked for.
#[derive(Default)]
struct Recorder {
    next: Cell<u64>,
    calls: RefCell<Vec<Called>>,
}

struct Place<T>(u64, usize, PhantomData<T>);

impl<T: Number> Memory for Place<T> {
    type Number = T;

    fn view(&self) -> View<'_, T> {
        View::new(self.0, self.1)
    }

    fn view_mut(&mut self) -> ViewMut<'_, T> {
        self.view().written()
    }
}

impl Gpu for Recorder {
    type Memory<T: Number> = Place<T>;

    fn limits(&self) -> Result<Limits> {
        Ok(Limits { multiprocessors: 1, shared_bytes: 0 })
    }

    fn uninit<T: Number>(&self, len: usize) -> Result<Place<T>> {
        let address = self.next.get() + 1000;
        self.next.set(address);
        Ok(Place(address, len, PhantomData))
    }

    fn zeros<T: Number>(&self, len: usize) -> Result<Place<T>> {
        self.uninit(len)
    }

    fn upload<T: Number>(&self, values: &[T]) -> Result<Place<T>> {
        self.uninit(values.len())
    }

    fn launch(&self, call: &Call<'_>) -> Result<()> {
        let name = format!("{}::{}", call.kernels.name, call.kernel);
        self.calls.borrow_mut().push((name, call.grid, call.shared_bytes, call.args.to_vec()));
        Ok(())
    }
}

#[test]
fn arguments_come_in_their_order() {
    let gpu = Recorder::default();
    let x = gpu.upload(&[1.0f32; 6]).unwrap();
    let mut y = gpu.uninit::<half::bf16>(4).unwrap();
    let launch = ROWS.launch(&gpu, "some").read(&x).read(x.view().part(2..5)).read(None::<View<'_, u8>>);
    let launch = launch.count(6).value(true).value(2u32).value(3u64).value(0.5f32).value(0.25f64);
    let launch = launch.write(&mut y).write(None::<ViewMut<'_, f32>>);
    launch.run(Geometry::new([1, 2, 3], [32, 2, 1]).with_shared(77)).unwrap();
    let read = |address, bytes| Arg::Read(Span { address, bytes });
    let want = vec![
        read(1000, 24),
        read(1008, 12),
        Arg::Null,
        Arg::I32(6),
        Arg::I32(1),
        Arg::U32(2),
        Arg::U64(3),
        Arg::F32(0.5),
        Arg::F64(0.25),
        Arg::Write(Span { address: 2000, bytes: 8 }),
        Arg::Null,
    ];
    assert_eq!(*gpu.calls.borrow(), [("rows::some".to_owned(), [1, 2, 3], 77, want)]);
}

#[test]
fn no_blocks_are_no_work() {
    let gpu = Recorder::default();
    ROWS.launch(&gpu, "some").run(Geometry::threads(0, 256)).unwrap();
    ROWS.launch(&gpu, "some").run(Geometry::new([1, 0, 1], [32, 1, 1])).unwrap();
    assert!(gpu.calls.borrow().is_empty());
    ROWS.launch(&gpu, "some").run(Geometry::threads(257, 256)).unwrap();
    assert_eq!(gpu.calls.borrow()[0].1, [2, 1, 1]);
}

#[test]
fn what_is_too_much_is_refused_with_the_kernels_name() {
    let gpu = Recorder::default();
    let refused = |launch: Launch<'_, Recorder>, geometry| launch.run(geometry).unwrap_err().to_string();
    let said = refused(ROWS.launch(&gpu, "some").count(1 << 31), Geometry::line(1, 1));
    assert!(said.contains("some: 2147483648 elements are too many"), "{said}");
    for grid in [[1 << 31, 1, 1], [1, 1 << 16, 1], [1, 1, 1 << 16], [1 << 32, 1, 1]] {
        let said = refused(ROWS.launch(&gpu, "some"), Geometry::new(grid, [1, 1, 1]));
        assert!(said.contains("some: ") && said.contains(" blocks are too many"), "{said}");
    }
    let said = refused(ROWS.launch(&gpu, "some"), Geometry::line(1, 1).with_shared(1 << 32));
    assert!(said.contains("bytes of shared memory"), "{said}");
    assert!(gpu.calls.borrow().is_empty());
}

#[test]
#[should_panic(expected = "3..5 of 4 numbers")]
fn a_part_lies_inside() {
    let gpu = Recorder::default();
    let _ = gpu.uninit::<f32>(4).unwrap().view().part(3..5);
}

#[test]
fn numbers_come_back_from_their_bytes() {
    fn back<T: Number>(value: T) {
        let mut bytes = vec![];
        value.append(&mut bytes);
        assert_eq!((bytes.len(), T::take(&bytes)), (size_of::<T>(), value));
    }
    back(7u8);
    back(-7i32);
    back(7u32);
    back(i64::MIN);
    back(u64::MAX);
    back(-0.5f32);
    back(0.1f64);
    back(half::bf16::from_f32(-1.5));
}
