//! The teacher of a run, with a cache before it or without, and the filling of a cache ahead of runs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use ppkt_data::{DataError, Dataset, ImageMap, Loader, OnDamaged, Scene};
use ppkt_teacher::{
    CacheReport, Cached, FeatureCache, FeatureMap, Images, Teacher, TeacherError, TeacherSpec,
};
use rayon::prelude::*;

use crate::config::PretrainConfig;
use crate::error::{Result, TrainError};
use crate::observer::Observer;

/// Frames that are read at the same time while a cache is filled.
const FRAMES_AT_ONCE: usize = 8;

/// A run's teacher, on the device that the run trains on, and, if it has one, its cache. Maps of a cache are on the CPU: to
/// a GPU go only the features of the pixels that a step has drawn (`UpsampleProjection::forward`), a small part of a map.
pub(crate) struct OpenTeacher {
    teacher: Box<dyn Teacher>,
    pub(crate) cache: Option<FeatureCache>,
}

impl OpenTeacher {
    pub(crate) fn of(config: &PretrainConfig, device: &Device) -> Result<Self> {
        let teacher = ppkt_teacher::open_on(&config.teacher_uri()?, &config.teacher.options, device)?;
        if config.teacher.cache.is_empty() {
            return Ok(Self { teacher, cache: None });
        }
        let folder = Path::new(&config.teacher.cache);
        let cache = FeatureCache::open(folder, config.teacher.cache_limit)
            .map_err(|e| TrainError::Teacher(e.into()))?;
        let teacher = Box::new(Cached::new(teacher, cache.clone())?);
        Ok(Self { teacher, cache: Some(cache) })
    }

    /// Tells what the cache has to say, if anything.
    pub(crate) fn tell(&self, observer: &mut dyn Observer) {
        for notice in self.cache.iter().flat_map(FeatureCache::take_notices) {
            observer.message(&notice);
        }
    }
}

impl Teacher for OpenTeacher {
    fn spec(&self) -> &TeacherSpec {
        self.teacher.spec()
    }

    fn features(&self, images: &Images) -> std::result::Result<FeatureMap, TeacherError> {
        self.teacher.features(images)
    }
}

/// Runs the teacher, on `device`, once over every image that a pretraining of this configuration would see, and keeps the
/// maps in its cache (`teacher.cache`), so that no step of the run has to wait for it. What is there already is only
/// verified. Maps are kept by the device that made them too, whose last digits are its own: a run finds those of the kind
/// of device that it trains on.
///
/// The held-out frames that the run measures are among them. It ends early when `stop` becomes true or the cache takes
/// no more.
///
/// # Errors
/// If no cache is named, the configuration is wrong, or a frame is damaged and `batch.on_damaged` is not `skip`.
pub fn fill_cache(
    config: &PretrainConfig,
    device: &Device,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<CacheReport> {
    config.check()?;
    let training: Arc<dyn Dataset> = Arc::from(config.open_training()?);
    let validation: Arc<dyn Dataset> = Arc::from(config.open_validation()?);
    let open = OpenTeacher::of(config, device)?;
    let Some(cache) = &open.cache else {
        return Err(TrainError::Config("no cache is named: give --cache DIR".into()));
    };
    let held_out = Loader::new(validation.clone(), config.batch.clone(), config.seed)?.order(0);
    let held_out = held_out.iter().take(config.validation.frames).map(|&i| (&validation, i as usize));
    let all: Vec<(&Arc<dyn Dataset>, usize)> =
        (0..training.len()).map(|i| (&training, i)).chain(held_out).collect();
    let mut images_seen = 0;
    for (done, part) in all.chunks(FRAMES_AT_ONCE).enumerate() {
        observer.progress("feature maps", (done * FRAMES_AT_ONCE) as u64, all.len() as u64);
        let images = images_of(config, part, observer)?;
        images_seen += images.as_ref().map_or(0, |i| i.n);
        if let Some(images) = images {
            open.features(&images)?;
        }
        open.tell(observer);
        if stop.load(Ordering::Relaxed) || !cache.accepts() {
            break;
        }
    }
    observer.progress_done("feature maps");
    if images_seen == 0 {
        let problem = format!("{} has no photograph that a teacher could look at", training.name());
        return Err(TrainError::Config(problem));
    }
    Ok(cache.report())
}

/// The images of some frames, as a run with a cache shows them to the teacher.
fn images_of(
    config: &PretrainConfig,
    frames: &[(&Arc<dyn Dataset>, usize)],
    observer: &mut dyn Observer,
) -> Result<Option<Images>> {
    let [width, height] = config.batch.image_size;
    let read = |(dataset, index): &(&Arc<dyn Dataset>, usize)| -> std::result::Result<Vec<u8>, DataError> {
        let Scene { views, .. } = dataset.sample(*index)?;
        let plain = |image| ImageMap::whole(image_size(image), [width, height]).image(image).into_raw();
        Ok(views.iter().flat_map(|view| plain(&view.image)).collect())
    };
    let mut rgb = Vec::new();
    for bytes in frames.par_iter().map(read).collect::<Vec<_>>() {
        match bytes {
            Ok(bytes) => rgb.extend(bytes),
            Err(e) if config.batch.on_damaged == OnDamaged::Skip && !e.is_configuration() => {
                observer.message(&format!("a damaged frame is left out: {e}"));
            }
            Err(e) => return Err(e.into()),
        }
    }
    let n = rgb.len() / (width as usize * height as usize * 3);
    Ok(if n == 0 { None } else { Some(Images::new(n, height as usize, width as usize, rgb)?) })
}

fn image_size(image: &image::RgbImage) -> [u32; 2] {
    image.dimensions().into()
}
