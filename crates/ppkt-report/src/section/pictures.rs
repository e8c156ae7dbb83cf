//! The pictures of a run.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use crate::run::Run;

pub(super) fn section(run: &Run) -> Markup {
    html! {
        @if !run.pictures.is_empty() {
            section aria-labelledby="pictures" {
                h2 #pictures { "Held-out frames" }
                p.lead { "Frames that were not trained on. Equal colours are equal embeddings." }
                div.pictures {
                    @for picture in &run.pictures {
                        figure {
                            div.scroll tabindex="0" role="region" aria-label={ "Frame " (picture.name) } { img src={ "data:image/jpeg;base64," (STANDARD.encode(&picture.jpeg)) }
                                width=(picture.width) height=(picture.height) alt={ "Pictures of frame " (picture.name) }; }
                            figcaption { (picture.name) }
                        }
                    }
                }
            }
        }
    }
}
