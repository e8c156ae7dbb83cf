//! The program on the stand-in: training with labels, what is made of a run, and what it says where a GPU cannot be had.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

use super::super::run::{ending, losses_of};

/// Rooms and voxels so coarse that a step takes seconds.
pub(super) const DATA: &str = "synthetic:rooms?scenes=6&width=80&height=60";
/// Settings to go with them, for every kind of training.
const SMALL: [&str; 2] = ["batch.frames_per_batch=2", "batch.voxel_size_m=0.2"];
/// And for pretraining.
pub(super) const PRETRAINING: [&str; 6] = [
    SMALL[0],
    SMALL[1],
    "batch.image_size=[80,60]",
    "objective.pairs=128",
    "validation.frames=2",
    "validation.candidates=64",
];

/// What `ppkt` must say, and exit with an error, with this variable set.
const ERRORS: [(&str, &str, &str, &str); 5] = [
    ("PPKT_REHEARSAL_DEVICES", "0", "cuda", "shows no GPU"),
    ("PPKT_REHEARSAL_DEVICES", "1", "cuda:3", "there is one GPU, cuda:0"),
    ("PPKT_REHEARSAL_DRIVER", "12080", "cuda", "driver is too old"),
    // While the device is opened, and in the midst of a step.
    ("PPKT_REHEARSAL_MEMORY_MIB", "0", "cuda", "smaller batches"),
    ("PPKT_REHEARSAL_MEMORY_MIB", "4", "cuda", "smaller batches"),
];

/// The program, and where its libraries are.
pub(super) struct Program<'a> {
    pub(super) path: PathBuf,
    pub(super) lib: &'a Path,
}

impl Program<'_> {
    /// All of it. Prints what passed, and gives the number of what did not.
    pub(super) fn rehearse(&self) -> Result<usize> {
        let dir = tempfile::tempdir()?;
        let mut failed = 0;
        let mut tell = |what: &str, result: Result<String>| match result {
            Ok(how) => println!("   passed: {what}{how}"),
            Err(error) => {
                failed += 1;
                println!("   FAILED: {what}: {error:#}");
            }
        };
        for (variable, value, device, words) in ERRORS {
            let what = format!("--device {device} with {variable}={value}");
            tell(&what, self.error(dir.path(), (variable, value), device, words));
        }
        let pretrained = dir.path().join("pretrained");
        tell("a pretraining in bf16", self.bf16(&pretrained));
        tell("finetune", self.both(dir.path(), "finetune", &pretrained));
        tell("probe", self.both(dir.path(), "probe", &pretrained));
        tell("eval", self.eval(&dir.path().join("finetune-cuda")));
        Ok(failed)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.env("LD_LIBRARY_PATH", self.lib).env("RUST_BACKTRACE", "0").args(arguments);
        command
    }

    fn error(
        &self,
        dir: &Path,
        (variable, value): (&str, &str),
        device: &str,
        words: &str,
    ) -> Result<String> {
        let out = dir.join(format!("{variable}-{value}"));
        let mut command = self.command(&["pretrain", "--recipe", "demo", "--data", DATA, "--device", device]);
        command.arg("--out").arg(out).arg("--set").args(PRETRAINING).arg("steps=2");
        let output = command.env(variable, value).output().context("the program cannot be started")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "it went on as if nothing were wrong");
        ensure!(said.contains("error:") && said.contains(words), "it does not say {words:?}: {said}");
        Ok(String::new())
    }

    /// Three steps in bf16, whose losses are numbers and fall.
    fn bf16(&self, out: &Path) -> Result<String> {
        let mut command = self.command(&["pretrain", "--recipe", "demo", "--data", DATA, "--device", "cuda"]);
        command.args(["--precision", "bf16", "--out"]).arg(out);
        command.arg("--set").args(PRETRAINING).args(["steps=3", "validation.every=3"]);
        succeeded(&command.output().context("the program cannot be started")?)?;
        let losses = losses_of(out)?;
        ensure!(losses.len() == 3 && losses.iter().all(|l| l.is_finite()), "losses {losses:?}");
        ensure!(losses[2] < losses[0], "it learns nothing: losses {losses:?}");
        Ok(format!(" ({:.3} to {:.3})", losses[0], losses[2]))
    }

    /// Training with labels, from a pretrained network, on the processor and on the stand-in.
    fn both(&self, dir: &Path, how: &str, from: &Path) -> Result<String> {
        let losses = |device: &str| -> Result<Vec<f64>> {
            let out = dir.join(format!("{how}-{device}"));
            let mut command = self.command(&[how, "--data", DATA, "--device", device, "--from"]);
            command.arg(from).arg("--out").arg(&out);
            command.arg("--set").args(SMALL).args(["steps=3", "student.arch=MinkUNet14Tiny"]);
            succeeded(&command.output().context("the program cannot be started")?)?;
            losses_of(&out)
        };
        let (cpu, cuda) = (losses("cpu")?, losses("cuda")?);
        let apart = apart(&cpu, &cuda)?;
        ensure!(apart <= 1e-3, "losses differ by {apart:.1e} of their value: {cpu:?}, on the GPU {cuda:?}");
        Ok(format!(" (losses differ by at most {apart:.1e} of their value)"))
    }

    fn eval(&self, from: &Path) -> Result<String> {
        let measured = |device: &str| -> Result<String> {
            let mut command = self.command(&["eval", "--data", DATA, "--device", device, "--json", "--from"]);
            let output = command.arg(from).output().context("the program cannot be started")?;
            succeeded(&output)?;
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let object: serde_json::Value =
                serde_json::from_str(printed.lines().next_back().unwrap_or_default())?;
            Ok(format!("{} {}", object["accuracy"], object["points"]))
        };
        let (cpu, cuda) = (measured("cpu")?, measured("cuda")?);
        ensure!(cpu == cuda && !cpu.contains("null"), "accuracy and points {cpu}, on the GPU {cuda}");
        Ok(String::new())
    }
}

fn succeeded(output: &Output) -> Result<()> {
    ensure!(output.status.success(), "it failed: {}", ending(output));
    Ok(())
}

/// The largest difference of two losses of one step, relative to that of the processor.
fn apart(cpu: &[f64], cuda: &[f64]) -> Result<f64> {
    ensure!(cpu.len() == cuda.len() && !cpu.is_empty(), "a run ended early");
    Ok(cpu.iter().zip(cuda).map(|(a, b)| (a - b).abs() / a.abs().max(1e-12)).fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    #[test]
    fn losses_are_compared_by_their_value() {
        assert_eq!(super::apart(&[2.0, 4.0], &[2.0, 3.0]).unwrap(), 0.25);
        assert!(super::apart(&[2.0], &[2.0, 3.0]).is_err() && super::apart(&[], &[]).is_err());
    }
}
