//! Coordinate sets and kernel maps of one input, each built once and shared.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::coords::Coords;
use crate::kernel_map::KernelMap;
use crate::{ConvSpec, SparseError};

/// Knows the coordinate sets of one input by their stride, and the kernel maps between them.
///
/// All tensors that are computed from one input share its manager, so that a map is built once for the encoder, the
/// decoder, and the backward passes. It may be used from several threads, those of a rayon pool included.
#[derive(Debug)]
pub struct CoordinateManager {
    sets: Mutex<BTreeMap<u32, Arc<Coords>>>,
    maps: Mutex<BTreeMap<(u32, ConvSpec), MapCell>>,
}

type MapCell = Arc<OnceLock<Arc<KernelMap>>>;

impl CoordinateManager {
    /// A manager that knows one set.
    pub fn new(coords: Coords) -> Arc<Self> {
        let sets = BTreeMap::from([(coords.stride(), Arc::new(coords))]);
        Arc::new(Self { sets: Mutex::new(sets), maps: Mutex::default() })
    }

    /// The set of a stride, if there is one.
    pub fn coords(&self, stride: u32) -> Option<Arc<Coords>> {
        lock(&self.sets).get(&stride).cloned()
    }

    /// The strides of which there is a set, in ascending order.
    pub fn strides(&self) -> Vec<u32> {
        lock(&self.sets).keys().copied().collect()
    }

    /// The set `factor` times as coarse as that of `stride`, made if need be.
    ///
    /// # Errors
    /// [`SparseError::UnknownStride`] where there is no set of `stride`; [`SparseError::StrideTooLarge`].
    pub fn coarser(&self, stride: u32, factor: usize) -> Result<Arc<Coords>, SparseError> {
        let mut sets = lock(&self.sets);
        let Some(fine) = sets.get(&stride).cloned() else {
            let known = sets.keys().copied().collect();
            return Err(SparseError::UnknownStride { stride, known });
        };
        if factor == 1 {
            return Ok(fine);
        }
        let coarse_stride = u32::try_from(factor).ok().and_then(|f| stride.checked_mul(f));
        if let Some(coarse) = coarse_stride.and_then(|s| sets.get(&s)) {
            return Ok(coarse.clone());
        }
        let coarse = fine.coarser(u32::try_from(factor).unwrap_or(u32::MAX))?;
        #[cfg(feature = "cuda")]
        let coarse = coarse.made_of(&fine);
        let coarse = Arc::new(coarse);
        sets.insert(coarse.stride(), coarse.clone());
        Ok(coarse)
    }

    /// The map of a convolution whose finer side has stride `stride`, built at its first use: pairs of a voxel of the
    /// finer set and one of the set `spec.stride` times as coarse. A transposed convolution uses the same map the
    /// other way round.
    ///
    /// # Errors
    /// As [`CoordinateManager::coarser`]; [`SparseError::Spec`].
    pub fn kernel_map(&self, stride: u32, spec: ConvSpec) -> Result<Arc<KernelMap>, SparseError> {
        spec.check()?;
        let coarse = self.coarser(stride, spec.stride)?;
        let fine = self.coarser(stride, 1)?;
        let cell = lock(&self.maps).entry((stride, spec)).or_default().clone();
        Ok(cell.get_or_init(|| Arc::new(KernelMap::build(fine, coarse, spec))).clone())
    }
}

/// A panic elsewhere leaves the tables whole: entries are only ever added.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
