//! Directories of real files: copies, contents, and somewhere quick to keep them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Paths, with the bytes of files.
pub type Contents = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// A new directory in memory where the system has one, as thousands of databases are made and thrown away; else on
/// disk. Gone with its handle.
pub fn quick_dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Copies a directory with everything below it to `to`, which may be there.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Everything below `dir` by its path from there: the bytes of a file, `None` for a directory.
pub fn contents(dir: &Path) -> Contents {
    try_contents(dir).unwrap()
}

fn try_contents(dir: &Path) -> io::Result<Contents> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(below) = waiting.pop() {
        for entry in fs::read_dir(dir.join(&below))? {
            let path = below.join(entry?.file_name());
            if dir.join(&path).is_dir() {
                waiting.push(path.clone());
                found.insert(path, None);
            } else {
                let bytes = fs::read(dir.join(&path))?;
                found.insert(path, Some(bytes));
            }
        }
    }
    Ok(found)
}

/// Removes a file, or a directory with everything below it.
pub fn remove(path: &Path) {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
}

/// Copies a directory to `to`, which is not there, while others work in it: tries until it has caught a state that
/// the directory was in.
pub fn copy_settled(from: &Path, to: &Path) {
    loop {
        if copy_tree(from, to).is_ok() && try_contents(from).is_ok_and(|now| now == contents(to)) {
            return;
        }
        remove(to);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Something mounted, until it is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts at a directory. `None`, with a word of explanation, where this process may not.
    pub fn new(at: &Path, args: &[&str]) -> Option<Mount> {
        let done = Command::new("mount").args(args).arg(at).stderr(Stdio::null()).status();
        if !done.is_ok_and(|status| status.success()) {
            println!("skipped: mounting needs root on Linux");
            return None;
        }
        Some(Mount(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
