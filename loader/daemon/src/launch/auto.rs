//! `--auto`: what is put before a job's Python, so that torch's `DataLoader` looks at its data set first.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Fault, Kind};

/// Where Python looks for modules first.
const SEARCH_PATH: &str = "PYTHONPATH";
const NAME: &str = "sitecustomize.py";

/// A folder with a module that every Python of the job imports when it starts; gone with the job.
pub(super) struct Hook(PathBuf);

impl Hook {
    /// Makes the folder, which must not be there, and its module.
    ///
    /// # Errors
    /// Unavailable, where they cannot be written.
    pub(super) fn make(folder: PathBuf) -> Result<Hook, Fault> {
        super::make_own(&folder).map_err(|error| unwritten(&folder, &error))?;
        let hook = Hook(folder);
        let module = hook.0.join(NAME);
        fs::write(&module, include_str!("sitecustomize.py")).map_err(|error| unwritten(&module, &error))?;
        Ok(hook)
    }

    /// The variable of the job's environment, and its value.
    pub(super) fn variable(&self) -> (&'static str, OsString) {
        (SEARCH_PATH, before(&self.0, env::var_os(SEARCH_PATH)))
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Fault {
    Fault::from_error(Kind::Unavailable, error)
        .context(format!("make {}", path.display()))
        .hint("TMPDIR names another place for temporary files")
}

/// A folder before those of a search path. An empty entry would be the working directory.
fn before(folder: &Path, others: Option<OsString>) -> OsString {
    let mut path = OsString::from(folder);
    if let Some(others) = others.filter(|others| !others.is_empty()) {
        path.push(":");
        path.push(others);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_comes_before_what_python_searches_already() {
        assert_eq!(before(Path::new("/hook"), None), "/hook");
        assert_eq!(before(Path::new("/hook"), Some("".into())), "/hook");
        assert_eq!(before(Path::new("/hook"), Some("/a:/b".into())), "/hook:/a:/b");
    }

    #[test]
    fn the_folder_is_gone_with_the_hook() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let folder = parent.path().join("hook");
        let hook = Hook::make(folder.clone()).expect("it can be written");
        assert!(folder.join(NAME).is_file());
        assert!(Hook::make(folder.clone()).is_err(), "somebody else's folder is not taken");
        drop(hook);
        assert!(!folder.exists());
    }
}
