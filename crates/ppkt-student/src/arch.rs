//! The members of the family and their sizes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::StudentError;

/// Channels and depths of one network of the family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Channels of the stem.
    pub init_planes: usize,
    /// Channels of the eight stages: four down, four up.
    pub planes: [usize; 8],
    /// Basic blocks of the eight stages.
    pub layers: [usize; 8],
}

impl Plan {
    /// How far, in voxels along each axis, an input can be from an output that depends on it: a bound, not the least.
    ///
    /// A convolution of edge `k` at stride s reaches s (k − 1)/2 to each side, one that halves or doubles the stride
    /// at most as far as the coarser stride; every block has two convolutions.
    pub fn reach(&self, first_kernel: usize) -> usize {
        let down = (0..4).map(|level| (2 << level) * (1 + 2 * self.layers[level]));
        let up = (0..4).map(|level| (8 >> level) * (2 + 2 * self.layers[level + 4]));
        first_kernel / 2 + down.sum::<usize>() + up.sum::<usize>()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { init_planes, planes, layers } = self;
        write!(f, "stem {init_planes}, channels {planes:?}, blocks {layers:?}")
    }
}

macro_rules! family {
    ($($(#[$doc:meta])* $name:ident: $init:expr, $planes:expr, $layers:expr;)*) => {
        /// A network of the family; text and configuration files use the same names.
        ///
        /// "Res16UNet" and "SR-UNet" are other names of the same networks: `Res16UNet34C`, `SR-UNet34C` and `34C` are
        /// all read as [`Arch::MinkUNet34C`]. Only without a letter do two published programs differ: MinkowskiEngine's
        /// `MinkUNet14`, `18` and `34` have the decoder 256, 128, 96, 96 (so its 34 is the 34C), the `Res16UNet14`,
        /// `18` and `34` of SpatioTemporalSegmentation have 256 throughout.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[non_exhaustive]
        pub enum Arch {
            $($(#[$doc])* $name,)*
        }

        impl Arch {
            /// Every member.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name, as in `MinkUNet34C`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Channels and depths.
            pub const fn plan(self) -> Plan {
                match self { $(Self::$name => Plan { init_planes: $init, planes: $planes, layers: $layers },)* }
            }
        }
    };
}

const ONE: [usize; 8] = [1; 8];
const TWO: [usize; 8] = [2; 8];
const DEEP: [usize; 8] = [2, 3, 4, 6, 2, 2, 2, 2];

/// The published networks share the encoder's channels and differ in the decoder's.
const fn decoder(up: [usize; 4]) -> [usize; 8] {
    [32, 64, 128, 256, up[0], up[1], up[2], up[3]]
}

family! {
    /// One block a stage, a few hundred thousand parameters: for demonstrations and tests. Ours, not a published one.
    MinkUNet14Tiny: 16, [16, 32, 32, 48, 32, 32, 32, 32], ONE;
    /// One block a stage, decoder 256, 128, 96, 96.
    MinkUNet14: 32, decoder([256, 128, 96, 96]), ONE;
    /// One block a stage, decoder 128, 128, 96, 96.
    MinkUNet14A: 32, decoder([128, 128, 96, 96]), ONE;
    /// One block a stage, decoder 128 throughout.
    MinkUNet14B: 32, decoder([128, 128, 128, 128]), ONE;
    /// One block a stage, decoder 192, 192, 128, 128.
    MinkUNet14C: 32, decoder([192, 192, 128, 128]), ONE;
    /// One block a stage, decoder 384 throughout.
    MinkUNet14D: 32, decoder([384, 384, 384, 384]), ONE;
    /// Two blocks a stage, decoder 256, 128, 96, 96.
    MinkUNet18: 32, decoder([256, 128, 96, 96]), TWO;
    /// Two blocks a stage, decoder 128, 128, 96, 96.
    MinkUNet18A: 32, decoder([128, 128, 96, 96]), TWO;
    /// Two blocks a stage, decoder 128 throughout.
    MinkUNet18B: 32, decoder([128, 128, 128, 128]), TWO;
    /// Two blocks a stage, decoder 384 throughout.
    MinkUNet18D: 32, decoder([384, 384, 384, 384]), TWO;
    /// 34 layers, decoder 256, 128, 64, 64.
    MinkUNet34A: 32, decoder([256, 128, 64, 64]), DEEP;
    /// 34 layers, decoder 256, 128, 64, 32.
    MinkUNet34B: 32, decoder([256, 128, 64, 32]), DEEP;
    /// 34 layers, decoder 256, 128, 96, 96: the network of PointContrast, PPKT and SLidR.
    MinkUNet34C: 32, decoder([256, 128, 96, 96]), DEEP;
    /// MinkowskiEngine's unlettered one: the same as [`Arch::MinkUNet34C`].
    MinkUNet34: 32, decoder([256, 128, 96, 96]), DEEP;
    /// One block a stage, decoder 256 throughout.
    Res16UNet14: 32, decoder([256, 256, 256, 256]), ONE;
    /// Two blocks a stage, decoder 256 throughout.
    Res16UNet18: 32, decoder([256, 256, 256, 256]), TWO;
    /// 34 layers, decoder 256 throughout.
    Res16UNet34: 32, decoder([256, 256, 256, 256]), DEEP;
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Arch {
    type Err = StudentError;

    fn from_str(text: &str) -> Result<Self, StudentError> {
        let name = text.trim();
        let is = |name: &str| Self::ALL.iter().find(|a| a.name().eq_ignore_ascii_case(name));
        // "SR-UNet" is a third name of Res16UNet; a bare "34C" is what papers write.
        let short = ["minkunet", "res16unet", "sr-unet"].iter().find_map(|family| {
            let (head, tail) = name.split_at_checked(family.len())?;
            head.eq_ignore_ascii_case(family).then_some((*family, tail))
        });
        let (family, short) = short.unwrap_or(("minkunet", name));
        let family = if family == "sr-unet" { "Res16UNet" } else { family };
        let found = is(&format!("{family}{short}")).or_else(|| is(&format!("MinkUNet{short}")));
        found.copied().ok_or_else(|| StudentError::UnknownArch { name: text.to_owned() })
    }
}

impl TryFrom<String> for Arch {
    type Error = StudentError;

    fn try_from(text: String) -> Result<Self, StudentError> {
        text.parse()
    }
}

impl From<Arch> for String {
    fn from(arch: Arch) -> Self {
        arch.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for &arch in Arch::ALL {
            assert_eq!(arch.to_string().parse::<Arch>().unwrap(), arch);
        }
        assert_eq!("SR-UNet34".parse::<Arch>().unwrap(), Arch::Res16UNet34);
        for name in ["34c", "Res16UNet34C", "SR-UNet34C", " minkunet34c "] {
            assert_eq!(name.parse::<Arch>().unwrap(), Arch::MinkUNet34C, "{name}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        for name in ["MinkUNet50", "", "MinkUNet", "MinkUNet34D"] {
            let error = name.parse::<Arch>().unwrap_err().to_string();
            assert!(error.contains("MinkUNet14Tiny") && error.contains("MinkUNet34C"), "{error}");
        }
    }
}
