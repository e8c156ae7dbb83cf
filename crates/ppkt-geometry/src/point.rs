//! Points and directions that know their frame.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Add, Mul, Neg, Sub};

use nalgebra::Vector3;

/// A place in frame `F`, in metres. Feels rotation and translation of a [`crate::Rigid3`].
pub struct Point3<F> {
    coords: Vector3<f64>,
    frame: PhantomData<fn() -> F>,
}

/// A difference of two places, an axis or a normal in frame `F`. Feels rotation only.
pub struct Direction3<F> {
    coords: Vector3<f64>,
    frame: PhantomData<fn() -> F>,
}

/// Both types are three numbers and a frame; a derive would ask that the marker be `Copy` and so on as well.
macro_rules! three_numbers {
    ($name:ident) => {
        impl<F> $name<F> {
            /// From three coordinates.
            #[inline]
            pub const fn new(x: f64, y: f64, z: f64) -> Self {
                Self { coords: Vector3::new(x, y, z), frame: PhantomData }
            }

            /// From an array.
            #[inline]
            pub const fn from_array([x, y, z]: [f64; 3]) -> Self {
                Self::new(x, y, z)
            }

            /// From a row of an f32 cloud; exact.
            #[inline]
            pub const fn from_f32([x, y, z]: [f32; 3]) -> Self {
                Self::new(x as f64, y as f64, z as f64)
            }

            /// From a vector of nalgebra.
            #[inline]
            pub const fn from_coords(coords: Vector3<f64>) -> Self {
                Self { coords, frame: PhantomData }
            }

            /// First coordinate.
            #[inline]
            pub fn x(&self) -> f64 {
                self.coords.x
            }

            /// Second coordinate.
            #[inline]
            pub fn y(&self) -> f64 {
                self.coords.y
            }

            /// Third coordinate.
            #[inline]
            pub fn z(&self) -> f64 {
                self.coords.z
            }

            /// All three, as a vector of nalgebra.
            #[inline]
            pub const fn coords(&self) -> Vector3<f64> {
                self.coords
            }

            /// All three, as an array.
            #[inline]
            pub fn to_array(&self) -> [f64; 3] {
                self.coords.into()
            }

            /// All three, rounded to f32: a row of a cloud.
            #[inline]
            pub fn to_f32(&self) -> [f32; 3] {
                [self.coords.x as f32, self.coords.y as f32, self.coords.z as f32]
            }

            /// Whether no coordinate is NaN or infinite.
            #[inline]
            pub fn is_finite(&self) -> bool {
                self.coords.iter().all(|c| c.is_finite())
            }

            /// Asserts that the same numbers are meant in another frame.
            ///
            /// The caller claims that the two frames coincide (or renames one); no transform is applied. Where the
            /// frames differ, multiply by a [`crate::Rigid3`] instead.
            #[inline]
            pub const fn with_frame<G>(self) -> $name<G> {
                $name { coords: self.coords, frame: PhantomData }
            }
        }

        impl<F> Clone for $name<F> {
            #[inline]
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<F> Copy for $name<F> {}

        impl<F> PartialEq for $name<F> {
            fn eq(&self, other: &Self) -> bool {
                self.coords == other.coords
            }
        }

        impl<F> fmt::Debug for $name<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let [x, y, z] = self.to_array();
                write!(f, "{}<{}>({x:?}, {y:?}, {z:?})", stringify!($name), crate::rigid::frame_name::<F>())
            }
        }

        #[cfg(feature = "serde")]
        impl<F> serde::Serialize for $name<F> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.to_array().serialize(serializer)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de, F> serde::Deserialize<'de> for $name<F> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <[f64; 3]>::deserialize(deserializer).map(Self::from_array)
            }
        }
    };
}

three_numbers!(Point3);
three_numbers!(Direction3);

impl<F> Point3<F> {
    /// Distance to another point of the same frame, metres.
    #[inline]
    pub fn distance(&self, other: &Self) -> f64 {
        (self.coords - other.coords).norm()
    }
}

impl<F> Direction3<F> {
    /// Length.
    #[inline]
    pub fn norm(&self) -> f64 {
        self.coords.norm()
    }

    /// The same direction at length 1, or `None` if it has no direction (zero, NaN, infinite).
    pub fn normalised(&self) -> Option<Self> {
        let norm = self.coords.norm();
        (norm > 0.0 && norm.is_finite()).then(|| Self::from_coords(self.coords / norm))
    }

    /// Scalar product.
    #[inline]
    pub fn dot(&self, other: &Self) -> f64 {
        self.coords.dot(&other.coords)
    }

    /// Vector product.
    #[inline]
    pub fn cross(&self, other: &Self) -> Self {
        Self::from_coords(self.coords.cross(&other.coords))
    }
}

impl<F> Sub for Point3<F> {
    type Output = Direction3<F>;
    #[inline]
    fn sub(self, other: Self) -> Direction3<F> {
        Direction3::from_coords(self.coords - other.coords)
    }
}

impl<F> Add<Direction3<F>> for Point3<F> {
    type Output = Self;
    #[inline]
    fn add(self, step: Direction3<F>) -> Self {
        Self::from_coords(self.coords + step.coords)
    }
}

impl<F> Sub<Direction3<F>> for Point3<F> {
    type Output = Self;
    #[inline]
    fn sub(self, step: Direction3<F>) -> Self {
        Self::from_coords(self.coords - step.coords)
    }
}

impl<F> Add for Direction3<F> {
    type Output = Self;
    #[inline]
    fn add(self, other: Self) -> Self {
        Self::from_coords(self.coords + other.coords)
    }
}

impl<F> Sub for Direction3<F> {
    type Output = Self;
    #[inline]
    fn sub(self, other: Self) -> Self {
        Self::from_coords(self.coords - other.coords)
    }
}

impl<F> Neg for Direction3<F> {
    type Output = Self;
    #[inline]
    fn neg(self) -> Self {
        Self::from_coords(-self.coords)
    }
}

impl<F> Mul<f64> for Direction3<F> {
    type Output = Self;
    #[inline]
    fn mul(self, factor: f64) -> Self {
        Self::from_coords(self.coords * factor)
    }
}
