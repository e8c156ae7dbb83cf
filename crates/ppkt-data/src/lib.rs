#![doc = include_str!("../README.md")]

mod augment;
mod batch;
mod dataset;
mod error;
mod frame;
mod inspect;
mod link;
mod loader;
mod picture;
mod random;
mod readers;
mod rooms;
mod scene;
mod setting;
mod stream;
mod synth;
mod uri;
mod verify;

pub use augment::{Augment2d, Augment3d, CloudColour, ColourJitter, Elastic, ImageMap};
pub use batch::{Batch, BatchConfig, OnDamaged, Pair, PointFeature};
pub use dataset::{Classes, Dataset, Split};
pub use error::DataError;
pub use inspect::{FrameSummary, Inspection, ViewSummary, inspect};
pub use link::{Link, LinkConfig, link};
pub use loader::Loader;
pub use picture::draw_registration;
pub use rooms::{ROOM_CLASSES, Rooms, RoomsConfig};
pub use scene::{Cloud, Scene, View};
pub use stream::BatchStream;
pub use synth::write_frames;
pub use uri::{DataUri, OptionHelp, Scheme};
pub use verify::{ClassShare, DepthSummary, Fault, Registration, Report, Severity, verify};
