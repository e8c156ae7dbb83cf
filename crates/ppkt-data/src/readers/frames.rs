//! The neutral layout for a user's own RGB-D: a folder with a `frames.toml` that says where everything is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ppkt_geometry::{Rigid3, frame};

use super::descriptor::{CameraEntry, parse};
use super::files::read_text;
use super::folder::{
    Cameras, FileCamera, FileWorld, FrameFiles, LabelRule, Layout, PoseOf, PoseSource, hold_out_by_name,
    hold_out_last, holdout, level_pose, limit_depth, thin_out, turning_up,
};
use super::frames_toml::{
    ByName, Choose, Direction, FrameEntry, FramesToml, LabelClass, LabelsEntry, PoseEntry, PoseValue,
    Validation, WhichCamera,
};
use super::listing::{folder_name, lines, names_if_any};
use super::rig::Rig;
use super::source::Source;
use super::text::{number, pose_of_rows};
use crate::uri::Options;
use crate::{Classes, DataError, DataUri};

const FILE: &str = "frames.toml";
const EXPECTED: &str = "frames.toml, which says where photos, depth, cameras and poses are (docs/frames.md)";

pub(crate) fn scan(uri: &DataUri, folder: PathBuf) -> Result<Layout, DataError> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Err(DataError::Empty { layout: "frames", expected: EXPECTED.into(), path: folder });
    }
    let toml: FramesToml = parse(&read_text(&path, "description of the frames")?, &path)?;
    let mut found = Found { folder, path: path.clone(), read: vec![path], notes: Vec::new() };
    let mut frames =
        if toml.frame.is_empty() { found.by_pattern(&toml)? } else { found.one_by_one(&toml)? };
    found.keep_only(&toml, &mut frames)?;
    found.name_scenes(&toml, &mut frames)?;
    if frames.is_empty() {
        let expected = "files that fit the patterns of its frames.toml".into();
        return Err(DataError::Empty { layout: "frames", expected, path: found.folder });
    }
    thin_out(&mut frames, uri.options())?;
    found.hold_out(&toml, &mut frames, uri.options())?;
    let rig = found.rig(&toml)?;
    let mut encoding = toml.depth.entry().encoding().map_err(|e| found.wrong(format!("[depth] {e}")))?;
    limit_depth(&mut encoding, uri.options())?;
    let (pose_of, world_from_file) = found.world(&toml, &rig)?;
    let labels = toml.labels.as_ref().map(|l| found.label_rule(l)).transpose()?;
    Ok(Layout {
        uri: uri.clone(),
        folder: found.folder,
        frames,
        cameras: Cameras::Shared(Arc::new(rig)),
        cropped: None,
        pose_of,
        world_from_file,
        encoding,
        labels,
        notes: found.notes,
        read: found.read,
        split_remedy: "[split] in frames.toml, or the option holdout, says which frames are held out",
    })
}

/// Where the pose of a frame is, by the frame's name.
type PoseOfFrame = Box<dyn FnMut(&str) -> PoseSource>;

/// A folder, and what was learnt on the way.
struct Found {
    folder: PathBuf,
    path: PathBuf,
    read: Vec<PathBuf>,
    notes: Vec<String>,
}

impl Found {
    fn wrong(&self, problem: impl Into<String>) -> DataError {
        DataError::Descriptor { problem: problem.into(), path: self.path.clone() }
    }

    fn camera(&self, section: &str, entry: &CameraEntry) -> Result<ppkt_geometry::CameraModel, DataError> {
        entry.model().map_err(|e| self.wrong(format!("[{section}.camera] {e}")))
    }

    fn rig(&self, toml: &FramesToml) -> Result<Rig, DataError> {
        let colour = self.camera("colour", &toml.colour.camera)?;
        match (&toml.depth.camera, &toml.depth.colour_from_depth, toml.depth.size) {
            (None, None, None) => Ok(Rig::registered(colour)),
            (None, None, Some([0, _] | [_, 0])) => Err(self.wrong("[depth] size has a zero")),
            (None, None, Some([width, height])) => {
                Ok(Rig::two(colour, colour.resized(width, height), Rigid3::identity()))
            }
            (Some(_), _, Some(_)) => Err(self.wrong("[depth] give size or camera, not both")),
            (Some(entry), Some(rows), None) => {
                let offset = pose_of_rows(rows.as_flattened())
                    .map_err(|e| self.wrong(format!("[depth] colour_from_depth: {e}")))?;
                Ok(Rig::two(colour, self.camera("depth", entry)?, offset))
            }
            (Some(_), None, None) => Err(self.wrong(
                "[depth] has a camera of its own, so say where it is: colour_from_depth = four rows of a 4×4 matrix \
                 (point in the colour camera = matrix · point in the depth camera); if depth is registered to the \
                 photo, leave the camera out",
            )),
            (None, Some(_), _) => {
                Err(self.wrong("[depth] has colour_from_depth but no [depth.camera]; give both, or neither"))
            }
        }
    }

    /// Which camera the poses are of, and the turn of their world.
    fn world(
        &self,
        toml: &FramesToml,
        rig: &Rig,
    ) -> Result<(PoseOf, Rigid3<frame::World, FileWorld>), DataError> {
        let Some(pose) = &toml.pose else { return Ok((PoseOf::Colour, level_pose())) };
        let of = match (pose.of, rig.colour_from_depth.is_some() && toml.depth.camera.is_some()) {
            (Some(WhichCamera::Depth), _) => PoseOf::Depth,
            (Some(WhichCamera::Colour), _) | (None, false) => PoseOf::Colour,
            (None, true) => {
                return Err(self.wrong(
                    "[pose] with two cameras, say whose poses they are: of = \"colour\" or \"depth\"",
                ));
            }
        };
        let length = pose.up.iter().map(|c| c * c).sum::<f64>().sqrt();
        if !(length.is_finite() && length > 1e-6) {
            return Err(self.wrong("[pose] up is no direction"));
        }
        Ok((of, turning_up(pose.up)))
    }

    /// Frames from patterns: every name for which a photo or a depth image is there.
    fn by_pattern(&mut self, toml: &FramesToml) -> Result<Vec<FrameFiles>, DataError> {
        let pattern = |section: &str, files: &Option<String>| {
            let text = files.as_deref().ok_or_else(|| {
                self.wrong(format!(
                    "[{section}] needs files = \"FOLDER/*.ENDING\", or list frames with [[frame]]"
                ))
            })?;
            Pattern::new(text).map_err(|e| self.wrong(format!("[{section}] files: {e}")))
        };
        let colour = pattern("colour", &toml.colour.files)?;
        let depth = pattern("depth", &toml.depth.files)?;
        let labels = toml.labels.as_ref().map(|l| pattern("labels", &l.files)).transpose()?;
        let (photos, depths) = (colour.find(&self.folder)?, depth.find(&self.folder)?);
        let all: BTreeSet<&String> = photos.keys().chain(depths.keys()).collect();
        let mut all: Vec<String> = all.into_iter().cloned().collect();
        all.sort_by(|a, b| natural_order(a, b));
        let mut poses = self.poses(toml)?;
        let frame = |name: String| FrameFiles {
            colour: photos.get(&name).cloned().unwrap_or_else(|| colour.path(&self.folder, &name)),
            depth: depths.get(&name).cloned().unwrap_or_else(|| depth.path(&self.folder, &name)),
            labels: labels.as_ref().map(|l| l.path(&self.folder, &name)),
            pose: poses(&name),
            scene: None,
            source: Source::Files,
            intrinsics: None,
            held_out: false,
            name,
        };
        Ok(all.into_iter().map(frame).collect())
    }

    /// Where the pose of a frame is, by its name.
    fn poses(&mut self, toml: &FramesToml) -> Result<PoseOfFrame, DataError> {
        let Some(entry) = &toml.pose else { return Ok(Box::new(|_| PoseSource::Level)) };
        match (&entry.files, &entry.list) {
            (Some(text), None) => {
                if entry.direction == Direction::CameraFromWorld {
                    return self.inverted_files(text);
                }
                let pattern = Pattern::new(text).map_err(|e| self.wrong(format!("[pose] files: {e}")))?;
                let folder = self.folder.clone();
                Ok(Box::new(move |name| PoseSource::File(pattern.path(&folder, name))))
            }
            (None, Some(list)) => {
                let path = self.folder.join(list);
                let listed = self.listed(&path, entry)?;
                Ok(Box::new(move |name| {
                    listed.get(name).cloned().unwrap_or_else(|| PoseSource::Broken {
                        problem: "the list has no line for it; add one, or remove the frame".into(),
                        path: path.clone(),
                    })
                }))
            }
            _ => Err(self.wrong("[pose] needs files = \"FOLDER/*.txt\" or list = \"FILE\", one of the two")),
        }
    }

    /// Poses in files that lead from world to camera are read at once: the rest of the program knows one direction.
    fn inverted_files(&self, text: &str) -> Result<PoseOfFrame, DataError> {
        let pattern = Pattern::new(text).map_err(|e| self.wrong(format!("[pose] files: {e}")))?;
        let folder = self.folder.clone();
        Ok(Box::new(move |name| {
            let path = pattern.path(&folder, name);
            if !path.exists() {
                return PoseSource::File(path);
            }
            match super::text::read_pose::<FileCamera, FileWorld>(&path, name) {
                Ok(pose) => PoseSource::Known(pose.inverse()),
                Err(DataError::Pose { problem, path, .. }) => PoseSource::Broken { problem, path },
                Err(other) => PoseSource::Broken { problem: other.to_string(), path },
            }
        }))
    }

    /// Poses by name from one file.
    fn listed(&mut self, path: &Path, entry: &PoseEntry) -> Result<BTreeMap<String, PoseSource>, DataError> {
        let text = read_text(path, "list of poses")?;
        let mut listed = BTreeMap::new();
        for (line, row) in lines(&text) {
            let wrong = |problem: String| DataError::Text {
                what: "list of poses",
                problem: format!("line {line} {problem}"),
                path: path.to_owned(),
            };
            let mut cells = row.split([' ', '\t', ',']).filter(|t| !t.is_empty());
            let name = cells.next().unwrap_or_default();
            let numbers = cells.map(number).collect::<Result<Vec<_>, _>>().map_err(&wrong)?;
            let seven: [f64; 7] = numbers.try_into().map_err(|n: Vec<f64>| {
                wrong(format!("has {} numbers after the name, not 7: tx ty tz qx qy qz qw", n.len()))
            })?;
            let pose = Rigid3::<FileWorld, FileCamera>::from_tum(seven);
            let source = match (pose, entry.direction) {
                (Ok(pose), Direction::WorldFromCamera) => PoseSource::Known(pose),
                (Ok(pose), Direction::CameraFromWorld) => PoseSource::Known(pose.inverse().with_frames()),
                (Err(e), _) => {
                    PoseSource::Broken { problem: format!("line {line}: {e}"), path: path.to_owned() }
                }
            };
            if listed.insert(name.to_owned(), source).is_some() {
                return Err(wrong(format!("names {name} again")));
            }
        }
        self.read.push(path.to_owned());
        Ok(listed)
    }

    /// Frames from `[[frame]]` entries.
    fn one_by_one(&mut self, toml: &FramesToml) -> Result<Vec<FrameFiles>, DataError> {
        if toml.colour.files.is_some() || toml.depth.files.is_some() {
            return Err(self.wrong("give patterns (files = …) or frames one by one ([[frame]]), not both"));
        }
        let mut names = BTreeSet::new();
        let mut frames = Vec::new();
        for entry in &toml.frame {
            let stem = || entry.colour.file_stem().map(|s| s.to_string_lossy().into_owned());
            let name = entry.name.clone().or_else(stem).unwrap_or_default();
            if !names.insert(name.clone()) {
                return Err(self.wrong(format!("two frames are named {name:?}; give them a name each")));
            }
            frames.push(FrameFiles {
                colour: self.folder.join(&entry.colour),
                depth: self.folder.join(&entry.depth),
                labels: self.labels_of(entry, &name, toml)?,
                pose: self.pose_of(entry, &name, toml)?,
                scene: entry.scene.clone(),
                source: Source::Files,
                intrinsics: None,
                held_out: false,
                name,
            });
        }
        Ok(frames)
    }

    fn labels_of(
        &self,
        entry: &FrameEntry,
        name: &str,
        toml: &FramesToml,
    ) -> Result<Option<PathBuf>, DataError> {
        match (&entry.labels, &toml.labels) {
            (Some(path), Some(_)) => Ok(Some(self.folder.join(path))),
            (None, None) => Ok(None),
            (Some(_), None) => {
                Err(self.wrong(format!("frame {name:?} has labels, but there is no [labels] with classes")))
            }
            (None, Some(_)) => {
                Err(self.wrong(format!("frame {name:?} has no labels, but there is a [labels] section")))
            }
        }
    }

    fn pose_of(&self, entry: &FrameEntry, name: &str, toml: &FramesToml) -> Result<PoseSource, DataError> {
        let (Some(value), Some(section)) = (&entry.pose, &toml.pose) else {
            return match (&entry.pose, &toml.pose) {
                (None, None) => Ok(PoseSource::Level),
                (Some(_), _) => {
                    Err(self
                        .wrong(format!("frame {name:?} has a pose, but there is no [pose] that explains it")))
                }
                (None, Some(_)) => {
                    Err(self.wrong(format!("frame {name:?} has no pose, but there is a [pose] section")))
                }
            };
        };
        let path = match value {
            PoseValue::File(file) => self.folder.join(file),
            PoseValue::Matrix(_) => self.path.clone(),
        };
        let inverted = section.direction == Direction::CameraFromWorld;
        let pose = match value {
            PoseValue::File(_) if !inverted || !path.exists() => return Ok(PoseSource::File(path)),
            PoseValue::File(_) => {
                super::text::read_pose::<FileWorld, FileCamera>(&path, name).map_err(|e| e.to_string())
            }
            PoseValue::Matrix(rows) => pose_of_rows(rows.as_flattened()),
        };
        Ok(match pose {
            Ok(pose) if inverted => PoseSource::Known(pose.inverse().with_frames()),
            Ok(pose) => PoseSource::Known(pose),
            Err(problem) => PoseSource::Broken { problem, path },
        })
    }

    /// Keeps the frames that `only` names.
    fn keep_only(&mut self, toml: &FramesToml, frames: &mut Vec<FrameFiles>) -> Result<(), DataError> {
        let Some(file) = &toml.only else { return Ok(()) };
        let wanted = self.names_in(file, frames)?;
        frames.retain(|f| wanted.contains(&f.name));
        Ok(())
    }

    /// Says of each frame which scene it is of: as listed; else, with poses, all are of one, since all are in one world.
    fn name_scenes(&mut self, toml: &FramesToml, frames: &mut [FrameFiles]) -> Result<(), DataError> {
        if let Some(file) = &toml.scenes {
            let path = self.folder.join(file);
            let text = read_text(&path, "list of scenes")?;
            let mut listed = BTreeMap::new();
            for (line, row) in lines(&text) {
                let cells = row.split_once('\t').or_else(|| row.split_once([' ', ',']));
                let (name, scene) = cells.ok_or_else(|| DataError::Text {
                    what: "list of scenes",
                    problem: format!("line {line} should be a frame's name and its scene"),
                    path: path.clone(),
                })?;
                listed.insert(name, scene.trim());
            }
            for frame in frames {
                let scene = listed.get(frame.name.as_str()).ok_or_else(|| DataError::Text {
                    what: "list of scenes",
                    problem: format!("it has no line for frame {:?}", frame.name),
                    path: path.clone(),
                })?;
                frame.scene = Some((*scene).to_owned());
            }
            self.read.push(path);
        } else if toml.pose.is_some() {
            let scene = folder_name(&self.folder);
            frames.iter_mut().for_each(|f| _ = f.scene.get_or_insert_with(|| scene.clone()));
        }
        Ok(())
    }

    /// Names in a file, each of which must be a frame.
    fn names_in(&mut self, file: &Path, frames: &[FrameFiles]) -> Result<BTreeSet<String>, DataError> {
        let path = self.folder.join(file);
        let wanted = lines(&read_text(&path, "list of frames")?).map(|(_, l)| l.to_owned()).collect();
        check_names(&wanted, frames, &path)?;
        self.read.push(path);
        Ok(wanted)
    }

    fn hold_out(
        &mut self,
        toml: &FramesToml,
        frames: &mut [FrameFiles],
        options: &Options,
    ) -> Result<(), DataError> {
        let share = match (&toml.split.validation, options.text("holdout")) {
            (_, Some(_)) | (None, None) => holdout(options)?,
            (Some(Validation::Share(share)), None) if (0.0..=1.0).contains(share) => *share,
            (Some(Validation::Share(share)), None) => {
                return Err(self.wrong(format!("[split] validation is {share}, but a share is from 0 to 1")));
            }
            (Some(Validation::File(file)), None) => {
                let names = self.names_in(file, frames)?;
                frames.iter_mut().for_each(|f| f.held_out = names.contains(&f.name));
                return Ok(());
            }
            (Some(Validation::Names(list)), None) => {
                let names = list.iter().cloned().collect();
                check_names(&names, frames, &self.path)?;
                frames.iter_mut().for_each(|f| f.held_out = names.contains(&f.name));
                return Ok(());
            }
        };
        // With poses the frames are a sequence, whose neighbours are nearly the same.
        let by_default = if toml.pose.is_some() { Choose::Last } else { Choose::ByName };
        match toml.split.choose.unwrap_or(by_default) {
            Choose::Last => hold_out_last(frames, share),
            Choose::ByName => hold_out_by_name(frames, share),
        }
        Ok(())
    }

    fn label_rule(&self, entry: &LabelsEntry) -> Result<LabelRule, DataError> {
        let mut names = Vec::new();
        let mut colours = Vec::new();
        let mut map: BTreeMap<u16, u16> = BTreeMap::from([(0, 0)]);
        let with_numbers =
            entry.classes.iter().any(|c| matches!(c, LabelClass::Full(f) if f.numbers.is_some()));
        for (class, entry) in (1u16..).zip(&entry.classes) {
            let (name, colour, numbers) = match entry {
                LabelClass::Name(name) => (name, None, None),
                LabelClass::Full(full) => (&full.name, full.colour, full.numbers.as_ref()),
            };
            names.push(name.clone());
            colours.push(colour);
            for number in numbers.cloned().unwrap_or_else(|| vec![class]) {
                if map.insert(number, class).is_some_and(|other| other != class && number != 0) {
                    return Err(self.wrong(format!("[labels] the number {number} stands for two classes")));
                }
            }
        }
        if names.is_empty() {
            return Err(self.wrong("[labels] classes is empty"));
        }
        // With numbers spelt out, all others are unlabelled; without, they are a mistake.
        let end = if with_numbers { u16::MAX } else { names.len() as u16 };
        let map = (0..=end).map(|n| map.get(&n).copied().unwrap_or(0)).collect();
        let classes = match colours.into_iter().collect::<Option<Vec<_>>>() {
            Some(colours) => Classes::new(names, colours),
            None => Classes::with_spread_colours(names),
        };
        Ok(LabelRule { map, classes })
    }
}

fn check_names(names: &BTreeSet<String>, frames: &[FrameFiles], path: &Path) -> Result<(), DataError> {
    let there: BTreeSet<&str> = frames.iter().map(|f| f.name.as_str()).collect();
    match names.iter().find(|n| !there.contains(n.as_str())) {
        None => Ok(()),
        Some(name) => Err(DataError::Descriptor {
            problem: format!("it names frame {name:?}, which is not there"),
            path: path.to_owned(),
        }),
    }
}

/// A path with one star, which stands for the frame's name.
struct Pattern {
    /// Folders before the part with the star.
    folder: PathBuf,
    /// The part with the star, before and after it.
    before: String,
    after: String,
    /// What follows: `color.png` in `*/color.png`.
    rest: PathBuf,
}

impl Pattern {
    fn new(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let with_star: Vec<usize> = (0..parts.len()).filter(|i| parts[*i].contains('*')).collect();
        let &[at] = with_star.as_slice() else {
            return Err(format!(
                "{text:?} should have one star, for the frame's name, as in \"colour/*.jpg\""
            ));
        };
        let (before, after) = parts[at].split_once('*').unwrap_or_default();
        if after.contains('*') {
            return Err(format!("{text:?} has two stars; one stands for the frame's name"));
        }
        Ok(Self {
            folder: if at == 0 { PathBuf::new() } else { PathBuf::from(parts[..at].join("/")) },
            before: before.to_owned(),
            after: after.to_owned(),
            rest: parts[at + 1..].iter().collect(),
        })
    }

    /// The path for a name.
    fn path(&self, root: &Path, name: &str) -> PathBuf {
        let path = root.join(&self.folder).join(format!("{}{name}{}", self.before, self.after));
        if self.rest.as_os_str().is_empty() { path } else { path.join(&self.rest) }
    }

    /// All that is there.
    fn find(&self, root: &Path) -> Result<ByName, DataError> {
        let all = names_if_any(&root.join(&self.folder))?;
        let name = |file: &String| {
            let name = file.strip_prefix(&self.before)?.strip_suffix(&self.after)?;
            let path = self.path(root, name);
            (!name.is_empty() && path.is_file()).then(|| (name.to_owned(), path))
        };
        Ok(all.iter().filter_map(name).collect())
    }
}

/// `frame2` before `frame10`: runs of digits compare as numbers.
pub(crate) fn natural_order(a: &str, b: &str) -> std::cmp::Ordering {
    let key = |text: &str| {
        let mut parts: Vec<(String, usize, String)> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let words = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let (word, after) = rest.split_at(words);
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let (number, after) = after.split_at(digits);
            let number = number.trim_start_matches('0');
            parts.push((word.to_owned(), number.len(), number.to_owned()));
            rest = after;
        }
        parts
    };
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_compare_as_numbers() {
        let mut names = vec!["f10", "f2", "f1", "f02", "g", "f2b", "f"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["f", "f1", "f02", "f2", "f2b", "f10", "g"]);
    }

    #[test]
    fn patterns_have_one_star() {
        assert!(Pattern::new("colour/a.jpg").is_err());
        assert!(Pattern::new("*/x/*.jpg").is_err());
        assert!(Pattern::new("a**.jpg").is_err());
        let pattern = Pattern::new("data/*/colour.png").unwrap();
        assert_eq!(pattern.path(Path::new("r"), "7"), Path::new("r/data/7/colour.png"));
        let pattern = Pattern::new("f-*.png").unwrap();
        assert_eq!(pattern.path(Path::new("r"), "7"), Path::new("r/f-7.png"));
    }

    #[test]
    fn what_the_documents_show_is_right() {
        let template = include_str!("../../../../datasets/frames/frames.toml");
        let guide = include_str!("../../../../docs/frames.md");
        let blocks: Vec<&str> =
            guide.split("```toml").skip(1).filter_map(|b| b.split("```").next()).collect();
        assert_eq!(blocks.len(), 3);
        // The lines that a template offers as comments are right, too.
        let spelt_out: String = template
            .lines()
            .map(|l| l.strip_prefix("# ").filter(|l| is_toml(l)).unwrap_or(l))
            .map(|l| format!("{l}\n"))
            .collect();
        let one_by_one = [
            blocks[0].replace("files", "# files"),
            blocks[2].replace("labels", "# labels").replace("pose", "# pose"),
        ]
        .concat();
        for text in [template, &spelt_out, blocks[0], blocks[1], &one_by_one] {
            let toml: FramesToml = parse(text, Path::new("shown")).unwrap_or_else(|e| panic!("{e}\n{text}"));
            toml.depth.entry().encoding().unwrap();
            toml.colour.camera.model().unwrap();
        }
        let spelt_out: FramesToml = parse(&spelt_out, Path::new("shown")).unwrap();
        assert!(spelt_out.depth.camera.is_some() && spelt_out.pose.is_some() && spelt_out.labels.is_some());
    }

    fn is_toml(line: &str) -> bool {
        line.starts_with('[') || line.contains(" = ")
    }
}
