//! Naming a teacher on the command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a teacher comes from.
///
/// | written | meaning |
/// |---|---|
/// | `hf:org/name` | a repository of the Hugging Face Hub, branch `main` |
/// | `hf:org/name@revision` | the same at a branch, tag or commit |
/// | `hf:org/name:file` | the same, with weights of another name than `model.safetensors` or `pytorch_model.bin` |
/// | `file:PATH` | a safetensors file or a checkpoint of PyTorch, with `config.json` beside it if it needs one |
/// | `builtin:tiny` | the small network inside the program |
///
/// ```
/// use ppkt_teacher::TeacherUri;
///
/// let uri: TeacherUri = "hf:timm/resnet50.a1_in1k@main".parse()?;
/// assert_eq!(uri.to_string(), "hf:timm/resnet50.a1_in1k@main");
/// # Ok::<(), ppkt_teacher::UriError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TeacherUri {
    /// `hf:`
    Hub(HubName),
    /// `file:`
    File(PathBuf),
    /// `builtin:tiny`
    BuiltinTiny,
}

/// A network on the Hub.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HubName {
    /// `org/name`
    pub repository: String,
    /// Branch, tag or commit; `main` if absent.
    pub revision: Option<String>,
    /// The weights' path within the repository; `model.safetensors` or `pytorch_model.bin`, whole or in shards, if absent.
    pub file: Option<String>,
}

/// Why a text names no teacher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// The scheme is absent or unknown.
    #[error(
        "{text:?} names no teacher: write hf:org/name[@revision][:file], file:PATH or builtin:tiny{}",
        hint(text)
    )]
    Scheme {
        /// What was written.
        text: String,
    },
    /// The part after `hf:` is not well formed.
    #[error(
        "{text:?} names no network of the Hub ({why}); write hf:org/name[@revision][:file], such as hf:timm/resnet50.a1_in1k"
    )]
    Hub {
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// `file:` without a path.
    #[error("{text:?} has no path; write file:PATH, such as file:resnet50.safetensors")]
    NoPath {
        /// What was written.
        text: String,
    },
    /// There is no such network inside the program.
    #[error("{text:?} is not inside the program; builtin:tiny is")]
    Builtin {
        /// What was written.
        text: String,
    },
}

/// What the writer may have meant.
fn hint(text: &str) -> String {
    if [".safetensors", ".pth", ".pt", ".pth.tar", ".bin"].iter().any(|end| text.ends_with(end)) {
        return format!("; did you mean \"file:{text}\"?");
    }
    if text == "tiny" || check_repository(text).is_ok() {
        let scheme = if text == "tiny" { "builtin" } else { "hf" };
        return format!("; did you mean \"{scheme}:{text}\"?");
    }
    String::new()
}

impl FromStr for TeacherUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let own = || text.to_owned();
        match text.split_once(':') {
            Some(("hf", name)) => {
                parse_hub(name).map(Self::Hub).map_err(|why| UriError::Hub { text: own(), why })
            }
            Some(("file", "")) => Err(UriError::NoPath { text: own() }),
            Some(("file", path)) => Ok(Self::File(path.into())),
            Some(("builtin", "tiny")) => Ok(Self::BuiltinTiny),
            Some(("builtin", _)) => Err(UriError::Builtin { text: own() }),
            _ => Err(UriError::Scheme { text: own() }),
        }
    }
}

fn parse_hub(name: &str) -> Result<HubName, &'static str> {
    let (name, file) = match name.split_once(':') {
        Some((name, file)) => (name, Some(file)),
        None => (name, None),
    };
    let (repository, revision) = match name.split_once('@') {
        Some((repository, revision)) => (repository, Some(revision)),
        None => (name, None),
    };
    check_repository(repository)?;
    if let Some(revision) = revision {
        check_parts(revision, "the revision is empty or has unusual characters")?;
    }
    if let Some(file) = file {
        check_parts(file, "the file is empty or no plain path within the repository")?;
    }
    Ok(HubName {
        repository: repository.to_owned(),
        revision: revision.map(str::to_owned),
        file: file.map(str::to_owned),
    })
}

fn check_repository(repository: &str) -> Result<(), &'static str> {
    if repository.split('/').count() != 2 {
        return Err("a repository is an organisation and a name with one slash between them");
    }
    check_parts(repository, "organisation or name is empty or has unusual characters")
}

/// The name becomes part of a web address and of a path in the cache: nothing may lead out of either.
fn check_parts(path: &str, why: &'static str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+=".contains(c);
    let good = |part: &str| !part.is_empty() && part.chars().all(plain) && part.chars().any(|c| c != '.');
    if path.split('/').all(good) { Ok(()) } else { Err(why) }
}

impl fmt::Display for TeacherUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(name) => write!(f, "hf:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::BuiltinTiny => f.write_str("builtin:tiny"),
        }
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(file) = &self.file {
            write!(f, ":{file}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_written_again() {
        let all = [
            "hf:timm/resnet50.a1_in1k",
            "hf:facebook/dinov2-small@main",
            "hf:facebook/dinov2-small@refs/pr/3:onnx/model.safetensors",
            "hf:a/b:weights.safetensors",
            "hf:a/b@0123456789abcdef0123456789abcdef01234567",
            "file:/tmp/a b/resnet.safetensors",
            "file:C:\\weights\\resnet.safetensors",
            "builtin:tiny",
        ];
        for text in all {
            assert_eq!(text.parse::<TeacherUri>().unwrap().to_string(), text);
        }
        let parsed: TeacherUri = "hf:a/b@v1:c/d.safetensors".parse().unwrap();
        let want = HubName {
            repository: "a/b".into(),
            revision: Some("v1".into()),
            file: Some("c/d.safetensors".into()),
        };
        assert_eq!(parsed, TeacherUri::Hub(want));
    }

    #[test]
    fn nonsense_is_told_with_the_remedy() {
        let cases = [
            ("", "write hf:"),
            ("resnet50", "write hf:"),
            ("resnet50.safetensors", "did you mean \"file:resnet50.safetensors\""),
            ("runs/dino.pth", "did you mean \"file:runs/dino.pth\""),
            ("timm/resnet50", "did you mean \"hf:timm/resnet50\""),
            ("tiny", "did you mean \"builtin:tiny\""),
            ("http://example.org/x", "write hf:"),
            ("hf:", "one slash"),
            ("hf:resnet50", "one slash"),
            ("hf:a/b/c", "one slash"),
            ("hf:a/", "empty"),
            ("hf:../b", "unusual"),
            ("hf:a/b@", "revision"),
            ("hf:a/b@../../x", "revision"),
            ("hf:a/b:", "file"),
            ("hf:a/b:/etc/passwd", "file"),
            ("hf:a/b:../x.safetensors", "file"),
            ("hf:a/b c", "unusual"),
            ("hf:a/b?x=1", "unusual"),
            ("file:", "no path"),
            ("builtin:huge", "builtin:tiny is"),
        ];
        for (text, part) in cases {
            let message = text.parse::<TeacherUri>().unwrap_err().to_string();
            assert!(message.contains(part), "{text:?}: {message}");
        }
    }
}
