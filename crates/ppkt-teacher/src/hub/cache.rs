//! The folder of one repository in the cache.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::error::HubError;

/// One repository at one revision, in the layout that all tools of the Hub share.
pub(super) struct RepoCache {
    repo: Repo,
    layout: CacheRepo,
    root: PathBuf,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, repository: &str, revision: &str) -> Self {
        let repo = Repo::with_revision(repository.into(), RepoType::Model, revision.into());
        let root = cache.join(repo.folder_name());
        let layout = Cache::new(cache.to_owned()).repo(repo.clone());
        Self { repo, layout, root }
    }

    /// The folder of the repository.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The commit that the revision stood at when it was last asked for; a commit stands for itself.
    pub(super) fn known_commit(&self) -> Option<String> {
        let revision = self.repo.revision();
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned())
    }

    /// Remembers the commit of the revision.
    pub(super) fn remember_commit(&self, commit: &str) -> Result<(), HubError> {
        let revision = self.repo.revision();
        if is_commit(revision) {
            return Ok(());
        }
        replace(&self.root.join("refs").join(revision), |new| fs::write(new, commit))
    }

    /// The file as of a commit, if it is here.
    pub(super) fn find(&self, commit: &str, file: &str) -> Option<PathBuf> {
        let path = self.layout.pointer_path(commit).join(file);
        // Follows the link: one whose blob was removed does not count.
        path.is_file().then_some(path)
    }

    /// Whether the file was asked for at that commit and was not there.
    pub(super) fn known_absent(&self, commit: &str, file: &str) -> bool {
        self.absence(commit, file).is_file()
    }

    pub(super) fn remember_absent(&self, commit: &str, file: &str) -> Result<(), HubError> {
        replace(&self.absence(commit, file), |new| fs::write(new, b""))
    }

    fn absence(&self, commit: &str, file: &str) -> PathBuf {
        self.root.join(".no_exist").join(commit).join(file)
    }

    /// Where the bytes with that hash lie, or will.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.layout.blob_path(etag)
    }

    /// Lets the file of a commit point at its blob.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<PathBuf, HubError> {
        let pointer = self.layout.pointer_path(commit).join(file);
        replace(&pointer, |new| link_or_copy(&self.blob(etag), file, etag, new))?;
        Ok(pointer)
    }
}

#[cfg(unix)]
fn link_or_copy(_: &Path, file: &str, etag: &str, pointer: &Path) -> io::Result<()> {
    // Relative, so that the cache can be moved: out of COMMIT and `snapshots`, and out of the file's own folders.
    let up = "../".repeat(2 + file.matches('/').count());
    std::os::unix::fs::symlink(format!("{up}blobs/{etag}"), pointer)
}

#[cfg(not(unix))]
fn link_or_copy(blob: &Path, _: &str, _: &str, pointer: &Path) -> io::Result<()> {
    // Symbolic links need a privilege on Windows; a hard link needs none, a copy not even the same disk.
    fs::hard_link(blob, pointer).or_else(|_| fs::copy(blob, pointer).map(|_| ()))
}

/// Lets `write` make a new file beside `path`, then moves it there: others see the old or the new one, whole.
fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), HubError> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let unique = format!(".{}-{}.new", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    let mut new = path.as_os_str().to_owned();
    new.push(unique);
    let new = PathBuf::from(new);
    make_folder_of(path)?;
    write(&new)
        .and_then(|()| fs::rename(&new, path))
        .map_err(|source| HubError::Cache { source, path: path.to_owned() })
}

/// Makes the folder that `path` is to lie in.
pub(super) fn make_folder_of(path: &Path) -> Result<(), HubError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|source| HubError::Cache { source, path: folder.to_owned() })
}

/// A full commit hash: what it names never changes.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}
