//! `.sens`: a whole recording in one file, version 4 of the format (SensReader of <https://github.com/ScanNet/ScanNet>).
//!
//! Little-endian, one after another: version u32 · length u64 and bytes of the sensor's name · four 4×4 matrices of f32,
//! row by row (intrinsics and extrinsics of colour, then of depth) · compression of colour and of depth i32 · width and
//! height of colour, then of depth u32 · units of depth a metre f32 · number of frames u64 · the frames, each: 4×4
//! matrix from camera to world f32 · times of colour and depth u64 · bytes of colour and of depth u64 · the two images.
//! What follows (the inertial sensor) is not read.
//!
//! No size in the file is believed before it is held against what the file has left.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::ZlibDecoder;
use image::RgbImage;

use super::super::files;
use crate::DataError;

const VERSION: u32 = 4;
/// Longer names of sensors are damage.
const MAX_NAME: u64 = 4096;
/// Pose, times and sizes of a frame.
const FRAME_BYTES: u64 = 16 * 4 + 4 * 8;
/// Images of more pixels are damage: memory for photographs is asked for by the size of the depth images.
const MAX_PIXELS: u64 = 1 << 26;
/// zlib makes data at most so many times smaller (1032 : 1), and a block more.
const MAX_RATIO: u64 = 1032;

/// A recording as found, with a part of its frames.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) colour: Calibration,
    pub(super) depth: Calibration,
    pub(super) metres_per_unit: f64,
    /// How many frames the header promises.
    pub(super) n_frames: u64,
    pub(super) frames: Vec<Frame>,
    /// The first frame that cannot be there, and why, if the file ends too early.
    pub(super) damage: Option<(u64, String)>,
}

/// One of the two cameras, matrices row by row.
#[derive(Clone, Debug)]
pub(super) struct Calibration {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) intrinsics: [f64; 16],
    /// To the frame that poses are of: the colour camera's, whose own is the identity.
    pub(super) extrinsics: [f64; 16],
}

/// A frame: what stands before its images, and where they are.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) number: u64,
    /// Camera to world, row by row; not finite where the tracker was lost.
    pub(super) pose: [f64; 16],
    pub(super) place: Recorded,
}

/// Where the images of a frame are in a recording.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    file: Arc<Format>,
    number: u64,
    colour: Span,
    depth: Span,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    at: u64,
    len: u64,
}

/// How the images of a recording are stored.
#[derive(Debug)]
struct Format {
    path: PathBuf,
    colour: ColourKind,
    colour_size: (u32, u32),
    depth: DepthKind,
    depth_size: (u32, u32),
}

#[derive(Clone, Copy, Debug)]
enum ColourKind {
    Raw,
    /// PNG or JPEG, whichever it says itself.
    Picture,
}

#[derive(Clone, Copy, Debug)]
enum DepthKind {
    Raw,
    Zlib,
}

/// Numbers from the front of a file.
struct Fields<'a> {
    file: &'a mut File,
    left: u64,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        if self.left < N as u64 {
            return Err("the file ends within its header".into());
        }
        self.file.read_exact(&mut bytes).map_err(|e| e.to_string())?;
        self.left -= N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.take().map(u64::from_le_bytes)
    }

    fn matrix(&mut self) -> Result<[f64; 16], String> {
        self.take::<64>().map(|bytes| matrix(&bytes))
    }

    fn skip(&mut self, len: u64) -> Result<(), String> {
        let left = self.left.checked_sub(len).ok_or("the file ends within its header")?;
        self.file.seek(SeekFrom::Current(len as i64)).map_err(|e| e.to_string())?;
        self.left = left;
        Ok(())
    }
}

fn matrix(bytes: &[u8; 64]) -> [f64; 16] {
    let (numbers, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|i| f64::from(f32::from_le_bytes(numbers[i])))
}

impl Recording {
    /// Reads the header and steps through the frames, of which each `every`-th is kept; no image is decoded.
    pub(super) fn open(path: &Path, every: usize) -> Result<Self, String> {
        let mut file = File::open(path).map_err(|e| e.to_string())?;
        let len = file.metadata().map_err(|e| e.to_string())?.len();
        let mut fields = Fields { file: &mut file, left: len };
        let version = fields.u32()?;
        if version != VERSION {
            return Err(format!(
                "it is of version {version} of the format, not {VERSION}; is it a .sens file?"
            ));
        }
        let name = fields.u64()?;
        if name > MAX_NAME {
            return Err(format!("the sensor's name has {name} bytes; the file is damaged"));
        }
        fields.skip(name)?;
        let [colour_in, colour_ex, depth_in, depth_ex] =
            [fields.matrix()?, fields.matrix()?, fields.matrix()?, fields.matrix()?];
        let colour_kind = colour_kind(fields.u32()?.cast_signed())?;
        let depth_kind = depth_kind(fields.u32()?.cast_signed())?;
        let colour_size = (fields.u32()?, fields.u32()?);
        let depth_size = (fields.u32()?, fields.u32()?);
        check_size("colour", colour_size)?;
        check_size("depth", depth_size)?;
        let units = f64::from(f32::from_le_bytes(fields.take()?));
        if !(units.is_finite() && units > 0.0) {
            return Err(format!("{units} units of depth a metre cannot be meant; the file is damaged"));
        }
        let n_frames = fields.u64()?;
        if n_frames == 0 {
            return Err("it has no frame".into());
        }
        let at = len - fields.left;
        let format =
            Format { path: path.to_owned(), colour: colour_kind, colour_size, depth: depth_kind, depth_size };
        let calibration =
            |(width, height), intrinsics, extrinsics| Calibration { width, height, intrinsics, extrinsics };
        let mut recording = Self {
            colour: calibration(colour_size, colour_in, colour_ex),
            depth: calibration(depth_size, depth_in, depth_ex),
            metres_per_unit: 1.0 / units,
            n_frames,
            frames: Vec::new(),
            damage: None,
        };
        recording.step_through(&mut file, Arc::new(format), at, len, every as u64)?;
        Ok(recording)
    }

    fn step_through(
        &mut self,
        file: &mut File,
        format: Arc<Format>,
        mut at: u64,
        len: u64,
        every: u64,
    ) -> Result<(), String> {
        for number in 0..self.n_frames {
            let ends = |what: &str| {
                let of = self.n_frames;
                Some((
                    number,
                    format!("the recording ends within {what} of frame {number} of {of}; fetch it again"),
                ))
            };
            if len - at < FRAME_BYTES {
                self.damage = ends("the header");
                return Ok(());
            }
            let mut head = [0; FRAME_BYTES as usize];
            file.seek(SeekFrom::Start(at))
                .and_then(|_| file.read_exact(&mut head))
                .map_err(|e| e.to_string())?;
            at += FRAME_BYTES;
            let size = |from: usize| {
                head[from..].first_chunk::<8>().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
            };
            let (colour, depth) = (size(80), size(88));
            let Some(end) = at.checked_add(colour).and_then(|a| a.checked_add(depth)).filter(|e| *e <= len)
            else {
                self.damage = ends("the images");
                return Ok(());
            };
            if number % every == 0 {
                let mut pose = [0; 64];
                pose.copy_from_slice(&head[..64]);
                let colour = Span { at, len: colour };
                let depth = Span { at: at + colour.len, len: depth };
                let place = Recorded { file: Arc::clone(&format), number, colour, depth };
                self.frames.push(Frame { number, pose: matrix(&pose), place });
            }
            at = end;
        }
        Ok(())
    }
}

/// Refuses images of a size that cannot be meant.
pub(super) fn check_size(what: &str, (width, height): (u32, u32)) -> Result<(), String> {
    if (1..=MAX_PIXELS).contains(&(u64::from(width) * u64::from(height))) {
        return Ok(());
    }
    Err(format!("{what} images of {width}×{height} pixels cannot be meant; the file is damaged"))
}

fn colour_kind(number: i32) -> Result<ColourKind, String> {
    match number {
        0 => Ok(ColourKind::Raw),
        1 | 2 => Ok(ColourKind::Picture),
        other => Err(format!(
            "colour is compressed in the way {other}, but should be 0 (raw), 1 (PNG) or 2 (JPEG)"
        )),
    }
}

fn depth_kind(number: i32) -> Result<DepthKind, String> {
    match number {
        0 => Ok(DepthKind::Raw),
        1 => Ok(DepthKind::Zlib),
        2 => Err("depth is compressed by Occipital's library, which is not open; save it with zlib".into()),
        other => Err(format!("depth is compressed in the way {other}, but should be 0 (raw) or 1 (zlib)")),
    }
}

/// Bytes of a depth image, not compressed.
fn depth_bytes((width, height): (u32, u32)) -> u64 {
    u64::from(width) * u64::from(height) * 2
}

impl Recorded {
    /// What tells this frame from others of the same file, for a fingerprint.
    pub(crate) fn numbers(&self) -> [u64; 3] {
        [self.number, self.colour.len, self.depth.len]
    }

    /// Refuses a frame whose bytes cannot hold a depth image of the size that the recording claims.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        let (width, height) = self.file.depth_size;
        let most = match self.file.depth {
            DepthKind::Raw => self.depth.len,
            DepthKind::Zlib => self.depth.len.saturating_add(1).saturating_mul(MAX_RATIO),
        };
        if depth_bytes((width, height)) <= most {
            return Ok(());
        }
        let n = self.depth.len;
        Err(self.fault("depth image", format!("{n} bytes cannot hold {width}×{height} pixels")))
    }

    /// The photograph.
    pub(crate) fn photo(&self) -> Result<RgbImage, DataError> {
        const WHAT: &str = "photo";
        let Format { path, colour_size: (width, height), .. } = &*self.file;
        let bytes = self.read(self.colour, WHAT)?;
        match self.file.colour {
            ColourKind::Picture => files::photo_of(&bytes, path).map_err(|e| self.naming_the_frame(e)),
            ColourKind::Raw => {
                let expected = u64::from(*width) * u64::from(*height) * 3;
                self.check_len(WHAT, bytes.len() as u64, expected)?;
                RgbImage::from_raw(*width, *height, bytes)
                    .ok_or_else(|| self.fault(WHAT, "it is too short".into()))
            }
        }
    }

    /// Width, height and numbers of the depth image, row-major.
    pub(crate) fn depth(&self) -> Result<(u32, u32, Vec<u16>), DataError> {
        const WHAT: &str = "depth image";
        let (width, height) = self.file.depth_size;
        let expected = depth_bytes((width, height));
        self.check()?;
        let stored = self.read(self.depth, WHAT)?;
        let bytes = match self.file.depth {
            DepthKind::Raw => stored,
            DepthKind::Zlib => {
                let mut bytes = Vec::with_capacity(expected as usize);
                // One byte more than there should be, to notice that there is more.
                let mut source = ZlibDecoder::new(&*stored).take(expected + 1);
                source.read_to_end(&mut bytes).map_err(|e| self.fault(WHAT, e.to_string()))?;
                bytes
            }
        };
        self.check_len(WHAT, bytes.len() as u64, expected)?;
        let (numbers, _) = bytes.as_chunks::<2>();
        Ok((width, height, numbers.iter().map(|b| u16::from_le_bytes(*b)).collect()))
    }

    fn read(&self, span: Span, what: &'static str) -> Result<Vec<u8>, DataError> {
        let path = &self.file.path;
        let fail = |source| DataError::Read { what, path: path.clone(), source };
        if span.len > files::MAX_FILE_BYTES {
            return Err(self.fault(what, format!("{} bytes are too many for it", span.len)));
        }
        let mut file = File::open(path).map_err(fail)?;
        file.seek(SeekFrom::Start(span.at)).map_err(fail)?;
        let mut bytes = Vec::new();
        file.take(span.len).read_to_end(&mut bytes).map_err(fail)?;
        if bytes.len() as u64 != span.len {
            return Err(self.fault(what, "the recording became shorter since it was opened".into()));
        }
        Ok(bytes)
    }

    fn check_len(&self, what: &'static str, got: u64, expected: u64) -> Result<(), DataError> {
        if got == expected {
            return Ok(());
        }
        let more = if got > expected { "more than" } else { "only" };
        let n = got.min(expected);
        Err(self
            .fault(what, format!("it has {more} {n} bytes of the {expected} that its size in pixels needs")))
    }

    fn fault(&self, what: &'static str, problem: String) -> DataError {
        let problem = format!("frame {}: {problem}", self.number);
        DataError::Image { what, problem, path: self.file.path.clone() }
    }

    fn naming_the_frame(&self, error: DataError) -> DataError {
        match error {
            DataError::Image { what, problem, .. } => self.fault(what, problem),
            other => other,
        }
    }
}
