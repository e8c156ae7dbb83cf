//! Rigid motions between frames: the group SE(3).

use std::fmt;
use std::marker::PhantomData;
use std::ops::Mul;

use nalgebra::{Matrix3, Matrix4, Quaternion, Rotation3, UnitQuaternion, Vector3};

use crate::{Direction3, Point3, PoseError};

/// How far `RᵀR` may be from the identity, and a quaternion's norm from 1, to be taken for rounding in a file.
///
/// Pose files carry as few as four decimals; a wrong column order or a scale is far beyond one part in a hundred.
const DRIFT: f64 = 1e-2;

/// Coordinates in `Src` to coordinates in `Dst`: `p_dst = R · p_src + t`.
///
/// Named destination first, as `dst_from_src`, so that in a product adjacent frames meet:
/// `world_from_lidar = world_from_ego * ego_from_lidar`. Composition is `(R₁R₂, R₁t₂ + t₁)`, the inverse
/// `(Rᵀ, −Rᵀt)`. The translation is the origin of `Src` seen in `Dst`, metres.
pub struct Rigid3<Dst, Src> {
    rotation: UnitQuaternion<f64>,
    translation: Vector3<f64>,
    frames: PhantomData<fn(Src) -> Dst>,
}

impl<Dst, Src> Rigid3<Dst, Src> {
    /// No motion: the two frames coincide.
    pub fn identity() -> Self {
        Self::new(UnitQuaternion::identity(), Vector3::zeros())
    }

    /// From a rotation and a translation.
    pub const fn new(rotation: UnitQuaternion<f64>, translation: Vector3<f64>) -> Self {
        Self { rotation, translation, frames: PhantomData }
    }

    /// No rotation, only a shift: the origin of `Src` lies at this place in `Dst`, metres.
    pub fn from_translation(translation: [f64; 3]) -> Self {
        Self::new(UnitQuaternion::identity(), translation.into())
    }

    /// From a 4×4 matrix with last row 0 0 0 1.
    ///
    /// A rotation block that has drifted from orthonormal by rounding (up to 1 %) is replaced by the nearest rotation.
    ///
    /// # Errors
    /// [`PoseError::NotFinite`] for NaN or infinities (how several data sets write "tracking lost"),
    /// [`PoseError::NotARotation`] for scales, shears and reflections, [`PoseError::NotAffine`] for another last row.
    pub fn from_matrix4(matrix: &Matrix4<f64>) -> Result<Self, PoseError> {
        if !matrix.iter().all(|v| v.is_finite()) {
            return Err(PoseError::NotFinite);
        }
        let last = matrix.row(3);
        if (last - nalgebra::RowVector4::new(0.0, 0.0, 0.0, 1.0)).amax() > 1e-6 {
            return Err(PoseError::NotAffine { last_row: [last[0], last[1], last[2], last[3]] });
        }
        let rotation = nearest_rotation(&matrix.fixed_view::<3, 3>(0, 0).into_owned())?;
        Ok(Self::new(rotation, matrix.fixed_view::<3, 1>(0, 3).into_owned()))
    }

    /// From a rotation matrix and a translation, each row-major as files have them; checks as [`Self::from_matrix4`].
    ///
    /// # Errors
    /// As [`Self::from_matrix4`].
    pub fn from_rotation_rows(rows: [[f64; 3]; 3], translation: [f64; 3]) -> Result<Self, PoseError> {
        let r = Matrix3::from_row_iterator(rows.into_iter().flatten());
        if !r.iter().chain(&translation).all(|v| v.is_finite()) {
            return Err(PoseError::NotFinite);
        }
        Ok(Self::new(nearest_rotation(&r)?, translation.into()))
    }

    /// From a quaternion with the scalar part **first** (w x y z: nuScenes, Eigen's constructor) and a translation.
    ///
    /// # Errors
    /// [`PoseError::NotFinite`], or [`PoseError::NotUnit`] for a norm further than 1 % from 1.
    pub fn from_quaternion_wxyz(wxyz: [f64; 4], translation: [f64; 3]) -> Result<Self, PoseError> {
        if !wxyz.iter().chain(&translation).all(|v| v.is_finite()) {
            return Err(PoseError::NotFinite);
        }
        let [w, x, y, z] = wxyz;
        let quaternion = Quaternion::new(w, x, y, z);
        let norm = quaternion.norm();
        if (norm - 1.0).abs() > DRIFT {
            return Err(PoseError::NotUnit { norm });
        }
        Ok(Self::new(UnitQuaternion::from_quaternion(quaternion), translation.into()))
    }

    /// From a quaternion with the scalar part **last** (x y z w: ROS, TUM, SciPy) and a translation.
    ///
    /// # Errors
    /// As [`Self::from_quaternion_wxyz`].
    pub fn from_quaternion_xyzw([x, y, z, w]: [f64; 4], translation: [f64; 3]) -> Result<Self, PoseError> {
        Self::from_quaternion_wxyz([w, x, y, z], translation)
    }

    /// From the 7-vector of the TUM format: `tx ty tz qx qy qz qw`.
    ///
    /// # Errors
    /// As [`Self::from_quaternion_wxyz`].
    pub fn from_tum([tx, ty, tz, qx, qy, qz, qw]: [f64; 7]) -> Result<Self, PoseError> {
        Self::from_quaternion_wxyz([qw, qx, qy, qz], [tx, ty, tz])
    }

    /// The 7-vector of the TUM format: `tx ty tz qx qy qz qw`.
    pub fn to_tum(&self) -> [f64; 7] {
        let (t, q) = (&self.translation, &self.rotation);
        [t.x, t.y, t.z, q.i, q.j, q.k, q.w]
    }

    /// The homogeneous 4×4 matrix.
    pub fn to_matrix4(&self) -> Matrix4<f64> {
        let mut matrix = self.rotation.to_homogeneous();
        matrix.fixed_view_mut::<3, 1>(0, 3).copy_from(&self.translation);
        matrix
    }

    /// The same motion the other way: `src_from_dst`.
    pub fn inverse(&self) -> Rigid3<Src, Dst> {
        let rotation = self.rotation.inverse();
        Rigid3::new(rotation, -(rotation * self.translation))
    }

    /// The rotation, `Src` to `Dst`.
    pub const fn rotation(&self) -> UnitQuaternion<f64> {
        self.rotation
    }

    /// The translation: the origin of `Src` in `Dst`, metres.
    pub const fn translation(&self) -> Vector3<f64> {
        self.translation
    }

    /// Between this pose (`t` = 0) and another (`t` = 1): the rotation on the shorter arc at constant speed, the
    /// translation on a straight line. A `t` outside 0..1 extrapolates.
    ///
    /// For rotations exactly half a turn apart both arcs are as short; one of them is taken, always the same.
    pub fn interpolate(&self, other: &Self, t: f64) -> Self {
        let step = (self.rotation.inverse() * other.rotation).scaled_axis() * t;
        let rotation = self.rotation * UnitQuaternion::from_scaled_axis(step);
        Self::new(rotation, self.translation.lerp(&other.translation, t))
    }

    /// Angle between the rotations of two poses, radians, 0 to π.
    pub fn rotation_angle_to(&self, other: &Self) -> f64 {
        self.rotation.angle_to(&other.rotation)
    }

    /// Whether no number in it is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        self.rotation.coords.iter().chain(self.translation.iter()).all(|v| v.is_finite())
    }

    /// Asserts that the same motion is meant between other frames.
    ///
    /// The caller claims that `D2` coincides with `Dst`, and `S2` with `Src`; nothing is computed. It is for the
    /// border of a program, where a pose arrives without a type or a frame has two names. Between frames that differ,
    /// multiply by the motion between them.
    pub const fn with_frames<D2, S2>(self) -> Rigid3<D2, S2> {
        Rigid3::new(self.rotation, self.translation)
    }

    /// Rotation matrix and translation, for loops over many points: nine products a point, where a quaternion takes
    /// about thirty.
    pub(crate) fn parts(&self) -> (Matrix3<f64>, Vector3<f64>) {
        (self.rotation.to_rotation_matrix().into_inner(), self.translation)
    }
}

/// The rotation nearest to a matrix in the Frobenius norm: `U Vᵀ` of its singular value decomposition.
fn nearest_rotation(matrix: &Matrix3<f64>) -> Result<UnitQuaternion<f64>, PoseError> {
    let drift = (matrix.transpose() * matrix - Matrix3::identity()).amax();
    let determinant = matrix.determinant();
    if drift > 2.0 * DRIFT || determinant <= 0.0 {
        return Err(PoseError::NotARotation { drift, determinant });
    }
    let svd = matrix.svd(true, true);
    let (Some(u), Some(v_t)) = (svd.u, svd.v_t) else {
        return Err(PoseError::NotARotation { drift, determinant });
    };
    Ok(UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix_unchecked(u * v_t)))
}

impl<Dst, Mid, Src> Mul<Rigid3<Mid, Src>> for Rigid3<Dst, Mid> {
    type Output = Rigid3<Dst, Src>;
    fn mul(self, other: Rigid3<Mid, Src>) -> Rigid3<Dst, Src> {
        // Long products drift from unit length by rounding; renormalising costs little and keeps the group closed.
        let rotation = UnitQuaternion::new_normalize((self.rotation * other.rotation).into_inner());
        Rigid3::new(rotation, self.rotation * other.translation + self.translation)
    }
}

impl<Dst, Src> Mul<Point3<Src>> for Rigid3<Dst, Src> {
    type Output = Point3<Dst>;
    #[inline]
    fn mul(self, point: Point3<Src>) -> Point3<Dst> {
        Point3::from_coords(self.rotation * point.coords() + self.translation)
    }
}

impl<Dst, Src> Mul<Direction3<Src>> for Rigid3<Dst, Src> {
    type Output = Direction3<Dst>;
    #[inline]
    fn mul(self, direction: Direction3<Src>) -> Direction3<Dst> {
        Direction3::from_coords(self.rotation * direction.coords())
    }
}

impl<Dst, Src> Clone for Rigid3<Dst, Src> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Dst, Src> Copy for Rigid3<Dst, Src> {}

impl<Dst, Src> PartialEq for Rigid3<Dst, Src> {
    /// Equal as motions: a quaternion and its negative are the same rotation.
    fn eq(&self, other: &Self) -> bool {
        self.rotation == other.rotation && self.translation == other.translation
    }
}

impl<Dst, Src> Default for Rigid3<Dst, Src> {
    fn default() -> Self {
        Self::identity()
    }
}

impl<Dst, Src> fmt::Debug for Rigid3<Dst, Src> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [tx, ty, tz, qx, qy, qz, qw] = self.to_tum();
        let (dst, src) = (frame_name::<Dst>(), frame_name::<Src>());
        write!(f, "Rigid3<{dst}, {src}>(t: [{tx}, {ty}, {tz}], q_xyzw: [{qx}, {qy}, {qz}, {qw}])")
    }
}

/// The last part of a type's path.
pub(crate) fn frame_name<F>() -> &'static str {
    let name = std::any::type_name::<F>();
    name.rsplit("::").next().unwrap_or(name)
}

/// As the 7-vector of the TUM format.
#[cfg(feature = "serde")]
impl<Dst, Src> serde::Serialize for Rigid3<Dst, Src> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_tum().serialize(serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de, Dst, Src> serde::Deserialize<'de> for Rigid3<Dst, Src> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_tum(<[f64; 7]>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
