//! Where the Hub and its cache are, from the variables that all its tools read.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::HubError;

/// How the Hub is reached and where its files go.
#[derive(Clone)]
pub struct HubSettings {
    /// Address without a slash at the end.
    pub endpoint: String,
    /// The folder that holds `models--org--name` folders.
    pub cache: PathBuf,
    /// Sent to the endpoint, and to no other host.
    pub token: Option<String>,
    /// Whether only the cache may be used.
    pub offline: bool,
    /// How long to wait for a connection or for the next bytes.
    pub timeout: Duration,
    /// Wait before the first repetition of a request that may succeed later; doubled for each further one.
    pub first_wait: Duration,
}

impl HubSettings {
    /// The settings of the environment.
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `HF_HOME` | folder of cache (`hub`) and token (`token`); `~/.cache/huggingface` if unset |
    /// | `HF_HUB_CACHE` | folder of the cache alone |
    /// | `HF_ENDPOINT` | address of the Hub or of a mirror; `https://huggingface.co` if unset |
    /// | `HF_TOKEN` | token for gated and private repositories; else the file `HF_TOKEN_PATH` or `HF_HOME/token` |
    /// | `HF_HUB_OFFLINE` | `1`, `true`, `yes` or `on`: nothing but the cache is used |
    ///
    /// # Errors
    /// [`HubError::Setting`] if the endpoint is no web address or there is no home folder to put the cache in.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_variables(&|name| std::env::var_os(name), std::env::home_dir().as_deref())
    }

    fn from_variables(
        variable: &dyn Fn(&str) -> Option<OsString>,
        home: Option<&Path>,
    ) -> Result<Self, HubError> {
        let path = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let text = |name: &str| path(name).map(|v| v.to_string_lossy().trim().to_owned());

        let caches = path("XDG_CACHE_HOME").or_else(|| Some(home?.join(".cache")));
        let hf_home = path("HF_HOME").or_else(|| Some(caches?.join("huggingface")));
        let cache = path("HF_HUB_CACHE").or_else(|| Some(hf_home.as_ref()?.join("hub")));
        let Some(cache) = cache else {
            return Err(HubError::Setting {
                what: "there is no home folder to keep networks in; set HF_HOME to a folder".into(),
            });
        };
        let token_file = path("HF_TOKEN_PATH").or_else(|| Some(hf_home?.join("token")));
        let stored = || std::fs::read_to_string(token_file?).ok().map(|t| t.trim().to_owned());
        let token = text("HF_TOKEN").or_else(stored).filter(|t| !t.is_empty());
        // A line break in it would become part of the request.
        if token.as_ref().is_some_and(|t| t.chars().any(|c| !c.is_ascii_graphic())) {
            return Err(HubError::Setting {
                what:
                    "the token of the Hub has a space or control character; set HF_TOKEN to the token alone"
                        .into(),
            });
        }
        let on = |v: String| ["1", "true", "yes", "on"].contains(&v.to_ascii_lowercase().as_str());
        Ok(Self {
            endpoint: checked_endpoint(text("HF_ENDPOINT"))?,
            cache,
            token,
            offline: text("HF_HUB_OFFLINE").is_some_and(on),
            timeout: Duration::from_secs(30),
            first_wait: Duration::from_millis(500),
        })
    }
}

fn checked_endpoint(endpoint: Option<String>) -> Result<String, HubError> {
    let endpoint = endpoint.unwrap_or_else(|| "https://huggingface.co".into());
    let address = endpoint.trim_end_matches('/');
    let host = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    if host.is_none_or(|h| h.is_empty() || h.contains(char::is_whitespace)) {
        return Err(HubError::Setting {
            what: format!(
                "HF_ENDPOINT is {endpoint:?}; set it to a web address such as https://huggingface.co"
            ),
        });
    }
    Ok(address.to_owned())
}

// By hand, so that no log ever shows the token.
impl fmt::Debug for HubSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubSettings")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "(hidden)"))
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<HubSettings, HubError> {
        let variables: Vec<(String, OsString)> =
            variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).into())).collect();
        let get = move |name: &str| variables.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        HubSettings::from_variables(&get, Some(Path::new("/home/someone")))
    }

    #[test]
    fn without_variables_it_is_the_public_hub() {
        let s = settings(&[]).unwrap();
        assert_eq!(s.endpoint, "https://huggingface.co");
        assert_eq!(s.cache, Path::new("/home/someone/.cache/huggingface/hub"));
        assert!(s.token.is_none() && !s.offline);
    }

    #[test]
    fn variables_are_honoured() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hf_stored\n").unwrap();
        let home = folder.path().to_str().unwrap();
        let s = settings(&[("HF_HOME", home), ("HF_ENDPOINT", "http://mirror:8080/")]).unwrap();
        assert_eq!(s.cache, folder.path().join("hub"));
        assert_eq!(s.endpoint, "http://mirror:8080");
        assert_eq!(s.token.as_deref(), Some("hf_stored"));
        let s = settings(&[("HF_HOME", home), ("HF_TOKEN", "hf_env"), ("HF_HUB_CACHE", "/big")]).unwrap();
        assert_eq!(s.token.as_deref(), Some("hf_env"));
        assert_eq!(s.cache, Path::new("/big"));
        assert!(!format!("{s:?}").contains("hf_env"));
    }

    #[test]
    fn offline_is_a_word_for_yes() {
        for (value, offline) in
            [("1", true), ("TRUE", true), ("on", true), ("0", false), ("", false), ("no", false)]
        {
            assert_eq!(settings(&[("HF_HUB_OFFLINE", value)]).unwrap().offline, offline, "{value:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        for endpoint in ["huggingface.co", "ftp://x", "http://", "https:// x"] {
            let message = settings(&[("HF_ENDPOINT", endpoint)]).unwrap_err().to_string();
            assert!(message.contains("HF_ENDPOINT"), "{message}");
        }
        let message = settings(&[("HF_TOKEN", "a\r\nHost: b")]).unwrap_err().to_string();
        assert!(message.contains("HF_TOKEN"), "{message}");
        let nowhere = HubSettings::from_variables(&|_| None, None).unwrap_err().to_string();
        assert!(nowhere.contains("HF_HOME"), "{nowhere}");
    }
}
