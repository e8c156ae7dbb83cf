//! Bringing one file into the cache: on from where it was cut, and in only when it was found right.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::cache::make_folder_of;
use super::client::{Answer, Hub, Request};
use super::error::HubError;
use super::verify::{FileFacts, verify};

/// Attempts in a row that bring no byte before it is given up.
const MAX_FRUITLESS: u32 = 4;

/// One file to be fetched.
pub(super) struct Download<'a> {
    pub(super) hub: &'a Hub,
    pub(super) url: &'a str,
    pub(super) file: &'a str,
    pub(super) repository: &'a str,
    pub(super) facts: &'a FileFacts,
    /// Told the bytes that are here.
    pub(super) progress: &'a mut dyn FnMut(u64),
}

impl Download<'_> {
    /// Makes `blob` hold the file. Other processes that want the same wait for this one.
    pub(super) fn run(&mut self, blob: &Path) -> Result<(), HubError> {
        let lock_path = with_suffix(blob, ".lock");
        make_folder_of(blob)?;
        let lock = OpenOptions::new().create(true).append(true).open(&lock_path);
        let lock = lock.and_then(|l| l.lock().map(|()| l)).map_err(|e| self.cache_error(e, &lock_path))?;
        let here = fs::metadata(blob).is_ok_and(|m| m.len() == self.facts.size);
        let outcome = if here { Ok(()) } else { self.fetch_into(blob) };
        if outcome.is_ok() {
            // Only tidying, and only now: whoever waits on this lock or makes it anew finds the file in place. After a
            // failure two of them could otherwise write at the same time.
            let _ = fs::remove_file(&lock_path);
        }
        drop(lock);
        outcome
    }

    fn fetch_into(&mut self, blob: &Path) -> Result<(), HubError> {
        let part = with_suffix(blob, ".incomplete");
        let resumed = fs::metadata(&part).is_ok_and(|m| m.len() > 0);
        let mut outcome = self.fetch_verified(&part);
        if resumed && matches!(outcome, Err(HubError::WrongHash { .. } | HubError::WrongContent { .. })) {
            // What an earlier attempt left may be at fault: once more from the beginning.
            outcome = self.fetch_verified(&part);
        }
        outcome?;
        fs::rename(&part, blob).map_err(|e| self.cache_error(e, blob))
    }

    /// Downloads to `part` and checks it; a wrong file is removed.
    fn fetch_verified(&mut self, part: &Path) -> Result<(), HubError> {
        let outcome = self.fetch_all(part).and_then(|()| verify(part, self.file, self.facts));
        let wrong = matches!(
            outcome,
            Err(HubError::WrongSize { .. } | HubError::WrongHash { .. } | HubError::WrongContent { .. })
        );
        if wrong {
            fs::remove_file(part).map_err(|e| self.cache_error(e, part))?;
        }
        outcome
    }

    /// Asks for the rest of the file until all of it is here.
    fn fetch_all(&mut self, part: &Path) -> Result<(), HubError> {
        let mut out =
            OpenOptions::new().create(true).append(true).open(part).map_err(|e| self.cache_error(e, part))?;
        let mut fruitless = 0;
        let mut wait = self.hub.settings.first_wait;
        loop {
            let done = out.metadata().map_err(|e| self.cache_error(e, part))?.len();
            if done > self.facts.size {
                out.set_len(0).map_err(|e| self.cache_error(e, part))?;
                continue;
            }
            (self.progress)(done);
            if done == self.facts.size {
                return out.sync_all().map_err(|e| self.write_error(e, part));
            }
            let Err(error) = self.fetch_rest(&mut out, done, part) else { continue };
            let HubError::Cut { done: now, .. } = error else { return Err(error) };
            if now > done {
                (fruitless, wait) = (0, self.hub.settings.first_wait);
            } else {
                fruitless += 1;
                wait *= 2;
            }
            if fruitless >= MAX_FRUITLESS {
                return Err(error);
            }
            std::thread::sleep(wait);
        }
    }

    /// One request for everything after `done` bytes.
    fn fetch_rest(&mut self, out: &mut File, mut done: u64, part: &Path) -> Result<(), HubError> {
        let request = Request { head: false, url: self.url, skip: done, file: self.file };
        let answer = self.hub.ask(&request)?;
        if answer.status() == 416 || (answer.status() == 206 && range_start(&answer) != Some(done)) {
            // Not what the size promised: begin again, as one failure among those that are allowed.
            out.set_len(0).map_err(|e| self.cache_error(e, part))?;
            return Err(self.cut(0, "the server cannot continue there".to_owned()));
        }
        if let Some(refusal) = self.hub.refusal(&answer, self.repository, &self.facts.commit, self.file) {
            return Err(refusal);
        }
        if answer.header("content-type").is_some_and(|t| t.starts_with("text/html")) {
            let what = format!("a web page instead of {:?}", self.file);
            return Err(HubError::NotAHub { endpoint: answer.origin, what });
        }
        if answer.status() != 206 && done > 0 {
            // A server without ranges sends everything again.
            out.set_len(0).map_err(|e| self.cache_error(e, part))?;
            done = 0;
        }
        let promised = answer.header("content-length").and_then(|l| l.parse::<u64>().ok());
        if let Some(promised) = promised.filter(|&p| done + p != self.facts.size) {
            return Err(self.wrong_size(done + promised));
        }
        self.copy(answer, out, done, part)
    }

    fn copy(&mut self, answer: Answer, out: &mut File, mut done: u64, part: &Path) -> Result<(), HubError> {
        let mut body = answer.response.into_body().into_reader();
        let mut buffer = vec![0u8; 1 << 16];
        // `append` writes at the end wherever the position is; this keeps both in step after `set_len`.
        out.seek(SeekFrom::Start(done)).map_err(|e| self.cache_error(e, part))?;
        loop {
            let n = match body.read(&mut buffer) {
                Ok(0) if done < self.facts.size => {
                    return Err(self.cut(done, "the server closed the connection".to_owned()));
                }
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.cut(done, e.to_string())),
            };
            if done + n as u64 > self.facts.size {
                return Err(self.wrong_size(done + n as u64));
            }
            out.write_all(&buffer[..n]).map_err(|e| self.write_error(e, part))?;
            done += n as u64;
            (self.progress)(done);
        }
    }

    fn cut(&self, done: u64, reason: String) -> HubError {
        HubError::Cut { file: self.file.to_owned(), done, total: self.facts.size, reason }
    }

    fn wrong_size(&self, found: u64) -> HubError {
        HubError::WrongSize { file: self.file.to_owned(), expected: self.facts.size, found }
    }

    fn cache_error(&self, source: io::Error, path: &Path) -> HubError {
        HubError::Cache { source, path: path.to_owned() }
    }

    fn write_error(&self, source: io::Error, path: &Path) -> HubError {
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            let (file, total) = (self.file.to_owned(), self.facts.size);
            return HubError::NoSpace { file, total, path: path.to_owned() };
        }
        self.cache_error(source, path)
    }
}

/// The first byte of a partial answer: `bytes 100-199/200`.
fn range_start(answer: &Answer) -> Option<u64> {
    answer.header("content-range")?.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// `.../blobs/ETAG` to `.../blobs/ETAG.suffix`, whatever dots the name has.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
