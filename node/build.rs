//! Links the addon the way Node expects, and RocksDB's C++ library into it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    napi_build::setup();
    println!("cargo:rerun-if-env-changed=CXX");
    let linux = env::var_os("CARGO_CFG_TARGET_OS").is_some_and(|os| os == "linux");
    if linux && env::var_os("CARGO_FEATURE_ROCKSDB").is_some() {
        prefer_static_cxx()?;
    }
    Ok(())
}

/// Has the linker find the archive of the C++ library before the shared one: a shared one as new as this machine's is
/// not on every machine that the addon may come to. Where there is no archive, the shared library serves.
fn prefer_static_cxx() -> io::Result<()> {
    let compiler = env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let Ok(told) = Command::new(compiler).arg("-print-file-name=libstdc++.a").output() else { return Ok(()) };
    let archive = PathBuf::from(String::from_utf8_lossy(&told.stdout).trim());
    let Some(folder) = env::var_os("OUT_DIR") else { return Ok(()) };
    // A compiler that has none answers with the bare name.
    if archive.is_absolute() && archive.exists() {
        // In a folder without the shared one, which would be taken first.
        fs::copy(&archive, Path::new(&folder).join("libstdc++.a"))?;
        println!("cargo:rustc-link-search=native={}", Path::new(&folder).display());
    }
    Ok(())
}
