//! A teacher that remembers.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use candle_core::{Device, Tensor};

use super::error::CacheError;
use super::folder::{FeatureCache, Found};
use super::key::{Identity, Key};
use crate::error::TeacherError;
use crate::images::{FeatureMap, Images};
use crate::spec::{Teacher, TeacherSpec};

/// A teacher whose maps are kept in a [`FeatureCache`].
///
/// Its features are those of the teacher rounded to half precision, whether they were computed or read: the same bits
/// with an empty cache, a full one, or one that cannot be written.
pub struct Cached<T> {
    teacher: T,
    identity: Identity,
    cache: FeatureCache,
}

/// An image of the batch that was not found.
struct Absent {
    index: usize,
    /// Whether a damaged entry is in its place.
    mends: bool,
}

impl<T: Teacher> Cached<T> {
    /// Puts a cache before a teacher, and runs the teacher on a small test image to tell it from others.
    ///
    /// # Errors
    /// If the teacher cannot be run.
    pub fn new(teacher: T, cache: FeatureCache) -> Result<Self, TeacherError> {
        Ok(Self { identity: Identity::of(&teacher)?, teacher, cache })
    }

    /// The cache.
    pub fn cache(&self) -> &FeatureCache {
        &self.cache
    }

    /// Computes and keeps the maps of the images that were not found.
    fn fill(
        &self,
        images: &Images,
        keys: &[Key],
        absent: &[Absent],
        out: &mut [f32],
    ) -> Result<(), TeacherError> {
        let (per_image, per_map) = (images.rgb.len() / images.n, out.len() / images.n);
        let rgb = absent.iter().flat_map(|a| &images.rgb[a.index * per_image..][..per_image]);
        let wanted = Images::new(absent.len(), images.height, images.width, rgb.copied().collect())?;
        let map = self.teacher.features(&wanted)?;
        let shape = self.shape(images);
        let expected = [absent.len(), shape[0], shape[1], shape[2]];
        if map.tokens.dims() != expected {
            return Err(CacheError::Shape { expected, got: map.tokens.dims().to_vec() }.into());
        }
        let values: Vec<f32> = map.tokens.flatten_all()?.to_vec1()?;
        let mut places: Vec<(&Absent, &mut [f32])> = Vec::with_capacity(absent.len());
        let mut rest = out.chunks_exact_mut(per_map).enumerate();
        for a in absent {
            places.extend(rest.find(|(i, _)| *i == a.index).map(|(_, place)| (a, place)));
        }
        places.into_par_iter().zip(values.par_chunks_exact(per_map)).try_for_each(|((a, place), values)| {
            // The driver names the layer where values stop being finite, so these are passed on as they are.
            if !values.iter().all(|v| v.is_finite()) {
                place.copy_from_slice(values);
                return Ok(());
            }
            let mut half = vec![f16::ZERO; per_map];
            half.convert_from_f32_slice(values);
            half.convert_to_f32_slice(place);
            if let Some(i) = place.iter().position(|v| !v.is_finite()) {
                return Err(CacheError::Range { value: values[i] }.into());
            }
            self.cache.store(&keys[a.index], shape, &half, a.mends);
            Ok(())
        })
    }

    /// Rows, columns and channels of the map of each image.
    fn shape(&self, images: &Images) -> [usize; 3] {
        let TeacherSpec { stride, channels, .. } = *self.teacher.spec();
        [images.height.div_ceil(stride), images.width.div_ceil(stride), channels]
    }
}

impl<T: Teacher> Teacher for Cached<T> {
    fn spec(&self) -> &TeacherSpec {
        self.teacher.spec()
    }

    fn features(&self, images: &Images) -> Result<FeatureMap, TeacherError> {
        images.check()?;
        let shape = self.shape(images);
        let [rows, columns, channels] = shape;
        let per_map = rows * columns * channels;
        let (height, width) = (images.height, images.width);
        let mut values = vec![0f32; images.n * per_map];
        let look = |(rgb, out): (&[u8], &mut [f32])| {
            let key = self.identity.key(height, width, rgb);
            (key, self.cache.load(&key, shape, out))
        };
        let per_image = images.rgb.len() / images.n;
        let (keys, found): (Vec<Key>, Vec<Found>) = match images.n {
            // Waking another thread takes a tenth of the time of reading a map.
            1 => [look((&images.rgb, &mut values))].into_iter().unzip(),
            _ => images
                .rgb
                .par_chunks_exact(per_image)
                .zip(values.par_chunks_exact_mut(per_map))
                .map(look)
                .unzip(),
        };
        let absent = found.iter().enumerate().filter_map(|(index, found)| match found {
            Found::Hit => None,
            Found::Absent => Some(Absent { index, mends: false }),
            Found::Damaged => Some(Absent { index, mends: true }),
        });
        let absent: Vec<Absent> = absent.collect();
        if !absent.is_empty() {
            self.fill(images, &keys, &absent, &mut values)?;
        }
        let tokens = Tensor::from_vec(values, (images.n, rows, columns, channels), &Device::Cpu)?;
        Ok(FeatureMap { tokens, image_size: (height, width), stride: self.spec().stride })
    }
}
