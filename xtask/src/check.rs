//! `cargo xtask check`: every house rule, the cheapest first.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::rules::{Member, RULES, Workspace};

/// What to check.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the rules that are checked by reading files (a second); these also run as a test
    #[arg(long)]
    rules: bool,
    /// Go on after a step that fails, and list all that failed at the end
    #[arg(long)]
    keep_going: bool,
}

/// A step that runs cargo.
struct Step {
    name: String,
    arguments: Vec<String>,
    environment: &'static [(&'static str, &'static str)],
}

impl Step {
    fn new(name: impl Into<String>, arguments: &str) -> Self {
        let arguments = arguments.split(' ').map(str::to_owned).collect();
        Self { name: name.into(), arguments, environment: &[] }
    }

    fn run(&self, workspace: &Workspace) -> Result<()> {
        let started = Instant::now();
        println!("── {}: cargo {}", self.name, self.arguments.join(" "));
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&workspace.root).args(&self.arguments).envs(self.environment.iter().copied());
        let status = command.status().context("cargo cannot be started")?;
        if !status.success() {
            bail!("{} failed; repeat it with: cargo {}", self.name, self.arguments.join(" "));
        }
        println!("   passed in {:.0} s", started.elapsed().as_secs_f64());
        Ok(())
    }
}

/// Checks the workspace that this program was built from.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::find()?;
    let mut failed = Vec::new();
    let mut note = |result: Result<()>| match result {
        Err(error) if options.keep_going => {
            println!("   {error}");
            failed.push(error.to_string());
            Ok(())
        }
        other => other,
    };
    note(rules(&workspace))?;
    if !options.rules {
        for step in steps(&workspace) {
            note(step.run(&workspace))?;
        }
    }
    if !failed.is_empty() {
        bail!("{} checks failed:\n  {}", failed.len(), failed.join("\n  "));
    }
    println!("the house is in order");
    Ok(())
}

fn rules(workspace: &Workspace) -> Result<()> {
    let mut n_faults = 0;
    for (rule, find_faults) in RULES {
        let faults = find_faults(workspace);
        println!("── {rule}: {}", if faults.is_empty() { "passed" } else { "BROKEN" });
        faults.iter().for_each(|fault| println!("   {fault}"));
        n_faults += faults.len();
    }
    if n_faults > 0 {
        bail!("the house rules are broken in {n_faults} places, listed above");
    }
    Ok(())
}

/// What cargo checks, the cheapest first. All in release, the one profile whose dependencies a user builds.
fn steps(workspace: &Workspace) -> Vec<Step> {
    const DENY: &str = "-- -D warnings";
    let mut steps = vec![
        Step::new("formatting", "fmt --all --check"),
        Step::new("lints", &format!("clippy --release --locked --workspace --all-targets {DENY}")),
    ];
    // Built together, crates lend each other features; a crate that is taken alone has only its own.
    for name in workspace.libraries() {
        let alone = format!("clippy --release --locked --package {name}");
        steps.push(Step::new(format!("{name} alone"), &format!("{alone} {DENY}")));
        let member = workspace.members.iter().find(|m| m.name() == name);
        if member.is_some_and(|m| m.manifest.contains_key("features")) {
            let none = format!("{alone} --no-default-features {DENY}");
            steps.push(Step::new(format!("{name} without default features"), &none));
            if let Some(features) = member.and_then(portable_features) {
                let all = format!("{alone} --features {features} {DENY}");
                steps.push(Step::new(format!("{name} with every portable feature"), &all));
            }
        }
    }
    let mut docs = Step::new("documentation", "doc --release --locked --workspace --no-deps");
    docs.environment = &[("RUSTDOCFLAGS", "-D warnings")];
    steps.push(docs);
    steps.push(Step::new("tests", "test --release --locked --workspace"));
    steps
}

/// The features that need no GPU's tools, parted by commas; none where there are no such.
fn portable_features(member: &Member) -> Option<String> {
    const OF_A_GPU: [&str; 3] = ["cuda", "cudnn", "metal"];
    let all = member.manifest.get("features")?.as_table()?.keys();
    let names: Vec<&str> =
        all.map(String::as_str).filter(|f| *f != "default" && !OF_A_GPU.contains(f)).collect();
    (!names.is_empty()).then(|| names.join(","))
}
