//! What there is on this machine.

/// A device that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The name under which it is asked for.
    pub device: String,
    /// Its model, memory and driver, or why it cannot be used.
    pub about: String,
    /// Whether it can be used.
    pub usable: bool,
}

/// Every device of the kinds that a program can be built for, the processor first; kinds that this one was not built
/// for are there too, with what to do about it.
pub fn findings() -> Vec<Finding> {
    let mut found = vec![Finding { device: "cpu".into(), about: "always there".into(), usable: true }];
    #[cfg(feature = "cuda")]
    found.extend(crate::cuda::findings());
    #[cfg(not(feature = "cuda"))]
    found.push(not_built(crate::DeviceChoice::Cuda(0)));
    #[cfg(feature = "metal")]
    found.push(match crate::DeviceChoice::Metal.open() {
        Ok(_) => Finding { device: "metal".into(), about: "the Apple GPU".into(), usable: true },
        Err(error) => Finding { device: "metal".into(), about: error.to_string(), usable: false },
    });
    #[cfg(not(feature = "metal"))]
    if cfg!(target_os = "macos") {
        found.push(not_built(crate::DeviceChoice::Metal));
    }
    found
}

#[cfg(not(all(feature = "cuda", feature = "metal")))]
fn not_built(choice: crate::DeviceChoice) -> Finding {
    let feature = if choice == crate::DeviceChoice::Metal { "metal" } else { "cuda" };
    Finding {
        device: choice.to_string(),
        about: format!("this program was built without it (cargo build --release --features {feature})"),
        usable: false,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_kind_is_named_with_what_it_lacks() {
        let found = super::findings();
        assert_eq!((found[0].device.as_str(), found[0].usable), ("cpu", true));
        assert!(found.iter().any(|f| f.device.starts_with("cuda")), "{found:?}");
        assert!(found.iter().all(|f| !f.about.is_empty()));
    }
}
