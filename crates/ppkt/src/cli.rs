//! The command line, as it is typed.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these texts are help on a terminal, where [1,2] is a list"
)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ppkt_device::DeviceChoice;
use ppkt_train::{FeatureLayer, Precision};

/// Pretrain 3D networks from 2D ones, without labels.
///
/// A frozen 2D network looks at an image, a sparse-voxel 3D network at the points seen in it; pixel and point
/// embeddings of the same surface are pulled together (PPKT, arXiv 2104.04687).
#[derive(Debug, Parser)]
#[command(name = "ppkt", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print the result as one JSON object, the last line of standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Threads for all computation [default: one a core]. Results do not depend on it.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl Arguments {
    pub(crate) fn threads(&self) -> Option<usize> {
        self.threads.map(usize::from)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch a small 3D network learn from a 2D one, offline, in a few minutes.
    ///
    /// Renders furnished rooms, pretrains a small student from the teacher inside the program, prints loss and
    /// retrieval before and after, then trains it on a few labels, beside one from random weights, and writes a page
    /// of it all.
    Demo(Demo),
    /// Pretrain a 3D network.
    Pretrain(Pretrain),
    /// Train a network to name classes, from a pretrained backbone or from scratch.
    Finetune(Finetune),
    /// Train only a linear head of classes on a backbone that stays as it is.
    Probe(Finetune),
    /// Measure a network that `finetune` or `probe` trained.
    Eval(Eval),
    BenchLabels(BenchLabels),
    /// Embed every point of a cloud with a trained network.
    Features(Features),
    /// Look at, check or make data.
    #[command(subcommand)]
    Data(Data),
    /// Look at or fetch 2D networks.
    #[command(subcommand)]
    Teacher(Teacher),
    Report(Report),
    /// Show what this program found: threads, instructions, caches, versions.
    Doctor,
    /// Print the completions of a shell.
    ///
    /// For example: ppkt completions bash > ~/.local/share/bash-completion/completions/ppkt
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Where networks are trained and run.
#[derive(Debug, Args)]
pub(crate) struct ComputeOn {
    /// What computes: cpu, cuda, cuda:1 (an NVIDIA GPU by its number), metal, or auto, the GPU that this program was
    /// built for and otherwise the processor. `ppkt doctor` lists what there is.
    #[arg(long, env = "PPKT_DEVICE", value_name = "DEVICE", default_value_t)]
    pub(crate) device: DeviceChoice,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Run folder [default: the first free of runs/demo, runs/demo-2, …].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Set a value of the recipe, such as pretrain.steps=100.
    #[arg(long, value_name = "KEY=VALUE", num_args = 1..)]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) on: ComputeOn,
}

/// Pretrain a 3D network from a frozen 2D one.
#[derive(Debug, Args)]
#[command(after_long_help = PRETRAIN_EXAMPLES)]
pub(crate) struct Pretrain {
    /// Recipe: a name (ppkt-rgbd, ppkt-outdoor, demo) or a TOML file, such as the config.toml of a run.
    #[arg(long, value_name = "NAME|FILE", required_unless_present = "resume")]
    pub(crate) recipe: Option<String>,
    /// Frames to train on: synthetic:rooms, nyuv2:DIR, sevenscenes:DIR, tum:DIR, sunrgbd:DIR, kitti:DIR,
    /// nuscenes:DIR, frames:DIR; several with ' + ' between them.
    #[arg(long, value_name = "URI")]
    pub(crate) data: Option<String>,
    /// The frozen 2D network: hf:org/name or hf:org/name@revision, file:PATH, builtin:tiny.
    #[arg(long, value_name = "URI")]
    pub(crate) teacher: Option<String>,
    /// Keep the teacher's feature maps in this folder: the first epoch fills it, later ones read it. Images are then not
    /// augmented; the part that would be cut out only chooses pairs.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<String>,
    /// Bytes that the cache may hold [default: 20GB].
    #[arg(long, value_name = "SIZE")]
    pub(crate) cache_limit: Option<String>,
    /// Run folder: configuration, metrics, checkpoints, pictures, the student, and a page of it all.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Continue the run of --out from its newest checkpoint; recipe and settings are its own.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Numbers that the 3D network is trained with: f32, or bf16, faster and in half the memory on NVIDIA GPUs and on
    /// processors with avx512_bf16 [default: the recipe's, f32].
    #[arg(long, value_name = "PRECISION")]
    pub(crate) precision: Option<Precision>,
    /// Memory that a training step may have in use, such as 6GB (of the GPU where it runs on one): beyond that the backward
    /// pass computes again what it would have kept, which takes more time and gives the same results [default: the
    /// recipe's, none].
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_limit: Option<String>,
    /// Set a value of the recipe, such as optimizer.lr=0.1; may be repeated, or given several.
    #[arg(long, value_name = "KEY=VALUE", num_args = 1..)]
    pub(crate) set: Vec<String>,
    /// Print the resolved recipe and stop.
    #[arg(long)]
    pub(crate) print_config: bool,
    #[command(flatten)]
    pub(crate) on: ComputeOn,
}

/// Write the page of a run: one HTML file that needs no network and no other file.
///
/// It shows loss and retrieval, seconds by stage, held-out frames, point clouds that can be turned and coloured, the
/// scores of classes, what labels are worth, settings and provenance: whatever the folder holds. What is missing or
/// half-written is said; a run that is still going on can be looked at.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Run folder of pretrain, demo, finetune or bench-labels.
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Where the page is written [default: report.html in the run folder].
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

const PRETRAIN_EXAMPLES: &str = "\
Examples:
  A ResNet-50 from the Hub teaches a MinkUNet34C on your own frames, with the paper's settings:
    ppkt pretrain --recipe ppkt-rgbd --data frames:my/frames --out runs/first

  The same on a laptop, smaller and shorter:
    ppkt pretrain --recipe ppkt-rgbd --data frames:my/frames --out runs/small \\
      --set steps=2000 batch.frames_per_batch=2 batch.voxel_size_m=0.05 student.arch=MinkUNet14A

  The teacher runs in the first epoch only, and for no later run with the same images:
    ppkt pretrain --recipe ppkt-rgbd --data frames:my/frames --cache maps --out runs/cached

  Go on after Ctrl-C, a crash or a power cut:
    ppkt pretrain --out runs/small --resume

  See every setting of a recipe:
    ppkt pretrain --recipe ppkt-rgbd --data frames:my/frames --out x --print-config";

/// Train on labels.
#[derive(Debug, Args)]
#[command(after_long_help = FINETUNE_EXAMPLES)]
pub(crate) struct Finetune {
    /// Recipe: a name (segmentation, probe, s3dis, scannet) or a TOML file, such as the config.toml of a run [default: segmentation, or
    /// probe for `ppkt probe`].
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) recipe: Option<String>,
    /// Labelled frames or scans: nyuv2:DIR, s3dis:DIR, scannet:DIR, synthetic:rooms, frames:DIR with labels.
    #[arg(long, value_name = "URI")]
    pub(crate) data: Option<String>,
    /// Where training begins: a run folder or a .safetensors file; architecture, voxel size and features are then those
    /// of the file [default: random weights].
    #[arg(long, value_name = "RUN|FILE")]
    pub(crate) from: Option<String>,
    /// Share of the frames whose labels are used, such as 0.05 for 5 %; which ones is drawn by the seed.
    #[arg(long, value_name = "SHARE")]
    pub(crate) share: Option<f64>,
    /// Run folder: configuration, metrics, checkpoints, labels.json, eval.json and the network.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Continue the run of --out from its newest checkpoint; recipe and settings are its own.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Numbers that the 3D network is trained with: f32, or bf16, faster and in half the memory on NVIDIA GPUs and on
    /// processors with avx512_bf16 [default: the recipe's, f32].
    #[arg(long, value_name = "PRECISION")]
    pub(crate) precision: Option<Precision>,
    /// Memory that a training step may have in use, such as 6GB (of the GPU where it runs on one): beyond that the backward
    /// pass computes again what it would have kept, which takes more time and gives the same results [default: the
    /// recipe's, none].
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_limit: Option<String>,
    /// Set a value of the recipe, such as optimizer.lr=0.1; may be repeated, or given several.
    #[arg(long, value_name = "KEY=VALUE", num_args = 1..)]
    pub(crate) set: Vec<String>,
    /// Print the resolved recipe and stop.
    #[arg(long)]
    pub(crate) print_config: bool,
    #[command(flatten)]
    pub(crate) on: ComputeOn,
}

const FINETUNE_EXAMPLES: &str = "\
Examples:
  A pretrained backbone learns from 5 % of the labelled frames, and is measured on held-out ones:
    ppkt finetune --data nyuv2:data/nyuv2 --from runs/first --share 0.05 --out runs/first-5

  The same from random weights, to compare with:
    ppkt finetune --data nyuv2:data/nyuv2 --share 0.05 --out runs/scratch-5 --set student.arch=MinkUNet14A

  What a linear head can read from the features as they are:
    ppkt probe --data nyuv2:data/nyuv2 --from runs/first --out runs/first-probe";

/// Show what labels are worth: train on few of them from random and from pretrained weights.
///
/// Both sides have the same labels, steps, schedule and augmentation; each side's learning rate is chosen on frames kept
/// back from training, never on test frames. Ends with a table (mean, standard deviation, paired difference with its
/// 95 % confidence interval), results.json, a plot and a page. Whatever is complete stays when it is stopped.
#[derive(Debug, Args)]
#[command(after_long_help = BENCH_LABELS_EXAMPLES)]
pub(crate) struct BenchLabels {
    /// Recipe: a name (labels-rooms, labels-rgbd) or a TOML file, such as the config.toml of a comparison.
    #[arg(long, value_name = "NAME|FILE", required_unless_present = "resume")]
    pub(crate) recipe: Option<String>,
    /// Labelled frames, such as nyuv2:DIR; also those to pretrain on, unless --unlabelled names others.
    #[arg(long, value_name = "URI")]
    pub(crate) data: Option<String>,
    /// Frames to pretrain on, where the recipe has a pretraining; their labels are not looked at.
    #[arg(long, value_name = "URI")]
    pub(crate) unlabelled: Option<String>,
    /// The 2D network that teaches, where the recipe has a pretraining.
    #[arg(long, value_name = "URI")]
    pub(crate) teacher: Option<String>,
    /// A pretrained run folder or .safetensors file, instead of the recipe's own pretraining.
    #[arg(long, value_name = "RUN|FILE", conflicts_with_all = ["unlabelled", "teacher"])]
    pub(crate) from: Option<String>,
    /// Folder of the comparison.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Continue the comparison of --out; recipe and settings are its own.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Numbers that the 3D network is trained with: f32, or bf16, faster and in half the memory on NVIDIA GPUs and on
    /// processors with avx512_bf16 [default: the recipe's, f32].
    #[arg(long, value_name = "PRECISION")]
    pub(crate) precision: Option<Precision>,
    /// Memory that a training step may have in use, such as 6GB (of the GPU where it runs on one): beyond that the backward
    /// pass computes again what it would have kept, which takes more time and gives the same results [default: the
    /// recipe's, none].
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_limit: Option<String>,
    /// Set a value of the recipe, such as seeds=[1,2,3] or finetune.steps=500.
    #[arg(long, value_name = "KEY=VALUE", num_args = 1..)]
    pub(crate) set: Vec<String>,
    /// Print the resolved recipe and stop.
    #[arg(long)]
    pub(crate) print_config: bool,
    #[command(flatten)]
    pub(crate) on: ComputeOn,
}

const BENCH_LABELS_EXAMPLES: &str = "\
Examples:
  Rendered rooms, 5 % of their labels, five seeds, nothing to download:
    ppkt bench-labels --recipe labels-rooms --out runs/labels-rooms

  NYU Depth V2, pretrained on it and on a sequence without labels:
    ppkt bench-labels --recipe labels-rgbd --data nyuv2:data/nyuv2 \\
      --unlabelled 'nyuv2:data/nyuv2 + sevenscenes:data/redkitchen' \\
      --teacher hf:timm/resnet50.tv_in1k --out runs/labels-nyuv2

  With a network that was pretrained before:
    ppkt bench-labels --recipe labels-rgbd --data nyuv2:data/nyuv2 --from runs/first --out runs/labels-first

  Go on after Ctrl-C, a crash or a power cut:
    ppkt bench-labels --out runs/labels-nyuv2 --resume";

#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// The network: a run folder of `finetune` or `probe`, or its student.safetensors.
    #[arg(long, value_name = "RUN|FILE")]
    pub(crate) from: String,
    /// Labelled frames.
    #[arg(long, value_name = "URI")]
    pub(crate) data: String,
    /// Which part of them: train, validation or all.
    #[arg(long, default_value = "validation", value_name = "PART")]
    pub(crate) split: String,
    /// Looks at each frame, turned and mirrored, that vote on each point.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) votes: u16,
    /// Write the clouds of some frames, with label and prediction, into this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) samples: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) on: ComputeOn,
}

/// Embed every point of a cloud with a trained network, and colour the cloud by what the network says of it.
///
/// Voxel size, point features and architecture are those that the checkpoint names. The cloud is in metres with z up,
/// as in training; a file of double precision may lie anywhere on a map. Points of one voxel have one embedding.
#[derive(Debug, Args)]
#[command(after_long_help = FEATURES_EXAMPLES)]
pub(crate) struct Features {
    /// The cloud: a .ply, .npy, .npz, .bin (KITTI) or .pcd.bin (nuScenes) file, or a data URI with --frame.
    #[arg(value_name = "FILE|URI")]
    pub(crate) input: String,
    /// The network: a run folder of pretrain, finetune or probe, or a .safetensors file.
    #[arg(long, value_name = "RUN|FILE")]
    pub(crate) from: String,
    /// Which frame of a data URI, counted from 0 over all of its frames.
    #[arg(long, value_name = "N")]
    pub(crate) frame: Option<usize>,
    /// Write the features to a .npy, or a .safetensors with a tensor `features`: 32-bit, one row a point, in the order
    /// of the points.
    #[arg(long, value_name = "FILE", required_unless_present = "ply")]
    pub(crate) out: Option<PathBuf>,
    /// Write the cloud to a .ply, coloured by the first three principal components of its features.
    #[arg(long, value_name = "FILE")]
    pub(crate) ply: Option<PathBuf>,
    /// Where features are taken: `head`, after the last layer (the embedding that was compared with pixels, or the
    /// scores of classes), or `backbone`, before it [default: head of a pretrained network, backbone of one with
    /// classes].
    #[arg(long, value_name = "LAYER")]
    pub(crate) layer: Option<FeatureLayer>,
    /// Bring every row to length 1, as pretraining compares them.
    #[arg(long)]
    pub(crate) unit_norm: bool,
    /// Side of a voxel, metres [default: the checkpoint's].
    #[arg(long, value_name = "METRES")]
    pub(crate) voxel_size: Option<f32>,
    /// What a voxel tells the network, such as rgb or xyz,intensity, for a checkpoint that does not say.
    #[arg(long, value_name = "LIST")]
    pub(crate) point_features: Option<String>,
    /// What the columns of an array or a .bin are, such as x,y,z,red,green,blue,_ with _ for those that are not read
    /// [default: by their number].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
    /// The largest intensity that the sensor gives, such as 255 [default: 1, 255 or 65535, by the values].
    #[arg(long, value_name = "VALUE")]
    pub(crate) intensity_max: Option<f32>,
    /// Voxels that the network is given at once: larger clouds are computed in parts, with the same result.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) max_voxels: usize,
    #[command(flatten)]
    pub(crate) on: ComputeOn,
}

const FEATURES_EXAMPLES: &str = "\
Examples:
  A scan, embedded by a pretrained network, and a picture of it for any viewer of point clouds:
    ppkt features scan.ply --from runs/first --out scan.npy --ply scan-features.ply

  What the backbone of a network with classes says of a frame that was never trained on:
    ppkt features nyuv2:data/nyuv2 --frame 500 --from runs/first-5 --layer backbone --out frame.safetensors

  A LiDAR sweep of KITTI:
    ppkt features training/velodyne/000008.bin --from runs/outdoor --out 000008.npy

  An array with columns of its own (in numpy: np.load(\"out.npy\") is [points, dimensions]):
    ppkt features points.npy --columns x,y,z,_,red,green,blue --from runs/first --out out.npy

Memory: the cloud, one embedding a voxel, and the network on --max-voxels voxels with what it sees around them; rows
go to the file as they are written. The whole input file is in memory while it is read.";

#[derive(Debug, Subcommand)]
pub(crate) enum Data {
    /// Show what a dataset holds: frames, sizes, classes, the first frame.
    Inspect {
        /// Data URI.
        uri: String,
    },
    /// Check every frame, explain each fault, and draw depth edges over photos.
    Verify {
        /// Data URI.
        uri: String,
        /// Folder for pictures of depth edges, or of a LiDAR's points, over the photo: edges of things must lie on the
        /// edges of their depth, points on the things.
        #[arg(long, value_name = "DIR")]
        pictures: Option<PathBuf>,
        /// How many pictures.
        #[arg(long, default_value_t = 4, value_name = "N")]
        frames: usize,
    },
    /// Run a teacher over every image once and keep its feature maps, for `ppkt pretrain --cache`.
    ///
    /// Give the recipe and settings of the run: the size of the images and the teacher's stage decide what is kept.
    Cache(FillCache),
    /// Write rendered rooms as a frames: folder.
    Synth {
        /// Folder to write; must not exist.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Which rooms, as a data URI.
        #[arg(long, value_name = "URI", default_value = "synthetic:rooms?scenes=20")]
        rooms: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct FillCache {
    /// Data URI.
    pub(crate) uri: String,
    /// Folder that the maps are kept in.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: String,
    /// Bytes that the folder may hold [default: 20GB].
    #[arg(long, value_name = "SIZE")]
    pub(crate) cache_limit: Option<String>,
    /// The frozen 2D network [default: the recipe's].
    #[arg(long, value_name = "URI")]
    pub(crate) teacher: Option<String>,
    /// Recipe of the run: a name or a TOML file.
    #[arg(long, value_name = "NAME|FILE", default_value = "ppkt-rgbd")]
    pub(crate) recipe: String,
    /// Set a value of the recipe, such as batch.image_size=[320,240].
    #[arg(long, value_name = "KEY=VALUE", num_args = 1..)]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) on: ComputeOn,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Teacher {
    /// Show family, sizes, stages and preprocessing, and draw the features of an image.
    Inspect {
        /// Teacher URI.
        uri: String,
        /// Where features are taken, such as layer3; several, as in layer3,layer4, are put side by side [default: the
        /// last stage of the file].
        #[arg(long, value_name = "STAGE", value_delimiter = ',')]
        stage: Vec<String>,
        /// An image whose features are drawn.
        #[arg(long, value_name = "FILE", requires = "picture")]
        image: Option<PathBuf>,
        /// Where the drawing is written (PNG).
        #[arg(long, value_name = "FILE", requires = "image")]
        picture: Option<PathBuf>,
    },
    /// Download a network from the Hub, checked, so that a machine can work offline.
    Fetch {
        /// Teacher URI, hf:org/name or hf:org/name@revision.
        uri: String,
    },
}
