//! Batches with what the teacher says about their photographs, as the step wants them.
//!
//! On the CPU all of it takes turns. Where the networks are on a GPU, a thread brings the next batch there behind the step
//! that the GPU is at. The teacher is then on the GPU too, and is asked in the step; but maps of a cache are the
//! processor's to read, verify and widen, so that thread does it, and the GPU waits only if that is the slower of the two.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use candle_core::Device;
use ppkt_data::{Batch, DataError};
use ppkt_teacher::{FeatureMap, Teacher};

use crate::error::{Result, TrainError};
use crate::model::{Input, images_of};

/// Batches that wait for the step: one is enough where a step takes as long as the next.
const AHEAD: usize = 1;

/// A batch and the teacher's map of its photographs.
pub(crate) struct Seen {
    pub(crate) batch: Batch,
    /// The batch as the student takes it, on the device of the student.
    pub(crate) input: Input,
    pub(crate) map: FeatureMap,
    /// Seconds that whoever asked for it waited for the teacher.
    pub(crate) teacher_seconds: f64,
}

/// Batches in their order, each with its map.
pub(crate) struct SeenBatches<B, T> {
    source: Source<B>,
    teacher: Arc<T>,
    device: Device,
}

/// Where batches are made.
enum Source<B> {
    /// Where they are asked for.
    Here(B),
    /// In the background.
    Ahead(Background),
}

/// A batch on its device, and the map if there is one already.
struct Made {
    batch: Batch,
    input: Input,
    map: Option<FeatureMap>,
}

/// The thread that makes batches ahead of time.
struct Background {
    /// Taken away first when this is dropped, which ends the thread after the batch that it is at.
    made: Option<Receiver<Result<Made>>>,
    thread: Option<JoinHandle<()>>,
}

impl<B, T> SeenBatches<B, T>
where
    B: Iterator<Item = std::result::Result<Batch, DataError>> + Send + 'static,
    T: Teacher + 'static,
{
    /// For networks on `device`, and a teacher that is `cached` or not.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn new(batches: B, teacher: Arc<T>, device: &Device, cached: bool) -> Result<Self> {
        let device = device.clone();
        if device.is_cpu() {
            return Ok(Self { source: Source::Here(batches), teacher, device });
        }
        Self::in_background(batches, teacher, device, cached)
    }

    fn in_background(batches: B, teacher: Arc<T>, device: Device, cached: bool) -> Result<Self> {
        let (sender, made) = sync_channel(AHEAD);
        let (there, reader) = (device.clone(), cached.then(|| teacher.clone()));
        let thread = Builder::new()
            .name("batches".into())
            .spawn(move || make_all(batches, reader.as_deref(), &there, &sender))
            .map_err(|e| TrainError::Config(format!("the system gives no thread for batches: {e}")))?;
        let source = Source::Ahead(Background { made: Some(made), thread: Some(thread) });
        Ok(Self { source, teacher, device })
    }
}

/// Makes all batches, as long as somebody wants them.
fn make_all<B>(batches: B, teacher: Option<&impl Teacher>, device: &Device, sender: &SyncSender<Result<Made>>)
where
    B: Iterator<Item = std::result::Result<Batch, DataError>>,
{
    for batch in batches {
        if sender.send(make(batch, teacher, device)).is_err() {
            return;
        }
    }
}

/// Brings a batch to its device, and asks the teacher if it is to be asked now.
fn make(
    batch: std::result::Result<Batch, DataError>,
    teacher: Option<&impl Teacher>,
    device: &Device,
) -> Result<Made> {
    let batch = batch?;
    let map = teacher.map(|teacher| look(teacher, &batch)).transpose()?;
    let input = Input::new(&batch, device)?;
    Ok(Made { batch, input, map })
}

/// The teacher's map of a batch's photographs.
fn look(teacher: &impl Teacher, batch: &Batch) -> Result<FeatureMap> {
    Ok(teacher.features(&images_of(batch)?)?)
}

impl<B, T> SeenBatches<B, T>
where
    B: Iterator<Item = std::result::Result<Batch, DataError>>,
    T: Teacher,
{
    /// Asks the teacher about a batch that it was not asked about.
    fn see(&self, made: Result<Made>) -> Result<Seen> {
        let Made { batch, input, map } = made?;
        if let Some(map) = map {
            return Ok(Seen { batch, input, map, teacher_seconds: 0.0 });
        }
        let clock = Instant::now();
        let map = look(self.teacher.as_ref(), &batch)?;
        Ok(Seen { batch, input, map, teacher_seconds: clock.elapsed().as_secs_f64() })
    }
}

impl<B, T> Iterator for SeenBatches<B, T>
where
    B: Iterator<Item = std::result::Result<Batch, DataError>>,
    T: Teacher,
{
    type Item = Result<Seen>;

    fn next(&mut self) -> Option<Result<Seen>> {
        let made = match &mut self.source {
            Source::Here(batches) => make(batches.next()?, None::<&T>, &self.device),
            Source::Ahead(background) => background.next()?,
        };
        Some(self.see(made))
    }
}

impl Background {
    fn next(&mut self) -> Option<Result<Made>> {
        let made = self.made.as_ref()?.recv().ok();
        if made.is_none() {
            // It has made all, or has panicked: then so does whoever waits for it.
            if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
                resume_unwind(panic);
            }
        }
        made
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.made = None;
        if let Some(thread) = self.thread.take() {
            // A panic of a batch that nobody will see is nobody's fault.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use candle_core::Tensor;
    use ppkt_data::{BatchConfig, DataUri, Dataset, Loader, Split};
    use ppkt_teacher::{Images, TeacherError, TeacherSpec};

    use super::*;

    /// A teacher whose features are the first byte of each image.
    struct FirstByte {
        spec: TeacherSpec,
        calls: AtomicUsize,
        fails_at: usize,
    }

    impl Teacher for FirstByte {
        fn spec(&self) -> &TeacherSpec {
            &self.spec
        }

        fn features(&self, images: &Images) -> std::result::Result<FeatureMap, TeacherError> {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            assert!(call < self.fails_at, "the teacher fell over");
            let tokens = Tensor::new(f32::from(images.rgb[0]), &Device::Cpu)?.reshape((1, 1, 1, 1))?;
            Ok(FeatureMap { tokens, image_size: (images.height, images.width), stride: 8 })
        }
    }

    fn teacher(fails_at: usize) -> Arc<FirstByte> {
        let spec = TeacherSpec {
            name: "first byte".into(),
            family: ppkt_teacher::Family::ResNet,
            channels: 1,
            stride: 8,
            mean: [0.0; 3],
            std: [1.0; 3],
            fingerprint: String::new(),
        };
        Arc::new(FirstByte { spec, calls: AtomicUsize::new(0), fails_at })
    }

    fn batches(n: u64) -> ppkt_data::BatchStream<BatchConfig> {
        let uri: DataUri = "synthetic:rooms?scenes=3&width=64&height=48".parse().unwrap();
        let rooms: Arc<dyn Dataset> = Arc::from(uri.open(Split::All).unwrap());
        let config = BatchConfig { frames_per_batch: 1, image_size: [64, 48], ..BatchConfig::default() };
        Loader::new(rooms, config, 1).unwrap().stream(0, n, 0)
    }

    fn values(seen: SeenBatches<ppkt_data::BatchStream<BatchConfig>, FirstByte>) -> Vec<(usize, f32)> {
        seen.map(|seen| {
            let Seen { batch, map, .. } = seen.unwrap();
            (batch.coords.len(), map.tokens.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0])
        })
        .collect()
    }

    #[test]
    fn ahead_or_not_the_batches_are_the_same() {
        let here = values(SeenBatches::new(batches(4), teacher(9), &Device::Cpu, true).unwrap());
        assert_eq!(here.len(), 4);
        for cached in [false, true] {
            let ahead = SeenBatches::in_background(batches(4), teacher(9), Device::Cpu, cached).unwrap();
            assert_eq!(values(ahead), here);
        }
    }

    #[test]
    fn only_a_cache_is_read_in_the_background() {
        for (cached, asked) in [(false, 1), (true, 2)] {
            let teacher = teacher(9);
            let mut seen =
                SeenBatches::in_background(batches(2), teacher.clone(), Device::Cpu, cached).unwrap();
            let first = seen.next().unwrap().unwrap();
            assert_eq!(first.teacher_seconds == 0.0, cached);
            // The second batch is made whether it is asked for or not.
            if let Source::Ahead(background) = &mut seen.source {
                background.thread.take().unwrap().join().unwrap();
            }
            assert_eq!(teacher.calls.load(Ordering::Relaxed), asked);
        }
    }

    #[test]
    fn a_stream_that_is_left_ends_its_thread() {
        let teacher = teacher(99);
        let mut seen = SeenBatches::in_background(batches(50), teacher.clone(), Device::Cpu, true).unwrap();
        seen.next().unwrap().unwrap();
        drop(seen);
        assert!(teacher.calls.load(Ordering::Relaxed) < 10);
        assert_eq!(Arc::strong_count(&teacher), 1);
    }

    #[test]
    #[should_panic(expected = "the teacher fell over")]
    fn a_panic_of_the_teacher_is_that_of_the_run() {
        let mut seen = SeenBatches::in_background(batches(5), teacher(1), Device::Cpu, true).unwrap();
        while seen.next().is_some() {}
    }
}
