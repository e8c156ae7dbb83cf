//! The tasks of the workspace: `cargo xtask TASK`. One file for each.

mod arm;
mod bench;
mod check;
mod goldens;
mod gpu;
mod metal;
mod rules;
mod teacher_tiny;
mod toolchain;

use clap::Parser;

/// candle asks for fresh memory in every operation; an allocator that keeps its pages makes them several times faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The tasks of the ppkt workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Runs every house rule, the cheapest first: what has to pass before anything is merged
    Check(check::Options),
    /// Tests the kernels for 64-bit ARM, elsewhere than there in an emulator (needs a cross linker and qemu)
    Arm(arm::Options),
    /// Measures how fast and how lean everything is, alone or against other libraries
    Bench(bench::Bench),
    /// Measures one section for `bench`
    #[command(hide = true)]
    BenchWorker(bench::Worker),
    /// Makes the fixtures of the teacher's tests anew with torchvision, timm and transformers (needs Python)
    Goldens(goldens::Goldens),
    /// Prepares, on a machine without a GPU, what is to be tested and measured on one with
    #[command(subcommand)]
    Gpu(gpu::Gpu),
    /// Checks the types of the build for Apple's GPUs, on a machine that is no Mac
    Metal(metal::Options),
    /// Trains the embedded teacher on labels of rendered rooms, and writes its weights and README
    TeacherTiny(teacher_tiny::TeacherTiny),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Check(options) => check::run(&options),
        Task::Arm(options) => arm::run(&options),
        Task::Bench(task) => task.run(),
        Task::BenchWorker(task) => task.run(),
        Task::Goldens(task) => task.run(),
        Task::Gpu(task) => task.run(),
        Task::Metal(options) => metal::run(&options),
        Task::TeacherTiny(task) => task.run(),
    }
}
