//! `ppkt`: pretrains 3D networks from 2D ones.
//!
//! Parses the command line, runs one command, prints the chain of an error, and chooses the exit code: 0 done, 1 the
//! run failed, 2 the command line or the configuration is wrong.

mod bars;
mod cli;
mod commands;
mod output;

use std::process::ExitCode;

use clap::Parser;

/// candle asks for fresh memory in every operation; this allocator keeps its pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    set_threads(arguments.threads());
    keep_pages();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("PPKT_LOG").unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    match commands::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if let Some(remedy) = ppkt_device::remedy(error.as_ref()) {
                eprintln!("{remedy}");
            }
            if commands::is_config(&error) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Settles the number of threads of our kernels, and keeps candle from starting its own spinning threads beside them.
#[expect(unsafe_code, reason = "environment variables are the only way to tell candle")]
fn set_threads(threads: Option<usize>) {
    // SAFETY: no other thread has been started yet, so none reads the environment.
    unsafe {
        if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
            std::env::set_var("CANDLE_NUM_THREADS", "1");
        }
        if let Some(threads) = threads {
            std::env::set_var("RAYON_NUM_THREADS", threads.to_string());
        }
    }
}

/// Tells the allocator never to give pages back: every step asks for the same sizes again, and fresh pages, which the
/// system has to clear, cost up to a fifth of a step.
#[expect(unsafe_code, reason = "the allocator's settings are reached through its C interface alone")]
fn keep_pages() {
    /// `mi_option_purge_delay` of mimalloc 2 and 3: milliseconds until unused pages are given back, −1 for never.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: the function stores a number in the allocator's table of options; it may be called at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}
