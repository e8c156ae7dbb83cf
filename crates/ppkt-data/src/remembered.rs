//! Datasets made of others: some of the frames, and clouds that are read once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::fingerprint::Fingerprint;
use crate::frame::{check_scene, near_points};
use crate::{Classes, Cloud, DataError, Dataset, Scene};

/// Some of the frames of a dataset.
pub struct Subset {
    inner: Arc<dyn Dataset>,
    frames: Vec<usize>,
    name: String,
}

impl Subset {
    /// The frames with these numbers, in this order; `what` says in the name which they are.
    ///
    /// # Panics
    /// If a number is not below the dataset's length.
    pub fn new(inner: Arc<dyn Dataset>, frames: Vec<usize>, what: &str) -> Self {
        assert!(frames.iter().all(|&f| f < inner.len()), "a frame beyond the end of the dataset");
        let name = format!("{} ({what})", inner.name());
        Self { inner, frames, name }
    }

    fn at(&self, index: usize) -> Result<usize, DataError> {
        self.frames.get(index).copied().ok_or_else(|| DataError::OutOfRange {
            index,
            len: self.frames.len(),
            dataset: self.name.clone(),
        })
    }
}

impl Dataset for Subset {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.frames.len()
    }

    fn frame_name(&self, index: usize) -> String {
        self.inner.frame_name(self.frames[index])
    }

    fn scene_name(&self, index: usize) -> String {
        self.inner.scene_name(self.frames[index])
    }

    fn sample(&self, index: usize) -> Result<Scene, DataError> {
        self.inner.sample(self.at(index)?)
    }

    fn has_photographs(&self) -> bool {
        self.inner.has_photographs()
    }

    fn classes(&self) -> Option<&Classes> {
        self.inner.classes()
    }

    fn fingerprint(&self) -> Result<String, DataError> {
        let mut all = Fingerprint::default();
        all.add_plain(self.inner.fingerprint()?);
        self.frames.iter().for_each(|frame| all.add_plain(frame.to_le_bytes()));
        Ok(all.finish())
    }

    fn notes(&self) -> &[String] {
        self.inner.notes()
    }
}

/// The clouds of a dataset without its photographs, cut by distance; what was read stays in memory up to a limit, so
/// that the few frames of a small share are read and decoded once.
pub struct RememberedClouds {
    inner: Arc<dyn Dataset>,
    max_depth_m: f32,
    limit: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    clouds: HashMap<usize, Arc<Scene>>,
    bytes: usize,
}

impl RememberedClouds {
    /// Points farther than `max_depth_m` from every camera are left out (a scan without cameras is kept whole); up to
    /// `limit` bytes are kept.
    pub fn new(inner: Arc<dyn Dataset>, max_depth_m: f32, limit: usize) -> Self {
        Self { inner, max_depth_m, limit, kept: Mutex::default() }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(cloud: &Cloud) -> usize {
    size_of_val(&*cloud.points)
        + size_of_val(&*cloud.colours)
        + cloud.intensity.as_deref().map_or(0, size_of_val)
        + cloud.classes.as_deref().map_or(0, size_of_val)
}

impl Dataset for RememberedClouds {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn len(&self) -> usize {
        self.inner.len()
    }

    fn frame_name(&self, index: usize) -> String {
        self.inner.frame_name(index)
    }

    fn scene_name(&self, index: usize) -> String {
        self.inner.scene_name(index)
    }

    fn sample(&self, index: usize) -> Result<Scene, DataError> {
        if let Some(scene) = self.kept().clouds.get(&index) {
            return Ok(Scene::clone(scene));
        }
        let mut scene = self.inner.sample(index)?;
        check_scene(&scene)?;
        if !scene.views.is_empty()
            && let Some(near) = near_points(&scene.cloud.points, &scene.views, self.max_depth_m)
        {
            scene.cloud.keep(&near);
        }
        scene.views.clear();
        let bytes = bytes_of(&scene.cloud);
        let mut kept = self.kept();
        if kept.bytes + bytes <= self.limit && !kept.clouds.contains_key(&index) {
            kept.bytes += bytes;
            kept.clouds.insert(index, Arc::new(scene.clone()));
        }
        Ok(scene)
    }

    fn has_photographs(&self) -> bool {
        false
    }

    fn classes(&self) -> Option<&Classes> {
        self.inner.classes()
    }

    fn fingerprint(&self) -> Result<String, DataError> {
        self.inner.fingerprint()
    }

    fn notes(&self) -> &[String] {
        self.inner.notes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataUri, Split};

    fn rooms() -> Arc<dyn Dataset> {
        let uri: DataUri = "synthetic:rooms?scenes=6&width=32&height=24".parse().unwrap();
        Arc::from(uri.open(Split::All).unwrap())
    }

    #[test]
    fn a_subset_has_its_frames_and_a_fingerprint_of_its_own() {
        let rooms = rooms();
        let some = Subset::new(rooms.clone(), vec![4, 1], "some");
        assert_eq!(some.len(), 2);
        assert_eq!(some.frame_name(0), rooms.frame_name(4));
        assert_eq!(some.sample(1).unwrap().name, rooms.sample(1).unwrap().name);
        assert!(matches!(some.sample(2), Err(DataError::OutOfRange { index: 2, len: 2, .. })));
        let other = Subset::new(rooms, vec![4, 2], "some");
        assert_ne!(some.fingerprint().unwrap(), other.fingerprint().unwrap());
    }

    #[test]
    fn clouds_are_the_same_from_memory_and_the_limit_holds() {
        let rooms = rooms();
        let bytes = bytes_of(&rooms.sample(0).unwrap().cloud);
        let remembered = RememberedClouds::new(rooms.clone(), 100.0, bytes * 2 + bytes / 2);
        for _ in 0..2 {
            for i in 0..6 {
                let (a, b) = (remembered.sample(i).unwrap(), rooms.sample(i).unwrap());
                assert_eq!(a.cloud.points, b.cloud.points);
                assert_eq!(a.cloud.classes, b.cloud.classes);
                assert!(a.views.is_empty());
            }
        }
        let kept = remembered.kept();
        assert!(kept.bytes <= remembered.limit && (1..6).contains(&kept.clouds.len()));
    }

    #[test]
    fn far_points_are_cut() {
        let near = RememberedClouds::new(rooms(), 2.0, 0).sample(0).unwrap();
        let all = RememberedClouds::new(rooms(), 100.0, 0).sample(0).unwrap();
        assert!(near.cloud.points.len() < all.cloud.points.len());
        assert_eq!(near.cloud.points.len(), near.cloud.classes.unwrap().len());
    }
}
