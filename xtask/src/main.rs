//! The tasks of the workspace: `cargo xtask TASK`. One file for each.

mod check;
mod rules;

use clap::Parser;

/// The tasks of the ppkt workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Runs every house rule, the cheapest first: what has to pass before anything is merged
    Check(check::Options),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Check(options) => check::run(&options),
    }
}
