//! What stands between a user and a device, with the remedy.

/// What to do where a device has no memory left.
pub(crate) const OUT_OF_MEMORY_REMEDY: &str = "close other programs that use it (nvidia-smi lists them), or take smaller batches (batch.frames_per_batch)";

/// What to do where the driver is older than the program.
const OLD_DRIVER_REMEDY: &str =
    "install a newer one (for CUDA 13 it is 580 or later; nvidia-smi shows it), or ask for --device cpu";

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No such name.
    #[error(
        "no device is called {asked:?}; there are auto, cpu, cuda, cuda:1 (an NVIDIA GPU by its number) and metal"
    )]
    Unknown {
        /// What was asked for.
        asked: String,
    },
    /// The program was built without the kernels of the device.
    #[error(
        "this program was built without {feature}: build it with `cargo build --release --features {feature}`, or ask for --device cpu"
    )]
    NotBuilt {
        /// The feature of cargo that brings them.
        feature: &'static str,
    },
    /// There is no driver, or one for building alone.
    #[error(
        "no NVIDIA driver answers on this machine: install one (nvidia-smi shows it), or ask for --device cpu"
    )]
    NoDriver(#[source] Box<candle_core::Error>),
    /// The driver is older than the libraries that the program was built with.
    #[error("the NVIDIA driver is too old for this program: {OLD_DRIVER_REMEDY}")]
    OldDriver(#[source] Box<candle_core::Error>),
    /// The kernels have machine code for newer GPUs alone.
    #[error(
        "{device} has compute capability {major}.{minor}, and the kernels need 8.0 or later: choose a newer GPU, or ask for --device cpu"
    )]
    OldGpu {
        /// The device.
        device: String,
        /// Its compute capability, before the point.
        major: i32,
        /// And behind it.
        minor: i32,
    },
    /// There is a driver, and no such GPU.
    #[error("there is no {asked}: {there}; choose one that `ppkt doctor` lists, or ask for --device cpu")]
    NoSuchDevice {
        /// The device.
        asked: String,
        /// What there is instead.
        there: String,
        /// candle's words.
        #[source]
        source: Box<candle_core::Error>,
    },
    /// The GPU has no room.
    #[error("the memory of {device} does not suffice: {OUT_OF_MEMORY_REMEDY}")]
    OutOfMemory {
        /// The device.
        device: String,
        /// candle's words.
        #[source]
        source: Box<candle_core::Error>,
    },
    /// Anything else.
    #[error("{device} cannot be used")]
    Other {
        /// The device.
        device: String,
        /// candle's words.
        #[source]
        source: Box<candle_core::Error>,
    },
}

impl DeviceError {
    /// Whether the command line asks for what this program or machine does not have.
    pub fn is_config(&self) -> bool {
        matches!(
            self,
            Self::Unknown { .. } | Self::NotBuilt { .. } | Self::NoSuchDevice { .. } | Self::OldGpu { .. }
        )
    }

    /// From what candle says on opening `device`; `count` is the number of GPUs, where a driver tells it.
    #[cfg_attr(
        not(any(feature = "cuda", feature = "metal", test)),
        expect(dead_code, reason = "only GPUs fail")
    )]
    pub(crate) fn on_opening(device: String, count: Option<usize>, source: candle_core::Error) -> Self {
        let text = format!("{source:?}");
        let source = Box::new(source);
        if says(&text, &["CUDA_ERROR_STUB_LIBRARY"]) {
            return Self::NoDriver(source);
        }
        if is_old_driver(&text) {
            return Self::OldDriver(source);
        }
        if says(&text, &["CUDA_ERROR_NO_DEVICE", "CUDA_ERROR_INVALID_DEVICE", "no Metal", "no device"]) {
            let there = match count {
                Some(1) => "there is one GPU, cuda:0".to_owned(),
                Some(n) if n > 1 => format!("there are {n} GPUs, cuda:0 to cuda:{}", n - 1),
                _ => "this machine shows no GPU".to_owned(),
            };
            return Self::NoSuchDevice { asked: device, there, source };
        }
        if is_out_of_memory(&text) {
            return Self::OutOfMemory { device, source };
        }
        Self::Other { device, source }
    }
}

/// What can be done about an error that came up in the middle of something, where that is known and the messages of
/// its chain do not say it themselves.
///
/// Errors of candle reach the program inside those of other crates, which is why this looks at the text of the whole
/// chain: the driver's codes are its fixed part.
pub fn remedy(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let (mut messages, mut codes) = (String::new(), String::new());
    let mut next = Some(error);
    while let Some(error) = next {
        messages += &format!("{error} ");
        codes += &format!("{error:?} {error} ");
        next = error.source();
    }
    let (what, todo) = match () {
        () if is_out_of_memory(&codes) => ("the device has no memory left", OUT_OF_MEMORY_REMEDY),
        () if is_old_driver(&codes) => ("the driver is too old for this program", OLD_DRIVER_REMEDY),
        () => return None,
    };
    (!messages.contains(todo)).then(|| format!("{what}: {todo}"))
}

fn says(text: &str, codes: &[&str]) -> bool {
    codes.iter().any(|code| text.contains(code))
}

fn is_out_of_memory(text: &str) -> bool {
    says(
        text,
        &[
            "CUDA_ERROR_OUT_OF_MEMORY",
            "CUBLAS_STATUS_ALLOC_FAILED",
            "CURAND_STATUS_ALLOCATION_FAILED",
            "kIOGPUCommandBufferCallbackErrorOutOfMemory",
        ],
    )
}

fn is_old_driver(text: &str) -> bool {
    says(
        text,
        &[
            "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
            "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
            "CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER",
            "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
            "CUDA_ERROR_INSUFFICIENT_DRIVER",
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(code: &str, count: Option<usize>) -> DeviceError {
        let source = candle_core::Error::msg(format!("DriverError({code}, \"words\")"));
        DeviceError::on_opening("cuda:2".into(), count, source)
    }

    #[test]
    fn a_code_of_the_driver_becomes_a_remedy() {
        let cases = [
            ("CUDA_ERROR_STUB_LIBRARY", None, "install one"),
            ("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", None, "newer"),
            ("CUDA_ERROR_UNSUPPORTED_PTX_VERSION", Some(1), "newer"),
            ("CUDA_ERROR_NO_DEVICE", Some(0), "shows no GPU"),
            ("CUDA_ERROR_INVALID_DEVICE", Some(2), "cuda:0 to cuda:1"),
            ("CUDA_ERROR_OUT_OF_MEMORY", Some(1), "smaller batches"),
            ("CUBLAS_STATUS_ALLOC_FAILED", Some(1), "smaller batches"),
            ("CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER", Some(1), "newer"),
            ("CUDA_ERROR_LAUNCH_FAILED", Some(1), "cannot be used"),
        ];
        for (code, count, remedy) in cases {
            let error = opening(code, count);
            assert!(error.to_string().contains(remedy), "{code}: {error}");
            let source = std::error::Error::source(&error).map(ToString::to_string);
            assert!(source.is_some_and(|s| s.contains(code)), "the driver's own words stay in the chain");
        }
    }

    #[test]
    fn memory_that_runs_out_is_known_below_other_errors() {
        let source =
            Box::new(candle_core::Error::msg("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"));
        let error = DeviceError::Other { device: "cuda".into(), source };
        assert!(remedy(&error).is_some_and(|r| r.contains("smaller batches")));
        assert_eq!(remedy(&opening("CUDA_ERROR_LAUNCH_FAILED", None)), None);
    }

    #[test]
    fn a_remedy_is_said_once() {
        for code in ["CUDA_ERROR_OUT_OF_MEMORY", "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"] {
            // On opening a device the message has it; out of the middle of a step the driver's words come alone.
            assert_eq!(remedy(&opening(code, Some(1))), None, "{code}");
            let bare = candle_core::Error::msg(format!("DriverError({code}, \"words\")"));
            assert!(remedy(&bare).is_some(), "{code}");
        }
    }

    #[test]
    fn a_driver_that_is_too_old_is_known_in_the_middle_of_a_step_too() {
        let inner = candle_core::Error::msg("DriverError(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, \"words\")");
        let error = inner.context("the CUDA module conv cannot be loaded");
        assert!(remedy(&error).is_some_and(|r| r.contains("580")));
    }
}
