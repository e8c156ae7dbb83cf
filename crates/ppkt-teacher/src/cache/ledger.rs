//! How many bytes a cache holds, counted once for all who write to it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

/// A number in a file, changed under the file's lock.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
}

impl Ledger {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Replaces the number by what `count` finds.
    pub(super) fn recount(&self, count: impl FnOnce() -> io::Result<u64>) -> io::Result<u64> {
        let mut file = self.locked()?;
        let bytes = count()?;
        write(&mut file, bytes)?;
        Ok(bytes)
    }

    /// Adds `bytes` if that keeps within `limit`; says whether it did, and the number as it now is.
    pub(super) fn reserve(&self, bytes: u64, limit: u64) -> io::Result<(bool, u64)> {
        let mut file = self.locked()?;
        let there = read(&mut file)?;
        let fits = there.checked_add(bytes).filter(|sum| *sum <= limit);
        if let Some(sum) = fits {
            write(&mut file, sum)?;
        }
        Ok((fits.is_some(), fits.unwrap_or(there)))
    }

    /// Takes `bytes` off again.
    pub(super) fn release(&self, bytes: u64) -> io::Result<()> {
        let mut file = self.locked()?;
        let there = read(&mut file)?;
        write(&mut file, there.saturating_sub(bytes))
    }

    /// The number as it is, without waiting for the lock.
    pub(super) fn peek(&self) -> io::Result<u64> {
        read(&mut File::open(&self.path)?)
    }

    /// The file, locked until it is dropped.
    fn locked(&self) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path)?;
        match file.lock() {
            // Some network file systems have no locks; the limit then holds but for what is written at the same time.
            Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(file),
            locked => locked.map(|()| file),
        }
    }
}

/// The number; nothing readable counts as zero, until it is counted anew when the cache is next opened.
fn read(file: &mut File) -> io::Result<u64> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    match file.take(64).read_to_string(&mut text) {
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Ok(0),
        other => other.map(|_| text.trim().parse().unwrap_or(0)),
    }
}

fn write(file: &mut File, bytes: u64) -> io::Result<()> {
    // Of one length, so that what is there is overwritten whole and never cut off first.
    file.seek(SeekFrom::Start(0))?;
    file.write_all(format!("{bytes:020}\n").as_bytes())?;
    file.set_len(21)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_among_many_writers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bytes");
        let granted: usize = std::thread::scope(|scope| {
            let writer = || {
                let ledger = Ledger::new(path.clone());
                (0..50).filter(|_| ledger.reserve(10, 1000).unwrap().0).count()
            };
            let writers: Vec<_> = (0..4).map(|_| scope.spawn(writer)).collect();
            writers.into_iter().map(|w| w.join().unwrap()).sum()
        });
        assert_eq!(granted, 100);
        let ledger = Ledger::new(path.clone());
        assert_eq!(ledger.peek().unwrap(), 1000);
        ledger.release(10).unwrap();
        assert_eq!(ledger.reserve(11, 1000).unwrap(), (false, 990));
        assert_eq!(ledger.reserve(10, 1000).unwrap(), (true, 1000));
        std::fs::write(&path, b"\xff nonsense").unwrap();
        assert_eq!(ledger.reserve(7, 1000).unwrap(), (true, 7));
        assert_eq!(ledger.recount(|| Ok(42)).unwrap(), 42);
        assert_eq!(ledger.peek().unwrap(), 42);
    }
}
