//! Networks in files: safetensors with MinkowskiEngine's names and a few words of metadata.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use ppkt_sparse::{LoadMode, LoadReport, SparseError, VarStore};
use safetensors::SafeTensors;

use crate::{Arch, MinkUNetConfig, Plan, StudentError};

/// What wrappers of PyTorch put before every name: data-parallel training, Lightning.
const PREFIXES: [&str; 2] = ["module.", "model."];

/// A state dict and its metadata.
#[derive(Debug, Clone)]
pub struct State {
    /// Tensors by name, without the prefixes `module.` and `model.`.
    pub tensors: HashMap<String, Tensor>,
    /// The file's metadata; files of other programs mostly have none.
    pub metadata: BTreeMap<String, String>,
    path: PathBuf,
}

/// Writes a state dict with the network's own metadata (`format`, `arch`, `in_channels`, `out_channels`,
/// `first_kernel`, `bn_momentum`) and the caller's, such as `voxel_size` and `features`.
///
/// Equal contents give equal bytes. The file appears whole or not at all: it is written beside its place, flushed, and
/// renamed; what was there before stays until then.
///
/// # Errors
/// [`StudentError::File`].
pub fn save_state(
    path: &Path,
    tensors: &HashMap<String, Tensor>,
    config: &MinkUNetConfig,
    metadata: &BTreeMap<String, String>,
) -> Result<(), StudentError> {
    let mut all = metadata.clone();
    all.extend(own_metadata(config));
    let sorted: BTreeMap<&String, &Tensor> = tensors.iter().collect();
    let bytes = safetensors::serialize(sorted, None)
        .map_err(|e| std::io::Error::other(e.to_string()))
        .and_then(|bytes| with_metadata(&bytes, &all));
    bytes.and_then(|bytes| write_whole(path, &bytes)).map_err(file_error("write", path))
}

/// Puts metadata into the header of a safetensors file that has none.
///
/// The crate takes it as a hash map and writes it in that map's random order; here equal metadata is equal bytes.
fn with_metadata(file: &[u8], metadata: &BTreeMap<String, String>) -> std::io::Result<Vec<u8>> {
    let other = || std::io::Error::other("the header that safetensors wrote is not as the format says");
    let (length, rest) = file.split_first_chunk::<8>().ok_or_else(other)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| other())?;
    let (header, data) = rest.split_at_checked(length).ok_or_else(other)?;
    let tensors = header.trim_ascii_end().strip_prefix(b"{").ok_or_else(other)?;
    let comma: &[u8] = if tensors == b"}" { b"" } else { b"," };
    let metadata = serde_json::to_vec(metadata)?;
    let mut header = [b"{\"__metadata__\":", metadata.as_slice(), comma, tensors].concat();
    // The format wants the data to begin at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes(), header.as_slice(), data].concat())
}

fn own_metadata(config: &MinkUNetConfig) -> [(String, String); 6] {
    [
        ("format", "pt".to_owned()),
        ("arch", config.arch.to_string()),
        ("in_channels", config.in_channels.to_string()),
        ("out_channels", config.out_channels.to_string()),
        ("first_kernel", config.first_kernel.to_string()),
        ("bn_momentum", config.bn_momentum.to_string()),
    ]
    .map(|(k, v)| (k.to_owned(), v))
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StudentError {
    let path = path.to_owned();
    move |source| StudentError::File { action, source, path }
}

fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = File::create(&part)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        // The first error is the one to tell; a part that was never made cannot be removed.
        let _ = fs::remove_file(&part);
    }
    written
}

/// Reads a state dict: ours, or one that PyTorch programs saved as safetensors.
///
/// Prefixes that data-parallel training and Lightning put before every name are taken away.
///
/// # Errors
/// [`StudentError::File`], [`StudentError::NotSafetensors`].
pub fn load_state(path: &Path) -> Result<State, StudentError> {
    let bytes = fs::read(path).map_err(file_error("read", path))?;
    let broken = |reason: String| StudentError::NotSafetensors { reason, path: path.to_owned() };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(e.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let tensors =
        candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|e| broken(e.to_string()))?;
    Ok(State { tensors: without_prefixes(tensors), metadata, path: path.to_owned() })
}

/// Takes a prefix away where every name has it, as often as it is there.
fn without_prefixes(mut tensors: HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    while let Some(prefix) =
        PREFIXES.iter().find(|p| !tensors.is_empty() && tensors.keys().all(|name| name.starts_with(**p)))
    {
        tensors = tensors.into_iter().map(|(name, t)| (name[prefix.len()..].to_owned(), t)).collect();
    }
    tensors
}

impl State {
    /// A state dict from memory; `origin` is named in errors.
    pub fn new(tensors: HashMap<String, Tensor>, origin: impl Into<PathBuf>) -> Self {
        Self { tensors: without_prefixes(tensors), metadata: BTreeMap::new(), path: origin.into() }
    }

    /// What network this is, read from the names and shapes alone, so that files without metadata will do.
    ///
    /// The architecture is the member of the family with this plan, if there is one. The momentum of norms is not in
    /// the tensors: it comes from the metadata, or is the default.
    ///
    /// # Errors
    /// [`StudentError::NotMinkUNet`] where a tensor is missing; [`StudentError::FirstKernel`].
    pub fn describe(&self) -> Result<(Plan, Option<Arch>, MinkUNetConfig), StudentError> {
        let stem = self.dims("conv0p1s1.kernel", 3)?;
        let head = self.dims("final.kernel", 2)?;
        let mut plan = Plan { init_planes: stem[2], planes: [0; 8], layers: [0; 8] };
        for stage in 0..8 {
            let name = |block: usize| format!("block{}.{block}.conv1.kernel", stage + 1);
            plan.planes[stage] = self.dims(&name(0), 3)?[2];
            plan.layers[stage] = (0..).take_while(|&b| self.tensors.contains_key(&name(b))).count();
        }
        let arch = Arch::ALL.iter().copied().find(|a| a.plan() == plan);
        let momentum = self.metadata.get("bn_momentum").and_then(|m| m.parse().ok());
        let fallback = MinkUNetConfig::default();
        let config = MinkUNetConfig {
            arch: arch.unwrap_or(fallback.arch),
            in_channels: stem[1],
            out_channels: head[1],
            first_kernel: cube_root(stem[0]),
            bn_momentum: momentum.unwrap_or(fallback.bn_momentum),
        };
        config.check()?;
        Ok((plan, arch, config))
    }

    /// As [`Self::describe`], for a network that has to be a member of the family.
    ///
    /// # Errors
    /// As [`Self::describe`], and [`StudentError::UnknownPlan`].
    pub fn member(&self) -> Result<MinkUNetConfig, StudentError> {
        let (plan, arch, config) = self.describe()?;
        if arch.is_some() {
            return Ok(config);
        }
        let differences = |arch: &Arch| {
            let theirs = arch.plan();
            let numbers = |p: &Plan| [p.planes, p.layers].concat();
            let places = numbers(&plan).into_iter().zip(numbers(&theirs));
            places.filter(|(a, b)| a != b).count() + usize::from(plan.init_planes != theirs.init_planes)
        };
        let nearest = Arch::ALL.iter().copied().min_by_key(differences).unwrap_or(config.arch);
        Err(StudentError::UnknownPlan {
            found: Box::new(plan),
            nearest,
            expected: Box::new(nearest.plan()),
            path: self.path.clone(),
        })
    }

    fn dims(&self, name: &str, rank: usize) -> Result<&[usize], StudentError> {
        match self.tensors.get(name).map(Tensor::dims) {
            Some(dims) if dims.len() == rank => Ok(dims),
            _ => Err(StudentError::NotMinkUNet {
                missing: name.to_owned(),
                tensors: self.tensors.len(),
                found: self.some_names(),
                path: self.path.clone(),
            }),
        }
    }

    /// The first few names, in alphabetical order.
    fn some_names(&self) -> String {
        let mut names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        let dots = if names.len() > 3 { ", …" } else { "" };
        names.truncate(3);
        names.join(", ") + dots
    }

    /// Sets a network's tensors; [`LoadMode::Lenient`] leaves out what does not fit, such as another head.
    ///
    /// # Errors
    /// [`StudentError::OtherFirstKernel`] (in either mode: a network with a random first layer is no one's wish) and,
    /// in strict mode, [`StudentError::OtherNetwork`]; nothing is changed then.
    pub fn load_into(&self, store: &VarStore, mode: LoadMode) -> Result<LoadReport, StudentError> {
        const STEM: &str = "conv0p1s1.kernel";
        let of_network = store.trainable().into_iter().find(|(name, _)| name == STEM);
        if let (Some(ours), Some((_, theirs))) = (self.tensors.get(STEM), of_network) {
            let (file, network) = (ours.dims().first().copied(), theirs.dims().first().copied());
            if let (Some(file), Some(network)) = (file, network)
                && file != network
            {
                let (file, network) = (cube_root(file), cube_root(network));
                return Err(StudentError::OtherFirstKernel { file, network, path: self.path.clone() });
            }
        }
        store.load(&self.tensors, mode).map_err(|e| match e {
            SparseError::StateDict(report) => StudentError::OtherNetwork { report, path: self.path.clone() },
            other => other.into(),
        })
    }

    /// Number of trainable numbers, buffers left out.
    pub fn parameter_count(&self) -> usize {
        let buffer = |name: &str| name.contains("running_") || name.ends_with("num_batches_tracked");
        let weights = self.tensors.iter().filter(|(name, t)| !buffer(name) && t.dtype() != DType::I64);
        weights.map(|(_, t)| t.elem_count()).sum()
    }
}

fn cube_root(volume: usize) -> usize {
    (volume as f64).cbrt().round() as usize
}
