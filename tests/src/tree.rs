//! [`Tree`]: directories on a [`SimDisk`], so that names are lost and kept by a crash as bytes are.
//!
//! A directory is a file of the disk that lists what was done to its entries, in order: made, named anew, removed.
//! Syncing the directory syncs that list. A power cut keeps a first part of what came after, each entry whole:
//! what journaling file systems do. Files lose what was appended from its end, see [`SimDisk::lose_ends_only`]. Nothing is assumed across directories, nor between names and contents.

use crate::sim::{SimBytes, SimDisk};
use asteroid_core::Result;
use asteroid_core::bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the root's list.
const ROOT: &str = "/";

/// Files and directories by their paths, the root's being empty.
pub struct Tree {
    disk: SimDisk,
    nodes: BTreeMap<PathBuf, Node>,
}

/// A file or a directory.
#[derive(Clone)]
pub struct Node {
    /// Its bytes, or its list of entries.
    pub bytes: Arc<SimBytes>,
    /// Whether it is a directory.
    pub is_dir: bool,
    name: String,
}

impl Tree {
    /// What lies on `disk`.
    pub fn new(disk: &SimDisk) -> Tree {
        disk.lose_ends_only();
        let mut tree = Tree { disk: disk.clone(), nodes: BTreeMap::new() };
        tree.read(PathBuf::new(), ROOT.to_owned());
        tree
    }

    fn read(&mut self, path: PathBuf, name: String) {
        let bytes = self.disk.open_ordered(&name);
        let list = String::from_utf8(all(&bytes)).unwrap();
        self.nodes.insert(path.clone(), Node { bytes, is_dir: true, name });
        let mut entries = BTreeMap::new();
        for line in list.lines() {
            match line.split('\t').collect::<Vec<_>>()[..] {
                [kind @ ("file" | "dir"), entry, name] => {
                    entries.insert(entry, (kind == "dir", name));
                }
                ["rename", from, to] => {
                    let moved = entries.remove(from).unwrap();
                    entries.insert(to, moved);
                }
                ["remove", entry] => drop(entries.remove(entry).unwrap()),
                _ => panic!("no entry: {line}"),
            }
        }
        for (entry, (is_dir, name)) in entries {
            let (path, name) = (path.join(entry), name.to_owned());
            if is_dir {
                self.read(path, name);
            } else {
                let bytes = self.disk.open(&name);
                self.nodes.insert(path, Node { bytes, is_dir, name });
            }
        }
    }

    /// The disk below.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// What is at `path`.
    pub fn get(&self, path: &Path) -> Option<Node> {
        self.nodes.get(path).cloned()
    }

    /// Whether something can be made at `path`: it is free and its directory is there.
    pub fn is_free(&self, path: &Path) -> bool {
        let parent = path.parent().and_then(|parent| self.nodes.get(parent));
        !self.nodes.contains_key(path) && parent.is_some_and(|parent| parent.is_dir)
    }

    /// Whether `path` is a directory without entries.
    pub fn is_empty_dir(&self, path: &Path) -> bool {
        self.nodes.get(path).is_some_and(|node| node.is_dir)
            && !self.nodes.keys().any(|other| other.parent() == Some(path))
    }

    /// Makes an empty file or directory at `path`, which is free.
    pub fn make(&mut self, path: &Path, is_dir: bool) -> Result<Node> {
        let mut name = path.to_str().unwrap().to_owned();
        // A name that comes again is another file.
        if self.disk.names().contains(&name) {
            name = format!("{name}~{}", self.disk.names().len());
        }
        let kind = if is_dir { "dir" } else { "file" };
        self.say(path, &format!("{kind}\t{}\t{name}", entry(path)))?;
        let bytes = if is_dir { self.disk.open_ordered(&name) } else { self.disk.open(&name) };
        let node = Node { bytes, is_dir, name };
        self.nodes.insert(path.to_owned(), node.clone());
        Ok(node)
    }

    /// Gives the file at `path` a second name, which is free.
    pub fn link(&mut self, path: &Path, second: &Path) -> Result<()> {
        let node = self.nodes[path].clone();
        self.say(second, &format!("file\t{}\t{}", entry(second), node.name))?;
        self.nodes.insert(second.to_owned(), node);
        Ok(())
    }

    /// Renames a file within its directory; what had the new name loses it.
    pub fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        assert_eq!(
            from.parent(),
            to.parent(),
            "renamed across directories, which two lists cannot tell as one"
        );
        self.say(from, &format!("rename\t{}\t{}", entry(from), entry(to)))?;
        let node = self.nodes.remove(from).unwrap();
        assert!(!node.is_dir, "a directory renamed: its entries would have to follow");
        self.nodes.insert(to.to_owned(), node);
        Ok(())
    }

    /// Removes the file or empty directory at `path`.
    pub fn remove(&mut self, path: &Path) -> Result<()> {
        self.say(path, &format!("remove\t{}", entry(path)))?;
        self.nodes.remove(path);
        Ok(())
    }

    /// Appends to the list of the directory of `path`.
    fn say(&self, path: &Path, line: &str) -> Result<()> {
        let list = &self.nodes[path.parent().unwrap()].bytes;
        list.write_at(list.len()?, format!("{line}\n").as_bytes())
    }

    /// Every file's path and bytes; directories have none.
    pub fn contents(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let below = self.nodes.iter().filter(|(path, _)| !path.as_os_str().is_empty());
        below.map(|(path, node)| (path.clone(), (!node.is_dir).then(|| all(&node.bytes)))).collect()
    }

    /// Writes everything into the directory `to`, which is empty.
    pub fn write_to(&self, to: &Path) {
        for (path, bytes) in self.contents() {
            match bytes {
                None => fs::create_dir(to.join(path)).unwrap(),
                Some(bytes) => fs::write(to.join(path), bytes).unwrap(),
            }
        }
    }
}

fn entry(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn all(bytes: &SimBytes) -> Vec<u8> {
    let mut out = vec![0; bytes.len().unwrap() as usize];
    bytes.read_at(0, &mut out).unwrap();
    out
}
