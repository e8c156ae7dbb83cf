//! Progress bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use ppkt_train::{FinetuneMetrics, Observer, Retrieval, StepMetrics};

/// A bar that shows what `template` says, of a task of so many parts; without a number it only turns. Nothing is drawn
/// where standard error is no terminal.
pub(crate) fn bar(length: Option<u64>, template: &str) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Draws a run. All of it goes to standard error, so that standard output holds the result alone.
pub(crate) struct Bars {
    terminal: bool,
    task: Option<(String, ProgressBar)>,
    steps: Option<ProgressBar>,
    loss: Option<f64>,
}

impl Bars {
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), task: None, steps: None, loss: None }
    }

    fn line(&self, text: &str) {
        match &self.steps {
            Some(bar) if self.terminal => bar.println(text),
            _ => eprintln!("{text}"),
        }
    }

    /// One step on.
    fn moved(&mut self, step: u64, loss: f64, skipped: &[String]) {
        // A single step says little; a moving mean shows where the loss goes.
        let loss = self.loss.map_or(loss, |l| 0.95 * l + 0.05 * loss);
        self.loss = Some(loss);
        if let Some(bar) = &self.steps {
            bar.set_message(format!("loss {loss:.3}"));
            bar.set_position(step + 1);
        }
        for frame in skipped {
            self.line(&format!("left out a damaged frame: {frame}"));
        }
    }
}

impl Observer for Bars {
    fn message(&mut self, text: &str) {
        self.line(text);
    }

    fn progress(&mut self, task: &str, done: u64, total: u64) {
        if self.task.as_ref().is_none_or(|(name, _)| name != task) {
            let bar = bar(Some(total), "{msg:18} {wide_bar} {pos}/{len} · {per_sec} · {eta} left");
            bar.set_message(task.to_owned());
            self.task = Some((task.to_owned(), bar));
        }
        if let Some((_, bar)) = &self.task {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    fn progress_done(&mut self, _task: &str) {
        if let Some((_, bar)) = self.task.take() {
            bar.finish_and_clear();
        }
    }

    fn begin(&mut self, first_step: u64, steps: u64) {
        let bar = bar(Some(steps), "training {wide_bar} {pos}/{len} · {per_sec} · {eta} left · {msg}");
        bar.set_position(first_step);
        bar.reset_eta();
        self.steps = Some(bar);
    }

    fn step(&mut self, metrics: &StepMetrics) {
        self.moved(metrics.step, metrics.loss, &metrics.skipped);
    }

    fn trained(&mut self, metrics: &FinetuneMetrics) {
        self.moved(metrics.step, metrics.loss, &metrics.skipped);
    }

    fn validated(&mut self, steps_done: u64, r: &Retrieval) {
        self.line(&format!(
            "after {steps_done:>6} steps: held-out retrieval@1 {:5.1} %  @5 {:5.1} %  loss {:.3}  (chance {:.1} %)",
            100.0 * r.at_1,
            100.0 * r.at_5,
            r.loss,
            100.0 / r.candidates as f64,
        ));
    }

    fn checkpointed(&mut self, place: &Path) {
        tracing::info!("checkpoint in {}", place.display());
    }

    fn end(&mut self) {
        if let Some(bar) = self.steps.take() {
            bar.finish_and_clear();
        }
    }
}
