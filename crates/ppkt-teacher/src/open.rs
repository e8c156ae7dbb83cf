//! From a name to a network.

use std::path::Path;

use candle_core::Device;

use crate::convnext::ConvNext;
use crate::error::TeacherError;
use crate::hub;
use crate::inspection::Inspection;
use crate::options::TeacherOptions;
use crate::resnet::ResNet;
use crate::spec::{Family, Teacher};
use crate::uri::TeacherUri;
use crate::vit::VisionTransformer;
use crate::weights::Weights;

/// The network inside the program: trained on rendered rooms, see `assets/README.md`.
static TINY: &[u8] = include_bytes!("../assets/tiny.safetensors");

/// A network of any family.
enum Network {
    ResNet(Box<ResNet>),
    ConvNext(Box<ConvNext>),
    VisionTransformer(Box<VisionTransformer>),
}

/// Opens a teacher: reads its files, checks them and packs its weights.
///
/// A teacher of the Hub is fetched, or found in the cache; to show how far that is, call [`fetch`](crate::fetch)
/// first.
///
/// # Errors
/// Every [`TeacherError`]; nothing is half opened.
///
/// ```
/// use ppkt_teacher::{Images, TeacherOptions, TeacherUri};
///
/// let uri: TeacherUri = "builtin:tiny".parse()?;
/// let teacher = ppkt_teacher::open(&uri, &TeacherOptions::default())?;
/// let grey = Images::new(1, 96, 128, vec![127; 96 * 128 * 3])?;
/// let map = teacher.features(&grey)?;
/// assert_eq!(map.tokens.dims()[3], teacher.spec().channels);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open(uri: &TeacherUri, options: &TeacherOptions) -> Result<Box<dyn Teacher>, TeacherError> {
    open_on(uri, options, &Device::Cpu)
}

/// Opens a teacher whose weights, and the maps that it gives, are on a device: on the CPU with the engine of this crate,
/// as [`open`], on a GPU with candle's operations.
///
/// # Errors
/// As [`open`]; also if the device has not enough memory.
pub fn open_on(
    uri: &TeacherUri,
    options: &TeacherOptions,
    device: &Device,
) -> Result<Box<dyn Teacher>, TeacherError> {
    Ok(match read(uri, options, device)? {
        Network::ResNet(net) => net,
        Network::ConvNext(net) => net,
        Network::VisionTransformer(net) => net,
    })
}

/// Opens a teacher and says what it is.
///
/// # Errors
/// As [`open`].
pub fn inspect(uri: &TeacherUri, options: &TeacherOptions) -> Result<Inspection, TeacherError> {
    Ok(match read(uri, options, &Device::Cpu)? {
        Network::ResNet(net) => net.inspection().clone(),
        Network::ConvNext(net) => net.inspection().clone(),
        Network::VisionTransformer(net) => net.inspection().clone(),
    })
}

fn read(uri: &TeacherUri, options: &TeacherOptions, device: &Device) -> Result<Network, TeacherError> {
    let weights = match uri {
        TeacherUri::BuiltinTiny => Weights::from_bytes(Path::new("builtin:tiny"), TINY.to_vec())?,
        TeacherUri::File(path) => Weights::read(path)?,
        TeacherUri::Hub(name) => {
            let files = hub::fetch(name, &mut |_| {})?;
            Weights::read_files(
                &files.weights,
                files.preprocessor_config.as_deref(),
                files.config.as_deref(),
            )?
        }
    };
    Ok(match weights.family {
        Family::ResNet => Network::ResNet(Box::new(ResNet::from_weights(weights, options, device)?)),
        Family::ConvNext => Network::ConvNext(Box::new(ConvNext::from_weights(weights, options, device)?)),
        Family::VisionTransformer => {
            Network::VisionTransformer(Box::new(VisionTransformer::from_weights(weights, options, device)?))
        }
    })
}
