//! The commands: one file each.

mod bench_labels;
mod data;
mod demo;
mod doctor;
mod eval;
mod features;
mod finetune;
mod pretrain;
mod report;
mod teacher;

use anyhow::Result;
use clap::CommandFactory;
use ppkt_train::TrainError;

use crate::cli::{Arguments, Command};
use crate::output;

/// Runs what was asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let json = arguments.json;
    match &arguments.command {
        Command::Demo(demo) => demo::run(demo, json),
        Command::Pretrain(pretrain) => pretrain::run(pretrain, json),
        Command::Finetune(finetune) => finetune::run(finetune, "segmentation", json),
        Command::Probe(probe) => finetune::run(probe, "probe", json),
        Command::Eval(eval) => eval::run(eval, json),
        Command::BenchLabels(bench) => bench_labels::run(bench, json),
        Command::Features(features) => features::run(features, json),
        Command::Data(data) => data::run(data, json),
        Command::Teacher(teacher) => teacher::run(teacher, json),
        Command::Report(report) => report::run(report, json),
        Command::Doctor => doctor::run(json),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "ppkt", &mut script);
            output::bytes(&script)
        }
    }
}

/// Whether an error is the fault of the command line or the configuration.
pub(crate) fn is_config(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<TrainError>().is_some_and(TrainError::is_config)
            || cause
                .downcast_ref::<ppkt_device::DeviceError>()
                .is_some_and(ppkt_device::DeviceError::is_config)
            || cause
                .downcast_ref::<ppkt_report::ReportError>()
                .is_some_and(ppkt_report::ReportError::is_config)
            || cause
                .downcast_ref::<ppkt_data::DataError>()
                .is_some_and(ppkt_data::DataError::is_configuration)
    })
}
