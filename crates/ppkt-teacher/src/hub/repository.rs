//! Which files make a network, and finding each of them in the cache or on the Hub.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::cache::{RepoCache, is_commit};
use super::client::{Answer, Hub, Request};
use super::download::Download;
use super::error::HubError;
use super::verify::FileFacts;
use super::{HubFiles, HubProgress};
use crate::uri::HubName;

/// What a network's weights are called, the best first: safetensors, then what PyTorch has written.
const DEFAULT_WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// The list of shards that large networks are cut into.
#[derive(serde::Deserialize)]
struct ShardIndex {
    /// Tensor to file.
    weight_map: BTreeMap<String, String>,
}

/// One look at one repository.
pub(super) struct Session<'a> {
    hub: &'a Hub,
    repository: &'a str,
    revision: &'a str,
    file: Option<&'a str>,
    cache: RepoCache,
    /// The commit of all files, once it is known.
    commit: Option<String>,
    /// Whether only the cache is used: by choice, or because the Hub did not answer.
    offline: bool,
    progress: &'a mut dyn FnMut(HubProgress<'_>),
}

impl<'a> Session<'a> {
    pub(super) fn new(hub: &'a Hub, name: &'a HubName, progress: &'a mut dyn FnMut(HubProgress<'_>)) -> Self {
        let revision = name.revision.as_deref().unwrap_or("main");
        let cache = RepoCache::new(&hub.settings.cache, &name.repository, revision);
        let mut session = Self {
            hub,
            repository: &name.repository,
            revision,
            file: name.file.as_deref(),
            cache,
            commit: is_commit(revision).then(|| revision.to_owned()),
            offline: false,
            progress,
        };
        if hub.settings.offline {
            session.go_offline();
        }
        session
    }

    /// All files of the network.
    pub(super) fn files(mut self) -> Result<HubFiles, HubError> {
        // The small ones first: where the weights are in the cache, these are as well, or are known not to exist, and
        // a network is not opened offline without the settings that belong to it.
        let config = self.find_settings("config.json")?;
        let preprocessor_config = self.find_settings("preprocessor_config.json")?;
        let weights = match self.file {
            Some(file) => self.weights_in(file)?.ok_or_else(|| self.missing(file))?,
            None => self.default_weights()?,
        };
        // Weights were found, so their commit is known.
        let commit = self.commit.unwrap_or_default();
        Ok(HubFiles { weights, config, preprocessor_config, commit })
    }

    /// A file that not every repository has.
    fn find_settings(&mut self, file: &str) -> Result<Option<PathBuf>, HubError> {
        let found = self.find(file)?;
        if let (None, true, Some(commit)) = (&found, self.offline, &self.commit)
            && !self.cache.known_absent(commit, file)
        {
            tracing::warn!("offline, and whether {} has a {file} was never asked", self.repository);
        }
        Ok(found)
    }

    fn default_weights(&mut self) -> Result<Vec<PathBuf>, HubError> {
        for file in DEFAULT_WEIGHTS {
            if let Some(weights) = self.weights_in(file)? {
                return Ok(weights);
            }
        }
        if self.offline {
            return Err(self.missing("model.safetensors"));
        }
        let (repository, revision) = (self.repository.to_owned(), self.revision.to_owned());
        Err(HubError::NoWeights { repository, revision })
    }

    /// A weights file, or the shards that an index names.
    fn weights_in(&mut self, file: &str) -> Result<Option<Vec<PathBuf>>, HubError> {
        let Some(path) = self.find(file)? else { return Ok(None) };
        if !file.ends_with(".index.json") {
            return Ok(Some(vec![path]));
        }
        let mut shards = shards_of(&path, file)?;
        shards.sort();
        shards.dedup();
        let folder = file.rfind('/').map_or("", |i| &file[..=i]);
        let fetch = |shard: String| {
            let shard = format!("{folder}{shard}");
            self.find(&shard)?.ok_or_else(|| self.missing(&shard))
        };
        shards.into_iter().map(fetch).collect::<Result<_, _>>().map(Some)
    }

    /// The error for a file that has to be there and is not.
    fn missing(&self, file: &str) -> HubError {
        let (repository, revision) = (self.repository.to_owned(), self.revision.to_owned());
        let file = file.to_owned();
        if self.hub.settings.offline {
            let name = format!("{repository}@{revision}");
            return HubError::Offline { name, file, cache: self.cache.root().to_owned() };
        }
        HubError::MissingFile { repository, revision, file }
    }

    /// A file of the repository on this machine; `None` if the repository has none of that name, or, offline, if it
    /// is not in the cache.
    fn find(&mut self, file: &str) -> Result<Option<PathBuf>, HubError> {
        if let Some(commit) = &self.commit {
            let here = self.cache.find(commit, file);
            if here.is_some() || self.offline || self.cache.known_absent(commit, file) {
                return Ok(here);
            }
        }
        if self.offline {
            return Ok(None);
        }
        match self.facts(file) {
            Ok(facts) => self.fetch(file, &facts).map(Some),
            Err(HubError::MissingFile { .. }) => Ok(None),
            Err(error @ (HubError::Unreachable { .. } | HubError::Busy { .. })) => {
                self.find_unreachable(file, error)
            }
            Err(error) => Err(error),
        }
    }

    /// The Hub does not answer: then the cache, if it has the file.
    fn find_unreachable(&mut self, file: &str, error: HubError) -> Result<Option<PathBuf>, HubError> {
        let commit = self.commit.clone().or_else(|| self.cache.known_commit());
        match commit.and_then(|commit| self.cache.find(&commit, file)) {
            Some(path) => {
                tracing::warn!("{error}; using what is in the cache: {path:?}");
                self.go_offline();
                Ok(Some(path))
            }
            None => Err(error),
        }
    }

    fn go_offline(&mut self) {
        self.offline = true;
        self.commit = self.commit.take().or_else(|| self.cache.known_commit());
    }

    /// Address of a file, at the commit once that is known: a branch may move between two files.
    fn url(&self, file: &str) -> String {
        let revision = self.commit.as_deref().unwrap_or(self.revision).replace('/', "%2F");
        format!("{}/{}/resolve/{revision}/{file}", self.hub.settings.endpoint, self.repository)
    }

    /// Asks for commit, hash and size of a file.
    fn facts(&mut self, file: &str) -> Result<FileFacts, HubError> {
        let url = self.url(file);
        let request = Request { head: true, url: &url, skip: 0, file };
        let answer = self.hub.ask(&request)?;
        let redirect = (300..400).contains(&answer.status());
        let refusal = self.hub.refusal(&answer, self.repository, self.revision, file);
        if let (Some(refusal), false) = (refusal, redirect) {
            if let (HubError::MissingFile { .. }, Some(commit)) = (&refusal, &answer.commit)
                && is_plain(commit)
            {
                self.settle(commit)?;
                self.cache.remember_absent(commit, file)?;
            }
            return Err(refusal);
        }
        let facts = read_facts(&answer)
            .map_err(|what| HubError::NotAHub { endpoint: answer.origin.clone(), what })?;
        self.settle(&facts.commit)?;
        Ok(facts)
    }

    /// From here on everything is of this commit.
    fn settle(&mut self, commit: &str) -> Result<(), HubError> {
        if self.commit.is_none() {
            self.cache.remember_commit(commit)?;
            self.commit = Some(commit.to_owned());
        }
        Ok(())
    }

    fn fetch(&mut self, file: &str, facts: &FileFacts) -> Result<PathBuf, HubError> {
        // The branch may have been asked for before its commit was known to be in the cache.
        if let Some(path) = self.cache.find(&facts.commit, file) {
            return Ok(path);
        }
        let url = self.url(file);
        let total = facts.size;
        let progress = &mut *self.progress;
        let mut told = |done| progress(HubProgress { file, done, total });
        let (hub, repository) = (self.hub, self.repository);
        Download { hub, url: &url, file, repository, facts, progress: &mut told }
            .run(&self.cache.blob(&facts.etag))?;
        self.cache.link(&facts.commit, file, &facts.etag)
    }
}

/// What the headers of a HEAD say; or what is odd about them.
fn read_facts(answer: &Answer) -> Result<FileFacts, String> {
    let commit = answer.commit.clone().ok_or("no X-Repo-Commit header")?;
    let etag = answer.linked_etag.as_deref().or_else(|| answer.header("etag")).ok_or("no ETag header")?;
    let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
    // Both become names of files.
    if !is_plain(&commit) || !is_plain(&etag) {
        return Err(format!("commit {commit:?} or ETag {etag:?} is not a plain word"));
    }
    let told = || answer.header("content-length")?.parse().ok();
    let size = answer.linked_size.or_else(told).ok_or("no Content-Length header")?;
    Ok(FileFacts { commit, etag, size })
}

fn is_plain(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= 128
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

fn shards_of(path: &Path, file: &str) -> Result<Vec<String>, HubError> {
    let wrong = |what: String| HubError::WrongContent { file: file.to_owned(), what };
    let text =
        std::fs::read_to_string(path).map_err(|source| HubError::Cache { source, path: path.to_owned() })?;
    let index: ShardIndex =
        serde_json::from_str(&text).map_err(|e| wrong(format!("no list of shards ({e})")))?;
    let shards: Vec<String> = index.weight_map.into_values().collect();
    // The list comes from the repository's owner: it may name files beside it, and nothing else.
    let plain = |shard: &String| {
        let weights = shard.ends_with(".safetensors") || shard.ends_with(".bin");
        weights && !shard.contains(['/', '\\', ':']) && !shard.starts_with('.')
    };
    match shards.iter().find(|s| !plain(s)) {
        Some(odd) => Err(wrong(format!("a list of shards with the odd name {odd:?}"))),
        None if shards.is_empty() => Err(wrong("an empty list of shards".to_owned())),
        None => Ok(shards),
    }
}
