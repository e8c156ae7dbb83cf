//! A cloud that a run leaves for people to look at: `samples/*.ply` of a run folder.

use std::path::Path;

use super::{Ply, PlyColumn};
use crate::DataError;

/// Begins the comment that says where the photograph was taken from.
const VIEWPOINT: &str = "viewpoint";

/// Points of one frame, and what each of them can be coloured by. Every list has one entry a point.
///
/// As a file it is a binary PLY with the vertex properties `x y z` (float), `red green blue`, `teacher_red …`,
/// `student_red …` (uchar), `label` and `prediction` (ushort), of which all but `x y z` may be missing. Any viewer of
/// point clouds opens it, and shows the photograph's colours. The viewpoint is a comment, `viewpoint X Y Z`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleCloud {
    /// Positions with z up, metres.
    pub points: Vec<[f32; 3]>,
    /// Colours of the photograph, sRGB.
    pub colours: Option<Vec<[u8; 3]>>,
    /// The teacher's features of the pixels that see the points, as colours (principal components).
    pub teacher: Option<Vec<[u8; 3]>>,
    /// The student's features of the points, in the same colours.
    pub student: Option<Vec<[u8; 3]>>,
    /// True classes, 0 where unlabelled.
    pub label: Option<Vec<u16>>,
    /// Predicted classes, numbered as `label`.
    pub prediction: Option<Vec<u16>>,
    /// Where the (first) photograph was taken from, metres: from there a viewer sees the surfaces from the right side.
    pub viewpoint: Option<[f32; 3]>,
}

impl SampleCloud {
    /// More points than this make a page slow and tell a reader nothing.
    pub const MOST_POINTS: usize = 20_000;

    /// Which of `n` points to keep so that at most [`Self::MOST_POINTS`] are left: evenly spread over their order.
    pub fn thinned(n: usize) -> Vec<usize> {
        let kept = n.min(Self::MOST_POINTS);
        (0..kept).map(|i| i * n / kept).collect()
    }

    /// The cloud as the vertices of a PLY file.
    ///
    /// # Panics
    /// If a list has another length than there are points.
    pub fn to_ply(&self) -> Ply {
        let axis = |k: usize| PlyColumn::F32(self.points.iter().map(|p| p[k]).collect());
        let mut ply = Ply::new(self.points.len()).with("x", axis(0)).with("y", axis(1)).with("z", axis(2));
        for (prefix, colours) in
            [("", &self.colours), ("teacher_", &self.teacher), ("student_", &self.student)]
        {
            for (k, name) in ["red", "green", "blue"].into_iter().enumerate() {
                if let Some(colours) = colours {
                    let channel = PlyColumn::U8(colours.iter().map(|c| c[k]).collect());
                    ply = ply.with(&format!("{prefix}{name}"), channel);
                }
            }
        }
        for (name, classes) in [("label", &self.label), ("prediction", &self.prediction)] {
            if let Some(classes) = classes {
                ply = ply.with(name, PlyColumn::U16(classes.clone()));
            }
        }
        match self.viewpoint {
            Some([x, y, z]) => ply.with_comment(&format!("{VIEWPOINT} {x} {y} {z}")),
            None => ply,
        }
    }

    /// Reads a cloud. Other properties are not looked at.
    ///
    /// # Errors
    /// If the file is no PLY file, a position is missing or not finite, or a colour or class has a wrong type; the
    /// error names the file.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let ply = Ply::read(path)?;
        Self::from_ply(&ply).map_err(|problem| DataError::Text {
            what: "point cloud",
            problem,
            path: path.to_owned(),
        })
    }

    /// # Errors
    /// What is wrong, in words.
    fn from_ply(ply: &Ply) -> Result<Self, String> {
        let axis = |name: &str| {
            let column = ply.column(name).ok_or_else(|| format!("its vertices have no property {name}"))?;
            let values: Vec<f32> = column.to_f64().iter().map(|&v| v as f32).collect();
            match values.iter().all(|v| v.is_finite()) {
                true => Ok(values),
                false => Err(format!("a vertex has an {name} that is not finite")),
            }
        };
        let (x, y, z) = (axis("x")?, axis("y")?, axis("z")?);
        Ok(Self {
            points: (0..ply.len()).map(|i| [x[i], y[i], z[i]]).collect(),
            colours: colours(ply, "")?,
            teacher: colours(ply, "teacher_")?,
            student: colours(ply, "student_")?,
            label: classes(ply, "label")?,
            prediction: classes(ply, "prediction")?,
            viewpoint: ply.comments().iter().find_map(|text| viewpoint(text)),
        })
    }
}

/// The place that a comment names, if it does so; a comment is no reason to refuse a file.
fn viewpoint(comment: &str) -> Option<[f32; 3]> {
    let numbers = comment.strip_prefix(VIEWPOINT)?.split_ascii_whitespace();
    let place: Vec<f32> = numbers.map(str::parse).collect::<Result<_, _>>().ok()?;
    let place = <[f32; 3]>::try_from(place).ok()?;
    place.iter().all(|x| x.is_finite()).then_some(place)
}

/// Three channels of a name, if all of them are there.
fn colours(ply: &Ply, prefix: &str) -> Result<Option<Vec<[u8; 3]>>, String> {
    let mut channels = Vec::new();
    for name in ["red", "green", "blue"] {
        match ply.column(&format!("{prefix}{name}")) {
            None => return Ok(None),
            Some(PlyColumn::U8(channel)) => channels.push(channel),
            Some(_) => return Err(format!("the property {prefix}{name} of its vertices is no uchar")),
        }
    }
    Ok(Some((0..ply.len()).map(|i| [channels[0][i], channels[1][i], channels[2][i]]).collect()))
}

fn classes(ply: &Ply, name: &str) -> Result<Option<Vec<u16>>, String> {
    let Some(column) = ply.column(name) else { return Ok(None) };
    let classes =
        column.to_u16().ok_or_else(|| format!("the {name} of a vertex is no class of 0 to 65535"))?;
    Ok(Some(classes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> SampleCloud {
        SampleCloud {
            points: vec![[0.0, 1.0, 2.0], [-1.0, 0.5, 0.25]],
            colours: Some(vec![[1, 2, 3], [4, 5, 6]]),
            teacher: Some(vec![[7, 8, 9], [10, 11, 12]]),
            student: Some(vec![[13, 14, 15], [16, 17, 18]]),
            label: Some(vec![0, 1000]),
            prediction: Some(vec![1, 2]),
            viewpoint: Some([0.5, -1.25, 1.6]),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ply");
        let bare = SampleCloud { points: vec![[1.0, 2.0, 3.0]], ..SampleCloud::default() };
        for cloud in [whole(), bare, SampleCloud::default()] {
            std::fs::write(&path, cloud.to_ply().to_bytes()).unwrap();
            assert_eq!(SampleCloud::read(&path).unwrap(), cloud);
        }
    }

    #[test]
    fn what_cannot_be_shown_is_named() {
        let fault = |ply: Ply| SampleCloud::from_ply(&ply).unwrap_err();
        let xy = Ply::new(1).with("x", PlyColumn::F32(vec![0.0])).with("y", PlyColumn::F32(vec![0.0]));
        assert!(fault(xy.clone()).contains("no property z"));
        assert!(fault(xy.clone().with("z", PlyColumn::F32(vec![f32::NAN]))).contains("not finite"));
        assert!(fault(xy.clone().with("z", PlyColumn::F64(vec![1e300]))).contains("not finite"));
        let xyz = xy.with("z", PlyColumn::F32(vec![0.0]));
        assert!(fault(xyz.clone().with("label", PlyColumn::I16(vec![-1]))).contains("label"));
        let grey =
            ["red", "green", "blue"].iter().fold(xyz, |ply, name| ply.with(name, PlyColumn::F32(vec![0.5])));
        assert!(fault(grey).contains("red"));
    }

    #[test]
    fn a_comment_is_no_reason_to_refuse_a_file() {
        assert_eq!(viewpoint("viewpoint 1 -2 3.5"), Some([1.0, -2.0, 3.5]));
        for other in ["viewpoint 1 2", "viewpoint 1 2 3 4", "viewpoint a b c", "viewpoint 1 2 inf", "by hand"]
        {
            assert_eq!(viewpoint(other), None);
        }
    }

    #[test]
    fn thinning_keeps_the_ends_and_spreads() {
        assert_eq!(SampleCloud::thinned(0), Vec::<usize>::new());
        assert_eq!(SampleCloud::thinned(3), [0, 1, 2]);
        let kept = SampleCloud::thinned(50_001);
        assert_eq!(kept.len(), SampleCloud::MOST_POINTS);
        assert!(kept.windows(2).all(|w| (2..=3).contains(&(w[1] - w[0]))) && kept[0] == 0);
    }
}
