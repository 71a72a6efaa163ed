//! Samples that are named one by one, on the command line or in a file.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Fault, Kind};

/// Unknown keys that are printed; JSON has all of them.
const SHOWN: usize = 20;

/// Which samples.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct KeysArgs {
    /// Samples by key: the column `key`, else their path beneath the data.
    #[arg(value_name = "KEY")]
    pub keys: Vec<OsString>,
    /// A file with a key a line; - is standard input.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

impl KeysArgs {
    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.from.is_none()
    }

    /// All of them, each once, in the order they were named.
    ///
    /// # Errors
    /// NotFound, Invalid: the file cannot be read.
    pub fn read(&self) -> Result<Vec<Vec<u8>>, Fault> {
        let mut keys: Vec<_> = self.keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        if let Some(file) = &self.from {
            let text = read(file).map_err(|error| {
                let kind =
                    if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Invalid };
                Fault::from_error(kind, &error).context(format!("read {}", file.display()))
            })?;
            let lines =
                text.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            keys.extend(lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
        }
        let mut seen = HashSet::new();
        keys.retain(|key| seen.insert(key.clone()));
        Ok(keys)
    }
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text)?;
        return Ok(text);
    }
    std::fs::read(file)
}

/// Keys as JSON has them; what is no UTF-8 is shown as far as it is.
pub fn shown(keys: &[Vec<u8>]) -> Vec<String> {
    keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
}

/// Keys in lines, the first of them.
pub fn listed(title: &str, keys: &[Vec<u8>]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let mut out = format!("{title}:\n");
    for key in shown(&keys[..keys.len().min(SHOWN)]) {
        let _ = writeln!(out, "  {key}");
    }
    if keys.len() > SHOWN {
        let _ = writeln!(out, "  and {} more", keys.len() - SHOWN);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_the_command_line_and_a_file_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("list");
        std::fs::write(&file, b"b\r\n\na b\n\xff\nc").unwrap();
        let args = KeysArgs { keys: vec!["c".into(), "a".into(), "c".into()], from: Some(file) };
        assert_eq!(args.read().unwrap(), [&b"c"[..], b"a", b"b", b"a b", b"\xff"]);
        let missing = KeysArgs { from: Some(dir.path().join("none")), ..KeysArgs::default() };
        assert_eq!(missing.read().unwrap_err().kind, Kind::NotFound);
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let keys: Vec<_> = (0..25_u8).map(|key| vec![b'a' + key]).collect();
        let out = listed("unknown", &keys);
        assert!(out.starts_with("unknown:\n  a\n") && out.ends_with("  t\n  and 5 more\n"), "{out}");
        assert_eq!(listed("unknown", &[]), "");
    }
}
