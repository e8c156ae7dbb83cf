//! Asking the Hub: redirects, repetitions, and what a refusal means.

use std::time::Duration;

use ureq::http::Response;
use ureq::{Agent, Body};

use super::error::HubError;
use super::repository::Session;
use super::settings::HubSettings;
use super::{HubFiles, HubProgress};
use crate::uri::HubName;

/// Redirects that are followed before it counts as a loop.
const MAX_REDIRECTS: usize = 10;

/// How often a busy server is asked.
const MAX_ATTEMPTS: u32 = 5;

/// How often an unreachable one is asked: less, because the cache may have the file.
const MAX_CONNECTIONS: u32 = 2;

/// The longest wait that a server may ask for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The Hugging Face Hub, or a mirror of it.
#[derive(Debug)]
pub struct Hub {
    pub(super) settings: HubSettings,
    agent: Agent,
}

/// What to ask for.
pub(super) struct Request<'a> {
    /// HEAD instead of GET.
    pub(super) head: bool,
    pub(super) url: &'a str,
    /// Bytes to leave out.
    pub(super) skip: u64,
    /// What is asked for, for messages.
    pub(super) file: &'a str,
}

/// An answer, and the headers of those that led to it.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    /// Of the first answer that had one.
    pub(super) commit: Option<String>,
    /// Of a large file: hash and size, told before the redirect to where it lies.
    pub(super) linked_etag: Option<String>,
    pub(super) linked_size: Option<u64>,
    /// The address that answered.
    pub(super) origin: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.response, name)
    }

    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

impl Hub {
    /// A client; nothing is asked yet.
    ///
    /// # Errors
    /// None today; reserved for settings that the client cannot use.
    pub fn new(settings: HubSettings) -> Result<Self, HubError> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // Followed here: what a redirect says about the file is needed, and the token must not go along.
            .max_redirects(0)
            .timeout_connect(Some(settings.timeout))
            .timeout_recv_response(Some(settings.timeout))
            .timeout_per_read(Some(settings.timeout))
            // Sizes and ranges are of the file as it is, not of a compressed form.
            .accept_encoding("identity")
            .user_agent(concat!("ppkt/", env!("CARGO_PKG_VERSION")));
        let host = settings.endpoint.split("://").nth(1).unwrap_or_default();
        if ["127.0.0.1", "localhost", "[::1]"].iter().any(|local| host.starts_with(local)) {
            config = config.proxy(None);
        }
        let agent = config.build().new_agent();
        Ok(Self { settings, agent })
    }

    /// Fetches weights and configuration of a network, or finds them in the cache.
    ///
    /// A branch or tag is looked up at every call, and all files are of the commit that it stands at; a revision that
    /// is a commit and is in the cache costs no request. If the Hub cannot be reached, what is in the cache is used,
    /// with a warning in the log.
    ///
    /// # Errors
    /// See [`HubError`].
    pub fn fetch(
        &self,
        name: &HubName,
        progress: &mut dyn FnMut(HubProgress<'_>),
    ) -> Result<HubFiles, HubError> {
        Session::new(self, name, progress).files()
    }

    /// Asks, and asks again where that may help.
    pub(super) fn ask(&self, request: &Request<'_>) -> Result<Answer, HubError> {
        let mut wait = self.settings.first_wait;
        for attempt in 1.. {
            let outcome = self.follow(request);
            let (longer, last) = match &outcome {
                Ok(answer) if matches!(answer.status(), 408 | 429 | 500 | 502 | 503 | 504) => {
                    (answer.header("retry-after").and_then(|s| s.trim().parse().ok()), MAX_ATTEMPTS)
                }
                Err(HubError::Unreachable { .. }) => (None, MAX_CONNECTIONS),
                _ => return outcome,
            };
            if attempt >= last {
                let answer = outcome?;
                return Err(HubError::Busy {
                    endpoint: answer.origin.clone(),
                    status: answer.status(),
                    attempts: attempt,
                    file: request.file.to_owned(),
                });
            }
            let asked = longer.map_or(Duration::ZERO, Duration::from_secs);
            let pause = wait.max(asked).min(MAX_WAIT);
            let trouble = match &outcome {
                Ok(answer) => format!("{} answered {}", answer.origin, answer.status()),
                Err(error) => error.to_string(),
            };
            tracing::warn!("{trouble}; asking again for {:?} in {pause:?}", request.file);
            std::thread::sleep(pause);
            wait *= 2;
        }
        unreachable!("the loop ends by returning")
    }

    /// One request, through all its redirects.
    fn follow(&self, request: &Request<'_>) -> Result<Answer, HubError> {
        let home = origin(&self.settings.endpoint).to_owned();
        let mut url = request.url.to_owned();
        let (mut commit, mut linked_etag, mut linked_size) = (None, None, None);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(request, &url, origin(&url) == home)?;
            let text = |name| header(&response, name).map(str::to_owned);
            commit = commit.or_else(|| text("x-repo-commit"));
            linked_etag = linked_etag.or_else(|| text("x-linked-etag"));
            linked_size = linked_size.or_else(|| text("x-linked-size")?.parse().ok());
            let complete = commit.is_some() && linked_etag.is_some() && linked_size.is_some();
            let redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            if !redirect || (request.head && complete) {
                let origin = origin(&url).to_owned();
                return Ok(Answer { response, commit, linked_etag, linked_size, origin });
            }
            let Some(location) = header(&response, "location") else {
                let what = "a redirect without a target".to_owned();
                return Err(HubError::NotAHub { endpoint: origin(&url).to_owned(), what });
            };
            url = joined(&url, location);
        }
        let what = format!("more than {MAX_REDIRECTS} redirects");
        Err(HubError::NotAHub { endpoint: home, what })
    }

    fn send(&self, request: &Request<'_>, url: &str, at_home: bool) -> Result<Response<Body>, HubError> {
        let mut call = if request.head { self.agent.head(url) } else { self.agent.get(url) };
        if let (Some(token), true) = (&self.settings.token, at_home) {
            call = call.header("authorization", format!("Bearer {token}"));
        }
        if request.skip > 0 {
            call = call.header("range", format!("bytes={}-", request.skip));
        }
        call.call().map_err(|e| {
            let endpoint = origin(url).to_owned();
            match e {
                ureq::Error::Protocol(_) | ureq::Error::Http(_) | ureq::Error::BadUri(_) => {
                    HubError::NotAHub { endpoint, what: e.to_string() }
                }
                _ => HubError::Unreachable { endpoint, reason: e.to_string() },
            }
        })
    }

    /// What a status that is no success means; `None` for a success.
    pub(super) fn refusal(
        &self,
        answer: &Answer,
        repository: &str,
        revision: &str,
        file: &str,
    ) -> Option<HubError> {
        let (repository, with_token) = (repository.to_owned(), self.settings.token.is_some());
        let status = answer.status();
        let gated = || HubError::Gated { repository: repository.clone(), with_token };
        let missing = || HubError::MissingRepository { repository: repository.clone(), with_token };
        let missing_file = || HubError::MissingFile {
            repository: repository.clone(),
            revision: revision.to_owned(),
            file: file.to_owned(),
        };
        Some(match (status, answer.header("x-error-code")) {
            (200..=299, _) => return None,
            (_, Some("GatedRepo")) => gated(),
            (_, Some("RepoNotFound")) => missing(),
            (_, Some("RevisionNotFound")) => {
                HubError::MissingRevision { repository: repository.clone(), revision: revision.to_owned() }
            }
            (_, Some("EntryNotFound")) => missing_file(),
            (401 | 403, _) => gated(),
            (404, _) => missing_file(),
            _ => HubError::NotAHub { endpoint: answer.origin.clone(), what: format!("status {status}") },
        })
    }
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |i| i + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |i| host + i);
    &url[..end]
}

/// Where a `Location` leads from `base`.
fn joined(base: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    if let Some(rest) = location.strip_prefix("//") {
        let scheme = base.split("://").next().unwrap_or("https");
        return format!("{scheme}://{rest}");
    }
    if location.starts_with('/') {
        return format!("{}{location}", origin(base));
    }
    let path = base.split(['?', '#']).next().unwrap_or(base);
    let folder = path.rfind('/').filter(|&i| i >= origin(base).len()).map_or(path, |i| &path[..i]);
    format!("{folder}/{location}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_should() {
        let base = "https://hub.co:8080/a/b?x=1";
        for (location, want) in [
            ("https://cdn.co/y", "https://cdn.co/y"),
            ("/y?z", "https://hub.co:8080/y?z"),
            ("//cdn.co/y", "https://cdn.co/y"),
            ("y", "https://hub.co:8080/a/y"),
        ] {
            assert_eq!(joined(base, location), want);
        }
        assert_eq!(origin("http://h:1/a"), "http://h:1");
        assert_eq!(origin("http://h?q"), "http://h");
        assert_eq!(joined("http://h", "y"), "http://h/y");
    }
}
