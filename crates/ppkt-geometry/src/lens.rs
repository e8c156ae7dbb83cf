//! Lens models: how a ray becomes a place on the plane at distance 1, and back.

/// A lens model with its coefficients, under their published names.
///
/// With `x = X/Z`, `y = Y/Z`, `r² = x² + y²`, each model gives `(x', y')`, and the pixel is
/// `u = fx·x' + cx`, `v = fy·y' + cy`.
///
/// Every model but [`Lens::Pinhole`] and [`Lens::Equirectangular`] is a polynomial fitted inside the image, which
/// folds back on itself at some angle outside it. From there on a point would land on a pixel that shows something
/// else, so [`crate::CameraModel::project`] refuses it; the limit is found once, as the smallest positive zero of the
/// derivative of the radial part.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "model", rename_all = "snake_case", deny_unknown_fields))]
pub enum Lens {
    /// No distortion: `x' = x`, `y' = y`.
    Pinhole,
    /// Brown–Conrady, OpenCV's five parameters (also "plumb bob", "radial-tangential").
    ///
    /// `x' = x·(1 + k1 r² + k2 r⁴ + k3 r⁶) + 2 p1 x y + p2 (r² + 2x²)`,
    /// `y' = y·(1 + k1 r² + k2 r⁴ + k3 r⁶) + p1 (r² + 2y²) + 2 p2 x y`.
    BrownConrady {
        /// Radial, r².
        k1: f64,
        /// Radial, r⁴.
        k2: f64,
        /// Tangential.
        p1: f64,
        /// Tangential.
        p2: f64,
        /// Radial, r⁶.
        k3: f64,
    },
    /// OpenCV's eight parameters: the radial factor is
    /// `(1 + k1 r² + k2 r⁴ + k3 r⁶) / (1 + k4 r² + k5 r⁴ + k6 r⁶)`, tangential as [`Lens::BrownConrady`].
    Rational {
        /// Radial, numerator, r².
        k1: f64,
        /// Radial, numerator, r⁴.
        k2: f64,
        /// Tangential.
        p1: f64,
        /// Tangential.
        p2: f64,
        /// Radial, numerator, r⁶.
        k3: f64,
        /// Radial, denominator, r².
        k4: f64,
        /// Radial, denominator, r⁴.
        k5: f64,
        /// Radial, denominator, r⁶.
        k6: f64,
    },
    /// Fisheye of Kannala and Brandt (2006), as OpenCV's `fisheye`: with the angle `θ` between ray and optical axis,
    /// `θ' = θ (1 + k1 θ² + k2 θ⁴ + k3 θ⁶ + k4 θ⁸)`, and `(x', y')` lies at distance `θ'` in the direction of the ray.
    ///
    /// `θ` is measured over the full half turn, so rays beyond 90° from the axis are seen if the polynomial still
    /// rises there (OpenCV's own function takes `atan(r)` and cannot tell them from rays in front).
    KannalaBrandt {
        /// θ³.
        k1: f64,
        /// θ⁵.
        k2: f64,
        /// θ⁷.
        k3: f64,
        /// θ⁹.
        k4: f64,
    },
    /// A full panorama: `x'` is the azimuth `atan2(X, Z)` (0 straight ahead, positive to the right), `y'` the angle
    /// below the horizon `atan2(Y, √(X² + Z²))`, radians. Make one with [`crate::CameraModel::equirectangular`].
    Equirectangular,
}

/// Steps after which an iterative inverse is given up. Newton needs about five; the bracketing needs at most 60.
const MAX_STEPS: usize = 80;

/// How close, relatively, the radial inverse gets before Newton in two dimensions takes over and squares the rest.
const ROUGH: f64 = 1e-3;

/// Left-over of the inverse, in normalised coordinates, that still counts as solved: a millionth of a pixel or less.
const SOLVED: f64 = 1e-11;

/// Left-over below which another step would only stir the last digit.
const ROUNDING: f64 = 2e-15;

/// What stops an inverse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum InverseFailure {
    /// Beyond the limit of the model.
    Outside,
    /// Not settled; what was left.
    NoConvergence(f64),
}

impl Lens {
    /// From OpenCV's vector `k1 k2 p1 p2 k3`.
    pub const fn brown_conrady_opencv([k1, k2, p1, p2, k3]: [f64; 5]) -> Self {
        Self::BrownConrady { k1, k2, p1, p2, k3 }
    }

    /// From OpenCV's vector `k1 k2 p1 p2 k3 k4 k5 k6`.
    pub const fn rational_opencv([k1, k2, p1, p2, k3, k4, k5, k6]: [f64; 8]) -> Self {
        Self::Rational { k1, k2, p1, p2, k3, k4, k5, k6 }
    }

    /// From OpenCV's fisheye vector `k1 k2 k3 k4`.
    pub const fn kannala_brandt_opencv([k1, k2, k3, k4]: [f64; 4]) -> Self {
        Self::KannalaBrandt { k1, k2, k3, k4 }
    }

    /// Whether the model divides by depth, and so sees only what lies in front of the camera.
    pub const fn is_perspective(&self) -> bool {
        matches!(self, Self::Pinhole | Self::BrownConrady { .. } | Self::Rational { .. })
    }

    /// All coefficients, for checks.
    pub(crate) fn coefficients(&self) -> [f64; 8] {
        match *self {
            Self::Pinhole | Self::Equirectangular => [0.0; 8],
            Self::BrownConrady { k1, k2, p1, p2, k3 } => [k1, k2, p1, p2, k3, 0.0, 0.0, 0.0],
            Self::Rational { k1, k2, p1, p2, k3, k4, k5, k6 } => [k1, k2, p1, p2, k3, k4, k5, k6],
            Self::KannalaBrandt { k1, k2, k3, k4 } => [k1, k2, k3, k4, 0.0, 0.0, 0.0, 0.0],
        }
    }

    /// The largest radius (perspective models: `r`; fisheye: `θ`, radians) up to which the radial part rises.
    pub(crate) fn radial_limit(&self) -> f64 {
        match *self {
            Self::Pinhole | Self::Equirectangular => f64::INFINITY,
            // With s = r²: d/dr [r N(s)] = 1 + 3 k1 s + 5 k2 s² + 7 k3 s³.
            Self::BrownConrady { k1, k2, k3, .. } => {
                smallest_positive_root(&[1.0, 3.0 * k1, 5.0 * k2, 7.0 * k3]).sqrt()
            }
            Self::Rational { k1, k2, k3, k4, k5, k6, .. } => {
                let (n, d) = ([1.0, k1, k2, k3], [1.0, k4, k5, k6]);
                // d/dr [r N/D] has the sign of (N + 2sN')·D − 2s·N·D', and D must not vanish on the way.
                let mut slope = [0.0; 7];
                for (i, &n_i) in n.iter().enumerate() {
                    for (j, &d_j) in d.iter().enumerate() {
                        slope[i + j] += (1.0 + 2.0 * i as f64 - 2.0 * j as f64) * n_i * d_j;
                    }
                }
                smallest_positive_root(&slope).min(smallest_positive_root(&d)).sqrt()
            }
            // With s = θ²: dθ'/dθ = 1 + 3 k1 s + 5 k2 s² + 7 k3 s³ + 9 k4 s⁴.
            Self::KannalaBrandt { k1, k2, k3, k4 } => {
                smallest_positive_root(&[1.0, 3.0 * k1, 5.0 * k2, 7.0 * k3, 9.0 * k4])
                    .sqrt()
                    .min(std::f64::consts::PI)
            }
        }
    }

    /// Perspective models: the radial factor at `s = r²`.
    #[inline]
    fn radial_factor(&self, s: f64) -> f64 {
        match *self {
            Self::BrownConrady { k1, k2, k3, .. } => 1.0 + s * (k1 + s * (k2 + s * k3)),
            Self::Rational { k1, k2, k3, k4, k5, k6, .. } => {
                (1.0 + s * (k1 + s * (k2 + s * k3))) / (1.0 + s * (k4 + s * (k5 + s * k6)))
            }
            _ => 1.0,
        }
    }

    /// Perspective models: derivative of the radial factor by `s = r²`.
    #[inline]
    fn ds_radial_factor(&self, s: f64) -> f64 {
        match *self {
            Self::BrownConrady { k1, k2, k3, .. } => k1 + s * (2.0 * k2 + s * 3.0 * k3),
            Self::Rational { k1, k2, k3, k4, k5, k6, .. } => {
                let n = 1.0 + s * (k1 + s * (k2 + s * k3));
                let d = 1.0 + s * (k4 + s * (k5 + s * k6));
                let ds_n = k1 + s * (2.0 * k2 + s * 3.0 * k3);
                let ds_d = k4 + s * (2.0 * k5 + s * 3.0 * k6);
                (ds_n * d - n * ds_d) / (d * d)
            }
            _ => 0.0,
        }
    }

    #[inline]
    fn tangential(&self) -> (f64, f64) {
        match *self {
            Self::BrownConrady { p1, p2, .. } | Self::Rational { p1, p2, .. } => (p1, p2),
            _ => (0.0, 0.0),
        }
    }

    /// Perspective models: normalised coordinates to distorted ones. The caller has checked the limit.
    #[inline]
    pub(crate) fn distort(&self, x: f64, y: f64) -> (f64, f64) {
        if matches!(self, Self::Pinhole) {
            return (x, y);
        }
        let (p1, p2) = self.tangential();
        let (xx, yy, xy) = (x * x, y * y, x * y);
        let s = xx + yy;
        let factor = self.radial_factor(s);
        (x * factor + 2.0 * p1 * xy + p2 * (s + 2.0 * xx), y * factor + p1 * (s + 2.0 * yy) + 2.0 * p2 * xy)
    }

    /// Perspective models: distorted coordinates to normalised ones.
    ///
    /// Steps: Newton in two dimensions from the distorted place itself, which settles in a few steps for all but
    /// strong lenses. Where it does not, the radial part alone is inverted by a bracketed search, which cannot miss
    /// since that part rises up to `limit`, and Newton starts from there.
    pub(crate) fn undistort(&self, x_d: f64, y_d: f64, limit: f64) -> Result<(f64, f64), InverseFailure> {
        if matches!(self, Self::Pinhole) {
            return Ok((x_d, y_d));
        }
        if let Ok(found) = self.undistort_from((x_d, y_d), (x_d, y_d), limit) {
            return Ok(found);
        }
        let r_d = (x_d * x_d + y_d * y_d).sqrt();
        let radial = |r: f64| {
            let s = r * r;
            let factor = self.radial_factor(s);
            (r * factor, factor + 2.0 * s * self.ds_radial_factor(s))
        };
        let r = match invert_rising(radial, r_d, limit, ROUGH) {
            Some(r) => r,
            // Tangential terms can carry a ray a little beyond what the radial part reaches.
            None if self.tangential() != (0.0, 0.0) && limit.is_finite() => limit * 0.999,
            None => return Err(InverseFailure::Outside),
        };
        let shrink = if r_d > 0.0 { r / r_d } else { 1.0 };
        self.undistort_from((x_d * shrink, y_d * shrink), (x_d, y_d), limit)
    }

    /// Newton in two dimensions, from a start.
    fn undistort_from(
        &self,
        (mut x, mut y): (f64, f64),
        (x_d, y_d): (f64, f64),
        limit: f64,
    ) -> Result<(f64, f64), InverseFailure> {
        let (p1, p2) = self.tangential();
        let mut left = f64::INFINITY;
        for _ in 0..MAX_STEPS {
            let (dx, dy) = self.distort(x, y);
            let (e_x, e_y) = (dx - x_d, dy - y_d);
            let now = e_x.abs() + e_y.abs();
            // Rounding may keep the residual from the last digit; stop when it is small and no longer falls.
            if now < ROUNDING || (now < SOLVED && now >= 0.5 * left) {
                left = now.min(left);
                break;
            }
            left = now;
            let s = x * x + y * y;
            let (f, f_s) = (self.radial_factor(s), self.ds_radial_factor(s));
            let a = f + 2.0 * f_s * x * x + 2.0 * p1 * y + 6.0 * p2 * x;
            let b = 2.0 * f_s * x * y + 2.0 * p1 * x + 2.0 * p2 * y;
            let d = f + 2.0 * f_s * y * y + 6.0 * p1 * y + 2.0 * p2 * x;
            let det = a * d - b * b;
            if det <= 0.0 || !det.is_finite() {
                return Err(InverseFailure::Outside);
            }
            let per_det = det.recip();
            x -= (d * e_x - b * e_y) * per_det;
            y -= (a * e_y - b * e_x) * per_det;
        }
        // NaN must not pass.
        if left.is_nan() || left > SOLVED * (1.0 + x_d.abs() + y_d.abs()) {
            return Err(InverseFailure::NoConvergence(left));
        }
        if x * x + y * y > limit * limit {
            return Err(InverseFailure::Outside);
        }
        Ok((x, y))
    }

    /// Fisheye: angle from the axis to distance in the image. The caller has checked the limit.
    #[inline]
    pub(crate) fn distort_angle(&self, theta: f64) -> f64 {
        let Self::KannalaBrandt { k1, k2, k3, k4 } = *self else { return theta };
        let s = theta * theta;
        theta * (1.0 + s * (k1 + s * (k2 + s * (k3 + s * k4))))
    }

    /// Fisheye: distance in the image to angle from the axis.
    pub(crate) fn undistort_angle(&self, theta_d: f64, limit: f64) -> Result<f64, InverseFailure> {
        let Self::KannalaBrandt { k1, k2, k3, k4 } = *self else { return Ok(theta_d) };
        let f = |t: f64| {
            let s = t * t;
            (self.distort_angle(t), 1.0 + s * (3.0 * k1 + s * (5.0 * k2 + s * (7.0 * k3 + s * 9.0 * k4))))
        };
        invert_rising(f, theta_d, limit, 4.0 * f64::EPSILON).ok_or(InverseFailure::Outside)
    }
}

/// Solves `f(r) = target ≥ 0` for a function that rises from `f(0) = 0` up to `limit` (may be infinite); `f` returns
/// value and slope. Newton, kept inside a bracket that every step narrows, until a step is smaller than `tolerance`
/// relative to `r`. `None` if `f` does not reach the target.
fn invert_rising(f: impl Fn(f64) -> (f64, f64), target: f64, limit: f64, tolerance: f64) -> Option<f64> {
    if target == 0.0 {
        return Some(0.0);
    }
    let mut high = if limit.is_finite() { limit } else { 1.0 };
    while f(high).0 < target {
        // A radius of a million is 0.0001 degrees off the image plane: no image reaches there.
        if limit.is_finite() || high > 1e6 {
            return None;
        }
        high *= 2.0;
    }
    let mut low = 0.0;
    let mut r = target.min(high);
    for _ in 0..MAX_STEPS {
        let (value, slope) = f(r);
        if value > target {
            high = r;
        } else {
            low = r;
        }
        let step = (value - target) / slope;
        // Asked before the bracket: at the very end rounding may put the step on its border.
        if step.abs() <= tolerance * r {
            return Some((r - step).min(limit));
        }
        let newton = r - step;
        r = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
    }
    Some(r)
}

/// The smallest positive zero of `c[0] + c[1] s + c[2] s² + …` with `c[0] > 0`, or infinity.
///
/// Between two neighbouring zeros of its derivative a polynomial is monotone, so a zero there is found by bisection;
/// the zeros of the derivative are found the same way. Exact to rounding, no starting value, no missed root.
fn smallest_positive_root(coefficients: &[f64]) -> f64 {
    positive_roots(coefficients).first().copied().unwrap_or(f64::INFINITY)
}

/// All positive zeros where the sign changes, ascending.
fn positive_roots(coefficients: &[f64]) -> Vec<f64> {
    let used = coefficients.iter().rposition(|&c| c != 0.0).map_or(0, |i| i + 1);
    let c = &coefficients[..used];
    if c.len() < 2 {
        return Vec::new();
    }
    let value = |s: f64| c.iter().rev().fold(0.0, |acc, &c_i| acc * s + c_i);
    let derivative: Vec<f64> = c.iter().enumerate().skip(1).map(|(i, &c_i)| i as f64 * c_i).collect();
    // Cauchy's bound: no zero lies beyond it. Capped where a radius means nothing any more.
    let lead = c[c.len() - 1].abs();
    let bound = 1.0 + c[..c.len() - 1].iter().fold(0.0f64, |m, c_i| m.max(c_i.abs())) / lead;
    let mut edges = vec![0.0];
    edges.extend(positive_roots(&derivative));
    edges.push(bound.min(1e18));
    let mut roots = Vec::new();
    for pair in edges.windows(2) {
        let (mut low, mut high) = (pair[0], pair[1]);
        let rises = value(high) > value(low);
        if low >= high || (value(low) > 0.0) == (value(high) > 0.0) {
            continue;
        }
        loop {
            let middle = 0.5 * (low + high);
            if middle <= low || middle >= high {
                break;
            }
            if (value(middle) > 0.0) == rises {
                high = middle;
            } else {
                low = middle;
            }
        }
        roots.push(low);
    }
    roots
}
