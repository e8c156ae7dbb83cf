//! The parts of a page, one file each. A part that a run has nothing for is empty.

mod clouds;
mod curves;
mod evaluation;
mod labels;
mod pictures;
mod settings;
mod summary;
mod time;

use maud::{Markup, html};

use crate::run::Run;

/// What a page says, in the order of reading.
pub(crate) fn all(run: &Run) -> Markup {
    html! {
        (summary::header(run))
        (missing(run))
        main {
            (labels::section(run))
            (evaluation::section(run))
            (clouds::section(run))
            (curves::section(run))
            (pictures::section(run))
            (time::section(run))
            (settings::section(run))
        }
    }
}

/// What is not on the page.
fn missing(run: &Run) -> Markup {
    html! {
        @if !run.notes.is_empty() {
            aside.notes aria-label="What is missing" {
                @for note in &run.notes { p { (note) } }
            }
        }
    }
}

/// A table with names to the left and values to the right.
fn pairs<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> Markup {
    html! {
        dl.pairs {
            @for (name, value) in rows {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}
