//! What the rules look at: the root, its members and their text files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::Table;

/// The workspace, read once.
pub(crate) struct Workspace {
    /// The root folder.
    pub(crate) root: PathBuf,
    /// The manifest at the root.
    pub(crate) manifest: Table,
    /// `Cargo.lock`.
    pub(crate) lock: Table,
    /// The members, by folder.
    pub(crate) members: Vec<Member>,
    /// Every text file that people write, by its path from the root, with its text.
    pub(crate) texts: Vec<(String, String)>,
}

/// One crate.
pub(crate) struct Member {
    /// Its folder from the root: `crates/NAME` or `xtask`.
    pub(crate) folder: String,
    /// Its manifest.
    pub(crate) manifest: Table,
}

/// Where people write, from the root.
const WRITTEN: [&str; 6] = ["crates", "xtask", "datasets", "docs", ".ci", ".cargo"];
/// What counts as text.
const TEXT: [&str; 6] = ["rs", "toml", "md", "yml", "yaml", "sh"];

impl Workspace {
    /// The workspace that this program was built from.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in a workspace")?;
        Self::read(root)
    }

    fn read(root: &Path) -> Result<Self> {
        let mut members = Vec::new();
        for entry in std::fs::read_dir(root.join("crates"))? {
            let folder = format!("crates/{}", entry?.file_name().to_string_lossy());
            if root.join(&folder).join("Cargo.toml").is_file() {
                members.push(Member { manifest: table(&root.join(&folder).join("Cargo.toml"))?, folder });
            }
        }
        members.push(Member { folder: "xtask".into(), manifest: table(&root.join("xtask/Cargo.toml"))? });
        members.sort_by(|a, b| a.folder.cmp(&b.folder));
        let mut texts = Vec::new();
        for entry in std::fs::read_dir(root)? {
            let path = entry?.path();
            if path.is_file() {
                read_text(root, &path, &mut texts);
            }
        }
        WRITTEN.iter().for_each(|folder| read_folder(root, &root.join(folder), &mut texts));
        texts.sort();
        let (manifest, lock) = (table(&root.join("Cargo.toml"))?, table(&root.join("Cargo.lock"))?);
        Ok(Self { root: root.to_owned(), manifest, lock, members, texts })
    }

    /// The text of a file, empty if there is none.
    pub(crate) fn text(&self, path: &str) -> &str {
        self.texts.iter().find(|(p, _)| p == path).map_or("", |(_, text)| text)
    }

    /// The files whose names end in this, with their texts.
    pub(crate) fn files<'a>(&'a self, ending: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.texts.iter().filter(move |(p, _)| p.ends_with(ending)).map(|(p, t)| (p.as_str(), t.as_str()))
    }

    /// Names of the library crates, which must build alone.
    pub(crate) fn libraries(&self) -> Vec<&str> {
        let is_library = |m: &&Member| self.root.join(&m.folder).join("src/lib.rs").is_file();
        self.members.iter().filter(is_library).map(Member::name).collect()
    }
}

impl Member {
    /// The crate's name.
    pub(crate) fn name(&self) -> &str {
        self.manifest.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str()).unwrap_or("")
    }

    /// Entries of a table of dependencies; empty if there is none.
    pub(crate) fn dependencies(&self, kind: &str) -> impl Iterator<Item = (&String, &toml::Value)> {
        self.manifest.get(kind).and_then(|t| t.as_table()).into_iter().flatten()
    }
}

fn table(path: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))?;
    text.parse().with_context(|| format!("not TOML: {path:?}"))
}

fn read_folder(root: &Path, folder: &Path, texts: &mut Vec<(String, String)>) {
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()) {
        match path.is_dir() {
            true if path.file_name().is_some_and(|n| n == "target") => {}
            true => read_folder(root, &path, texts),
            false => read_text(root, &path, texts),
        }
    }
}

fn read_text(root: &Path, path: &Path, texts: &mut Vec<(String, String)>) {
    let extension = path.extension().map(|e| e.to_string_lossy().into_owned());
    let relative = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
    if (extension.is_some_and(|e| TEXT.contains(&e.as_str())) || relative == ".ci/run")
        && let Ok(text) = std::fs::read_to_string(path)
    {
        texts.push((relative, text));
    }
}
