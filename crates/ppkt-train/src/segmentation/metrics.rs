//! How right predictions are, per point.

use serde::{Deserialize, Serialize};

/// How often points of each class were taken for each class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    n: usize,
    /// `[n, n]`, row-major: rows are the truth, columns the prediction.
    counts: Vec<u64>,
}

/// Scores of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// Its name.
    pub name: String,
    /// Its colour.
    pub colour: [u8; 3],
    /// Intersection over union; `None` if the class is neither in the truth nor in the predictions.
    pub iou: Option<f64>,
    /// Share of its points that were found; `None` if it has none.
    pub accuracy: Option<f64>,
    /// Points of the class.
    pub points: u64,
}

/// Scores over all classes: the file `eval.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// `segmentation`.
    pub task: String,
    /// The frames that were measured.
    pub split: String,
    /// How many.
    pub frames: usize,
    /// Frames left out because they were damaged.
    pub skipped: usize,
    /// Labelled points.
    pub points: u64,
    /// Mean intersection over union of the classes that the truth has.
    pub miou: f64,
    /// Mean of the classes' accuracies, of those that the truth has.
    pub macc: f64,
    /// Share of all labelled points that are right.
    pub accuracy: f64,
    /// Class by class, without "unlabelled".
    pub classes: Vec<ClassScore>,
    /// Rows are the truth, columns the prediction.
    pub confusion: Vec<Vec<u64>>,
}

impl Confusion {
    /// Nothing counted yet, over `n` classes ("unlabelled" is none of them).
    pub fn new(n: usize) -> Self {
        Self { n, counts: vec![0; n * n] }
    }

    /// Counts points; both lists number classes from 1, and a truth of 0 is not counted.
    ///
    /// # Panics
    /// If the lists differ in length, a number is above the classes, or a prediction of a labelled point is 0.
    pub fn add(&mut self, truth: &[u16], prediction: &[u16]) {
        assert_eq!(truth.len(), prediction.len(), "one prediction for each point");
        for (&t, &p) in truth.iter().zip(prediction).filter(|(t, _)| **t != 0) {
            self.counts[(usize::from(t) - 1) * self.n + usize::from(p) - 1] += 1;
        }
    }

    /// Points of a class in the truth.
    fn truth(&self, class: usize) -> u64 {
        self.counts[class * self.n..(class + 1) * self.n].iter().sum()
    }

    /// Points taken for a class.
    fn predicted(&self, class: usize) -> u64 {
        self.counts.iter().skip(class).step_by(self.n).sum()
    }

    fn right(&self, class: usize) -> u64 {
        self.counts[class * (self.n + 1)]
    }

    /// Labelled points that were counted.
    pub fn points(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Intersection over union of a class: right over (truth or prediction); `None` where it occurs in neither.
    pub fn iou(&self, class: usize) -> Option<f64> {
        let right = self.right(class);
        share(right, self.truth(class) + self.predicted(class) - right)
    }

    /// Share of a class's points that were found; `None` without any.
    pub fn recall(&self, class: usize) -> Option<f64> {
        share(self.right(class), self.truth(class))
    }

    /// Mean intersection over union of the classes that the truth has; a class that it lacks is left out of the mean,
    /// though points taken for it count against the classes that they are of. 0 without any point.
    pub fn mean_iou(&self) -> f64 {
        mean((0..self.n).filter(|&c| self.truth(c) > 0).filter_map(|c| self.iou(c)))
    }

    /// Mean recall of the classes that the truth has; 0 without any point.
    pub fn mean_accuracy(&self) -> f64 {
        mean((0..self.n).filter_map(|c| self.recall(c)))
    }

    /// Share of all points that are right; 0 without any.
    pub fn accuracy(&self) -> f64 {
        share((0..self.n).map(|c| self.right(c)).sum(), self.points()).unwrap_or(0.0)
    }

    /// Rows of counts, truth by prediction.
    pub fn rows(&self) -> Vec<Vec<u64>> {
        self.counts.chunks(self.n.max(1)).map(<[u64]>::to_vec).collect()
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (n, sum) = values.fold((0, 0.0), |(n, sum), v| (n + 1, sum + v));
    if n == 0 { 0.0 } else { sum / f64::from(n) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use rand::RngExt;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    /// Sets of points, as the definition has it, and no matrix.
    fn by_sets(truth: &[u16], prediction: &[u16], n: usize) -> (f64, f64, f64) {
        let labelled: BTreeSet<usize> = (0..truth.len()).filter(|&i| truth[i] != 0).collect();
        let of = |list: &[u16], class: u16| -> BTreeSet<usize> {
            labelled.iter().copied().filter(|&i| list[i] == class).collect()
        };
        let (mut ious, mut recalls) = (Vec::new(), Vec::new());
        for class in 1..=n as u16 {
            let (own, taken) = (of(truth, class), of(prediction, class));
            if own.is_empty() {
                continue;
            }
            let both = own.intersection(&taken).count() as f64;
            ious.push(both / own.union(&taken).count() as f64);
            recalls.push(both / own.len() as f64);
        }
        let mean = |v: &[f64]| if v.is_empty() { 0.0 } else { v.iter().sum::<f64>() / v.len() as f64 };
        let right = labelled.iter().filter(|&&i| truth[i] == prediction[i]).count();
        let accuracy = if labelled.is_empty() { 0.0 } else { right as f64 / labelled.len() as f64 };
        (mean(&ious), mean(&recalls), accuracy)
    }

    #[test]
    fn twenty_random_cases_agree_with_sets_of_points() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let (mut absent, mut ignored) = (0, 0);
        for case in 0..20 {
            let n = rng.random_range(1..9usize);
            let points = if case == 0 { 0 } else { rng.random_range(1..400) };
            // Some classes never come, and the truth is unlabelled here and there.
            let present: Vec<u16> = (0..=n as u16).filter(|&c| c == 0 || rng.random_bool(0.7)).collect();
            let truth: Vec<u16> = (0..points).map(|_| present[rng.random_range(0..present.len())]).collect();
            let prediction: Vec<u16> = (0..points).map(|_| rng.random_range(1..=n as u16)).collect();
            let mut confusion = Confusion::new(n);
            let middle = points / 2;
            confusion.add(&truth[..middle], &prediction[..middle]);
            confusion.add(&truth[middle..], &prediction[middle..]);
            let (miou, macc, accuracy) = by_sets(&truth, &prediction, n);
            assert!((confusion.mean_iou() - miou).abs() < 1e-12, "case {case}");
            assert!((confusion.mean_accuracy() - macc).abs() < 1e-12, "case {case}");
            assert!((confusion.accuracy() - accuracy).abs() < 1e-12, "case {case}");
            assert_eq!(confusion.points() as usize, truth.iter().filter(|t| **t != 0).count());
            absent += n + 1 - present.len();
            ignored += truth.iter().filter(|t| **t == 0).count();
        }
        assert!(absent > 5 && ignored > 20, "the cases hold what they are for: {absent}, {ignored}");
    }

    #[test]
    fn an_absent_class_is_left_out_and_a_phantom_one_has_an_iou_of_zero() {
        let mut confusion = Confusion::new(4);
        confusion.add(&[1, 1, 2, 2, 0], &[1, 3, 2, 2, 4]);
        assert_eq!(confusion.iou(2), Some(0.0), "predicted, never true");
        assert_eq!(confusion.iou(3), None, "neither");
        assert_eq!(confusion.recall(2), None);
        assert_eq!(confusion.mean_iou(), 0.75);
        assert_eq!(confusion.rows()[0], [1, 0, 1, 0]);
    }
}
