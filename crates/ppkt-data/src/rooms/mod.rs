//! Rendered rooms: colour, depth, pose and class of every pixel, as many as wanted, from a seed.
//!
//! A room is a box with furniture made of boxes, cones and ellipsoids, placed so that nothing stands in anything
//! else; a person with a camera walks to a free place and looks at something. Everything is a function of seed and
//! number, the same bits on any number of threads.
//!
//! # What the rooms are for
//! The demo, tests, and first experiments: they need no files. A network trained on them has seen rooms of boxes, not
//! yours; for results that mean something use real frames.
//!
//! # Seeds
//! The key of every random stream holds the user's seed *and* who the rooms are for. The rooms on which the embedded
//! teacher was trained have a key of their own ([`Rooms::for_teacher_training`]), which no seed of
//! [`Rooms::new`] can reach: the teacher has never seen a room that anybody else renders.

mod art;
mod bounds;
mod class;
mod dice;
mod kinds;
mod layout;
mod material;
mod pieces;
mod plan;
mod pose;
mod render;
mod sensor;
mod solid;
#[cfg(test)]
mod tests;
mod vec3;

pub use class::ROOM_CLASSES;

use image::RgbImage;
use ppkt_geometry::{CameraModel, DepthMap, Rigid3, frame};

use crate::{Classes, Cloud, DataError, Dataset, Scene, Split, View};
use dice::{Dice, Domain, Purpose};
use layout::Room;
use pose::{FOCAL_OVER_WIDTH, Pose};
use render::Optics;
use sensor::Strength;

/// Which rooms, and how they are seen.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoomsConfig {
    /// Seed of all rooms: another seed gives other rooms, another number of rooms only more or fewer.
    pub seed: u64,
    /// How many rooms, held-out ones included.
    pub rooms: usize,
    /// How many frames of each room, each from its own place.
    pub frames_per_room: usize,
    /// Width of the images, pixels.
    pub width: u32,
    /// Height of the images, pixels.
    pub height: u32,
    /// Noise and holes in depth: 1 as a structured-light sensor's, 0 exact depth for every pixel.
    pub depth_noise: f32,
    /// Noise and variation of exposure and white balance in colour: 1 as a cheap camera's, 0 none.
    pub colour_noise: f32,
    /// Share of the rooms, the last ones, that is held out for validation.
    pub holdout: f32,
}

impl Default for RoomsConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            rooms: 200,
            frames_per_room: 1,
            width: 320,
            height: 240,
            depth_noise: 1.0,
            colour_noise: 1.0,
            holdout: 0.2,
        }
    }
}

/// The dataset `synthetic:rooms`.
///
/// A scene is one RGB-D frame: one view with depth and classes, and the cloud lifted from that depth.
///
/// ```
/// use ppkt_data::{Dataset, Rooms, RoomsConfig, Split};
///
/// # fn main() -> Result<(), ppkt_data::DataError> {
/// let config = RoomsConfig { rooms: 10, width: 64, height: 48, ..RoomsConfig::default() };
/// let rooms = Rooms::new(config, Split::Train)?;
/// let scene = rooms.sample(3)?;
/// assert_eq!(scene.views[0].image.dimensions(), (64, 48));
/// assert_eq!(scene.cloud.points.len(), scene.views[0].depth.as_ref().unwrap().n_valid());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Rooms {
    config: RoomsConfig,
    domain: Domain,
    /// First room and number of rooms of the split.
    range: (usize, usize),
    classes: Classes,
}

impl Rooms {
    /// The rooms of a split: of `config.rooms` rooms the last `config.holdout` are for validation, at least one.
    ///
    /// # Errors
    /// If a number in the configuration cannot be meant.
    pub fn new(config: RoomsConfig, split: Split) -> Result<Self, DataError> {
        Self::of(config, split, Domain::Public)
    }

    /// Rooms for training and measuring the embedded teacher, `cargo xtask teacher-tiny`. Nothing else may use them:
    /// no seed of [`Self::new`] gives any of these rooms, and that is what makes results with that teacher honest.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn for_teacher_training(config: RoomsConfig, split: Split) -> Result<Self, DataError> {
        Self::of(config, split, Domain::TeacherTraining)
    }

    fn of(config: RoomsConfig, split: Split, domain: Domain) -> Result<Self, DataError> {
        check(&config)?;
        let held_out = ((config.rooms as f32 * config.holdout).round() as usize).clamp(1, config.rooms);
        let range = match split {
            Split::Train => (0, config.rooms - held_out),
            Split::Validation => (config.rooms - held_out, held_out),
            Split::All => (0, config.rooms),
        };
        let named = &ROOM_CLASSES[1..];
        let names = named.iter().map(|(name, _)| (*name).to_owned()).collect();
        let classes = Classes::new(names, named.iter().map(|(_, colour)| *colour).collect());
        Ok(Self { config, domain, range, classes })
    }

    /// What it was made with.
    pub fn config(&self) -> &RoomsConfig {
        &self.config
    }

    /// The camera of every frame: a pinhole, 62.7° across.
    pub fn camera(&self) -> CameraModel {
        let (w, h) = (self.config.width, self.config.height);
        let focal = f64::from(FOCAL_OVER_WIDTH) * f64::from(w);
        let intrinsics = [focal, focal, f64::from(w) / 2.0, f64::from(h) / 2.0];
        CameraModel::new(w, h, intrinsics, ppkt_geometry::Lens::Pinhole)
            .unwrap_or_else(|e| unreachable!("sizes were checked at construction: {e}"))
    }

    /// Room and frame number in the whole list of a scene of this split.
    fn place(&self, index: usize) -> (u64, u64) {
        let room = self.range.0 + index / self.config.frames_per_room;
        let frame = room * self.config.frames_per_room + index % self.config.frames_per_room;
        (room as u64, frame as u64)
    }

    fn room(&self, room: u64) -> Room {
        Room::furnished(&mut Dice::new(self.config.seed, self.domain, Purpose::Room, room))
    }

    /// The view of a scene alone, without the cloud.
    ///
    /// # Errors
    /// If `index` is not below the number of scenes.
    pub fn view(&self, index: usize) -> Result<View, DataError> {
        if index >= self.len() {
            return Err(DataError::OutOfRange { index, len: self.len(), dataset: self.name().to_owned() });
        }
        let (room, frame) = self.place(index);
        let room = self.room(room);
        let mut dice = Dice::new(self.config.seed, self.domain, Purpose::Frame, frame);
        let (width, height) = (self.config.width as usize, self.config.height as usize);
        let pose = pose::choose(&room, &mut dice, height as f32 / width as f32);
        let focal = FOCAL_OVER_WIDTH * width as f32;
        let optics = Optics { focal, cx: 0.5 * width as f32, cy: 0.5 * height as f32 };
        let view = render::render(&room, &pose, optics, width, height);
        let strength = Strength { depth: self.config.depth_noise, colour: self.config.colour_noise };
        let bytes = sensor::photograph(&view, &mut dice, strength);
        let depth = sensor::measured_depth(&view, &mut dice, FOCAL_OVER_WIDTH, strength);
        let broken = |problem: String| DataError::BadScene { frame: self.frame_name(index), problem };
        let (width, height) = (self.config.width, self.config.height);
        Ok(View {
            image: RgbImage::from_raw(width, height, bytes)
                .ok_or_else(|| broken("image of another size".into()))?,
            camera: self.camera(),
            world_from_camera: rigid(&pose).map_err(broken)?,
            depth: Some(DepthMap::from_metres(width, height, depth).map_err(|e| broken(e.to_string()))?),
            classes: Some(view.class.iter().map(|c| *c as u16).collect()),
        })
    }
}

/// The pose as a rigid motion. The axes came from f32, so they are made orthonormal again in f64.
fn rigid(pose: &Pose) -> Result<Rigid3<frame::World, frame::Camera>, String> {
    let row = |i: usize| [pose.right, pose.down, pose.forward].map(|axis| f64::from(axis.axis(i)));
    let at = pose.position.to_array().map(f64::from);
    Rigid3::from_rotation_rows([row(0), row(1), row(2)], at).map_err(|e| e.to_string())
}

fn check(config: &RoomsConfig) -> Result<(), DataError> {
    let wrong = |setting: &str, value: String, expected: &str| {
        Err(DataError::BadSetting { setting: setting.into(), value, expected: expected.into() })
    };
    let side = 8..=8192;
    if config.rooms == 0 || config.rooms > 1 << 32 {
        return wrong("rooms", config.rooms.to_string(), "1 or more");
    }
    if config.frames_per_room == 0 || config.frames_per_room > 1 << 20 {
        return wrong("frames_per_room", config.frames_per_room.to_string(), "1 to 1048576");
    }
    for (name, value) in [("width", config.width), ("height", config.height)] {
        if !side.contains(&value) {
            return wrong(name, value.to_string(), "8 to 8192 pixels");
        }
    }
    for (name, value) in [("depth_noise", config.depth_noise), ("colour_noise", config.colour_noise)] {
        if !(0.0..=10.0).contains(&value) {
            return wrong(name, value.to_string(), "0 (none) to 10; 1 is a real sensor's");
        }
    }
    if !(0.0..=1.0).contains(&config.holdout) {
        return wrong("holdout", config.holdout.to_string(), "a share, 0 to 1");
    }
    Ok(())
}

impl Dataset for Rooms {
    fn name(&self) -> &str {
        "synthetic:rooms"
    }

    fn len(&self) -> usize {
        self.range.1 * self.config.frames_per_room
    }

    fn frame_name(&self, index: usize) -> String {
        let (room, frame) = self.place(index);
        let view = frame % self.config.frames_per_room as u64;
        format!("room{room:05}_{view:03}")
    }

    fn scene_name(&self, index: usize) -> String {
        format!("room{:05}", self.place(index).0)
    }

    fn sample(&self, index: usize) -> Result<Scene, DataError> {
        let view = self.view(index)?;
        let mut cloud = Cloud::default();
        let mut labels = Vec::new();
        let classes = view.classes.as_deref().unwrap_or_default();
        for lifted in view.depth.iter().flat_map(|depth| depth.lift::<frame::Camera>(&view.camera)) {
            let at = lifted.pixel;
            cloud.points.push((view.world_from_camera * lifted.point).to_f32());
            cloud.colours.push(view.image.get_pixel(at.col, at.row).0.map(|c| f32::from(c) / 255.0));
            labels.push(classes[(at.row * view.camera.width() + at.col) as usize]);
        }
        cloud.classes = Some(labels);
        Ok(Scene { name: self.frame_name(index), cloud, views: vec![view] })
    }

    fn classes(&self) -> Option<&Classes> {
        Some(&self.classes)
    }

    /// All numbers that decide what is rendered; rooms have no files.
    fn fingerprint(&self) -> Result<String, DataError> {
        // FNV-1a: an identity, not a protection.
        let text = format!("rooms/1 {:?} {:?} {:?}", self.config, self.domain, self.range);
        let digest = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
        Ok(format!("{digest:016x}"))
    }
}
