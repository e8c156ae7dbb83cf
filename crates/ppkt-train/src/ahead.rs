//! Batches with what the teacher says about their photographs, made ahead of the step that a GPU is at.
//!
//! The teacher, or the cache that stands for it, works on the CPU. Where the student is trained on the CPU as well, both
//! take turns; where it is on a GPU, the teacher looks at the next batch in the background, so that the GPU waits only if
//! the teacher is the slower of the two. The batch goes to the GPU from there too, behind the step that it is at.

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
pub(crate) enum SeenBatches<B, T> {
    /// Made when they are asked for.
    Here(B, Arc<T>, Device),
    /// Made in the background.
    Ahead(Background),
}

/// The thread that makes batches ahead of time.
pub(crate) struct Background {
    /// Taken away first when this is dropped, which ends the thread after the batch that it is at.
    made: Option<Receiver<Result<Seen>>>,
    thread: Option<JoinHandle<()>>,
}

impl<B, T> SeenBatches<B, T>
where
    B: Iterator<Item = std::result::Result<Batch, DataError>> + Send + 'static,
    T: Teacher + 'static,
{
    /// For a student that is trained on `device`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn new(batches: B, teacher: Arc<T>, device: &Device) -> Result<Self> {
        let device = device.clone();
        if device.is_cpu() {
            return Ok(Self::Here(batches, teacher, device));
        }
        Self::in_background(batches, teacher, device)
    }

    fn in_background(batches: B, teacher: Arc<T>, device: Device) -> Result<Self> {
        let (sender, made) = sync_channel(AHEAD);
        let thread = Builder::new()
            .name("teacher".into())
            .spawn(move || make(batches, teacher.as_ref(), &device, &sender))
            .map_err(|e| TrainError::Config(format!("the system gives no thread for the teacher: {e}")))?;
        Ok(Self::Ahead(Background { made: Some(made), thread: Some(thread) }))
    }
}

/// Makes all batches, as long as somebody wants them.
fn make<B>(batches: B, teacher: &impl Teacher, device: &Device, sender: &SyncSender<Result<Seen>>)
where
    B: Iterator<Item = std::result::Result<Batch, DataError>>,
{
    for batch in batches {
        let seen = see(batch, teacher, device).map(|seen| Seen { teacher_seconds: 0.0, ..seen });
        if sender.send(seen).is_err() {
            return;
        }
    }
}

fn see(
    batch: std::result::Result<Batch, DataError>,
    teacher: &impl Teacher,
    device: &Device,
) -> Result<Seen> {
    let batch = batch?;
    let clock = Instant::now();
    let map = teacher.features(&images_of(&batch)?)?;
    let teacher_seconds = clock.elapsed().as_secs_f64();
    let input = Input::new(&batch, device)?;
    Ok(Seen { batch, input, map, teacher_seconds })
}

impl<B, T> Iterator for SeenBatches<B, T>
where
    B: Iterator<Item = std::result::Result<Batch, DataError>>,
    T: Teacher,
{
    type Item = Result<Seen>;

    fn next(&mut self) -> Option<Result<Seen>> {
        match self {
            Self::Here(batches, teacher, device) => {
                batches.next().map(|batch| see(batch, teacher.as_ref(), device))
            }
            Self::Ahead(background) => background.next(),
        }
    }
}

impl Background {
    fn next(&mut self) -> Option<Result<Seen>> {
        let seen = self.made.as_ref()?.recv().ok();
        if seen.is_none() {
            // It has made all, or has panicked: then so does whoever waits for it.
            if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
                resume_unwind(panic);
            }
        }
        seen
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
        let here = values(SeenBatches::new(batches(4), teacher(9), &Device::Cpu).unwrap());
        assert_eq!(here.len(), 4);
        assert_eq!(values(SeenBatches::in_background(batches(4), teacher(9), Device::Cpu).unwrap()), here);
    }

    #[test]
    fn a_stream_that_is_left_ends_its_thread() {
        let teacher = teacher(99);
        let mut seen = SeenBatches::in_background(batches(50), teacher.clone(), Device::Cpu).unwrap();
        seen.next().unwrap().unwrap();
        drop(seen);
        assert!(teacher.calls.load(Ordering::Relaxed) < 10);
        assert_eq!(Arc::strong_count(&teacher), 1);
    }

    #[test]
    #[should_panic(expected = "the teacher fell over")]
    fn a_panic_of_the_teacher_is_that_of_the_run() {
        let mut seen = SeenBatches::in_background(batches(5), teacher(1), Device::Cpu).unwrap();
        while seen.next().is_some() {}
    }
}
