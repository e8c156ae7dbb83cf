//! The folder of a cache: where entries lie, how they are read and added.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use half::f16;
use memmap2::Mmap;

use super::entry::{self, Shape};
use super::error::CacheError;
use super::key::Key;
use super::ledger::Ledger;
use super::report::CacheReport;
use super::size::ByteSize;

/// Ending of entries.
const ENDING: &str = "map";
/// Beginning of files that are being written.
const UNFINISHED: &str = ".writing-";
/// A file that is still unfinished after this belongs to a writer that was killed.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Tells backup programs to leave the folder out (bford.info/cachedir).
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
                   # Feature maps of frozen networks, made by ppkt; may be deleted at any time.\n";

/// A folder of feature maps, shared by any number of threads and processes; clones share everything.
///
/// ```
/// use ppkt_teacher::{ByteSize, Cached, FeatureCache, Images, Teacher, TeacherOptions, open};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let folder = dir.path();
/// let cache = FeatureCache::open(folder, "20GB".parse()?)?;
/// let teacher = open(&"builtin:tiny".parse()?, &TeacherOptions::default())?;
/// let teacher = Cached::new(teacher, cache.clone())?;
///
/// let grey = Images::new(1, 96, 128, vec![127; 96 * 128 * 3])?;
/// let computed = teacher.features(&grey)?;
/// let read = teacher.features(&grey)?;
/// assert_eq!((cache.report().misses, cache.report().hits), (1, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FeatureCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    limit: u64,
    ledger: Ledger,
    /// Set once nothing more is added: the cache is full, or cannot be written.
    closed: AtomicBool,
    /// Bytes in the folder when this last heard of them.
    bytes: AtomicU64,
    counts: Counts,
    notices: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    damaged: AtomicU64,
    added: AtomicU64,
    bytes_read: AtomicU64,
    bytes_added: AtomicU64,
}

/// What became of looking for an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Read and verified.
    Hit,
    /// Not there.
    Absent,
    /// There, but not what it should be.
    Damaged,
}

impl FeatureCache {
    /// Opens a cache that may hold up to `limit` bytes, and makes the folder if there is none.
    ///
    /// A folder that cannot be written is read all the same.
    ///
    /// # Errors
    /// [`CacheError::Folder`] if the folder cannot be made or read.
    pub fn open(folder: &Path, limit: ByteSize) -> Result<Self, CacheError> {
        let fault = |source| CacheError::Folder { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(fault)?;
        let ledger = Ledger::new(folder.join("bytes"));
        let inner = Inner {
            folder: folder.to_owned(),
            limit: limit.0,
            ledger,
            closed: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            counts: Counts::default(),
            notices: Mutex::default(),
        };
        // Counted at each opening, so that entries removed by hand and killed writers are not counted for ever.
        let bytes = match inner.ledger.recount(|| inner.sweep()) {
            Ok(bytes) => bytes,
            Err(e) => {
                let bytes = inner.sweep().map_err(fault)?;
                inner.close(&format!("it cannot be written ({e})"));
                bytes
            }
        };
        inner.bytes.store(bytes, Relaxed);
        let tag = folder.join("CACHEDIR.TAG");
        if !tag.exists() && !inner.closed.load(Relaxed) {
            // Of use to backup programs alone.
            let _ = fs::write(tag, TAG);
        }
        Ok(Self(Arc::new(inner)))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// What was read and written since this was opened.
    pub fn report(&self) -> CacheReport {
        let counts = &self.0.counts;
        CacheReport {
            hits: counts.hits.load(Relaxed),
            misses: counts.misses.load(Relaxed),
            damaged: counts.damaged.load(Relaxed),
            added: counts.added.load(Relaxed),
            bytes_read: counts.bytes_read.load(Relaxed),
            bytes_added: counts.bytes_added.load(Relaxed),
            bytes: self.0.ledger.peek().unwrap_or_else(|_| self.0.bytes.load(Relaxed)),
            limit: self.0.limit,
        }
    }

    /// Whether maps are still added: not once the cache is full or could not be written.
    pub fn accepts(&self) -> bool {
        !self.0.closed.load(Relaxed)
    }

    /// What a user should hear, once: that the cache is full or cannot be written, which entry was damaged.
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads a map into `out`; after anything but a hit, `out` is undefined and the map has to be computed.
    pub(super) fn load(&self, key: &Key, shape: Shape, out: &mut [f32]) -> Found {
        let (counts, path) = (&self.0.counts, self.place(key));
        let problem = match read(&path, key, shape, out) {
            Ok(None) => {
                counts.hits.fetch_add(1, Relaxed);
                counts.bytes_read.fetch_add(entry::size_of_entry(out.len()), Relaxed);
                return Found::Hit;
            }
            Ok(Some(problem)) => problem.to_owned(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                counts.misses.fetch_add(1, Relaxed);
                return Found::Absent;
            }
            // A folder in its place, a broken disk: as good as damaged.
            Err(e) => e.to_string(),
        };
        counts.misses.fetch_add(1, Relaxed);
        if counts.damaged.fetch_add(1, Relaxed) == 0 {
            self.0.notice(format!(
                "a feature map in the cache is damaged ({problem}) and computed again; others are only counted: {path:?}"
            ));
        }
        Found::Damaged
    }

    /// Adds a map, or puts it in the place of one that was damaged (`mends`). What goes wrong closes the cache for this
    /// process and is told; the run goes on.
    pub(super) fn store(&self, key: &Key, shape: Shape, values: &[f16], mends: bool) {
        let inner = &self.0;
        if inner.closed.load(Relaxed) {
            return;
        }
        let bytes = entry::encode(key, shape, values);
        let size = bytes.len() as u64;
        // The place of a damaged entry is counted already, so that a full cache can be mended.
        let grows = if mends { 0 } else { size };
        match inner.ledger.reserve(grows, inner.limit) {
            Ok((fits, there)) => {
                inner.bytes.store(there, Relaxed);
                if !fits && !mends {
                    let [there, limit] = [there, inner.limit].map(|n| ByteSize(n).rounded());
                    return inner.close(&format!(
                        "it is full ({there} of {limit}); raise the limit with --cache-limit, or give another folder"
                    ));
                }
            }
            Err(e) => return inner.close(&format!("it cannot be written ({e})")),
        }
        match write(&self.place(key), &bytes, mends) {
            Ok(true) => {
                inner.counts.added.fetch_add(1, Relaxed);
                inner.counts.bytes_added.fetch_add(size, Relaxed);
            }
            // Another writer was first.
            Ok(false) => inner.release(grows),
            // Something of another's lies in the place of this one entry; it is counted as damaged whenever it is met.
            Err(e) if e.kind() == io::ErrorKind::IsADirectory => inner.release(grows),
            Err(e) => {
                inner.release(grows);
                inner.close(&format!("it cannot be written ({e})"));
            }
        }
    }

    fn place(&self, key: &Key) -> PathBuf {
        let name = key.to_string();
        let (shard, rest) = name.split_at(2);
        self.0.folder.join(shard).join(format!("{rest}.{ENDING}"))
    }
}

impl Inner {
    fn notice(&self, text: String) {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    fn close(&self, why: &str) {
        if !self.closed.swap(true, Relaxed) {
            let folder = &self.folder;
            self.notice(format!(
                "no feature map is added to the cache any more, those that are there are still read: {why}: {folder:?}"
            ));
        }
    }

    fn release(&self, bytes: u64) {
        if bytes > 0 {
            // If this fails, a little less is added than the limit allows, until the folder is counted again.
            let _ = self.ledger.release(bytes);
        }
    }

    /// Counts the bytes of entries, and removes what killed writers left. Files of others are neither counted nor
    /// touched.
    fn sweep(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for shard in fs::read_dir(&self.folder)? {
            let shard = shard?;
            let name = shard.file_name();
            let ours = name.len() == 2 && name.to_string_lossy().bytes().all(|b| b.is_ascii_hexdigit());
            if !ours || !shard.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(shard.path())? {
                let file = file?;
                let (name, path) = (file.file_name(), file.path());
                let unfinished = name.to_string_lossy().starts_with(UNFINISHED);
                let entry = path.extension().is_some_and(|e| e == ENDING);
                if !unfinished && !entry {
                    continue;
                }
                // Another process may just have renamed or removed it.
                let Ok(meta) = file.metadata() else { continue };
                let age = meta.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
                if unfinished && age > ABANDONED && fs::remove_file(&path).is_ok() {
                    continue;
                }
                bytes += meta.len();
            }
        }
        Ok(bytes)
    }
}

/// Reads an entry: `None` if it is right, else what is wrong with it.
fn read(path: &Path, key: &Key, shape: Shape, out: &mut [f32]) -> io::Result<Option<&'static str>> {
    let file = File::open(path)?;
    // Looked at before mapping: a mapping of nothing is an error of its own.
    if file.metadata()?.len() != entry::size_of_entry(out.len()) {
        return Ok(Some("it is of another size"));
    }
    #[expect(unsafe_code, reason = "reading without a copy")]
    // SAFETY: entries are only ever renamed to their place when whole, replaced by renaming, and never written or cut
    // again, so the mapped file does not change. Whoever cuts it by other means while it is read ends this process
    // with SIGBUS; bytes that change under the reader can at worst fail the checksum or give other numbers.
    let bytes = unsafe { Mmap::map(&file)? };
    Ok(entry::decode(&bytes, key, shape, out).err())
}

/// Writes an entry beside its place, flushes it and renames it. `false`: another writer was first.
fn write(path: &Path, bytes: &[u8], replace: bool) -> io::Result<bool> {
    let shard = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(shard)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    {
        // As any file of the user's, so that others may read the cache.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(shard)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    if replace {
        return file.persist(path).map(|_| true).map_err(|e| e.error);
    }
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e.error),
    }
}
