//! The files of the project, read once, and what of a Rust file is code.

use std::fs;
use std::path::{Path, PathBuf};

/// One text file.
pub struct File {
    /// From the root of the project, with `/`.
    pub path: String,
    pub text: String,
}

/// All text files the rules look at.
pub struct Tree {
    pub files: Vec<File>,
    /// The project's root; `None` for an example.
    root: Option<PathBuf>,
}

impl File {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub fn is_rust(&self) -> bool {
        self.extension() == "rs"
    }

    pub fn extension(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// Whether it is Rust that ships: below `src/`, and no module of tests.
    pub fn is_shipped_rust(&self) -> bool {
        let test = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        self.is_rust()
            && self.path.contains("/src/")
            && !test
            && !["/models.rs", "/conformance.rs"].iter().any(|name| self.path.ends_with(name))
    }

    /// Line numbers from 1 and lines without their comments, up to the file's test module.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<_> = self.text.lines().collect();
        let end = lines.windows(2).position(|pair| {
            is_test_attribute(pair[0]) && pair[1].starts_with("mod") && pair[1].contains('{')
        });
        let end = end.unwrap_or(lines.len());
        lines.into_iter().take(end).map(without_comment).enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// `#[cfg(test)]`, alone or with other conditions, at the margin.
fn is_test_attribute(line: &str) -> bool {
    line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test,")
}

/// Cuts at the first `//` that stands outside a string.
fn without_comment(line: &str) -> &str {
    let (mut in_string, mut escaped) = (false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            // A quoted quote, '"', opens nothing.
            b'"' if line[..at].ends_with('\'') && line[at + 1..].starts_with('\'') => {}
            b'"' => in_string = !in_string,
            b'/' if !in_string && line[at..].starts_with("//") => return &line[..at],
            _ => {}
        }
    }
    line
}

const SKIPPED_FOLDERS: [&str; 6] = ["target", "node_modules", "__pycache__", "dist", "runs", "shared"];
const READ_EXTENSIONS: [&str; 6] = ["rs", "toml", "md", "py", "proto", "yaml"];
const READ_NAMES: [&str; 4] = ["dev", "Makefile", "rust-toolchain", "LICENSE"];

impl Tree {
    /// The project this test was built from.
    pub fn read() -> Self {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the root exists");
        let mut files = Vec::new();
        read_folder(&root, "", &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files, root: Some(root) }
    }

    /// An example.
    pub fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| File::new(path, text)).collect(), root: None }
    }

    pub fn text_of(&self, path: &str) -> &str {
        self.files.iter().find(|file| file.path == path).map_or("", |file| &file.text)
    }

    /// Whether a file or folder of this path is there.
    pub fn holds(&self, path: &str) -> bool {
        self.files.iter().any(|file| file.path == path)
            || self.root.as_ref().is_some_and(|root| root.join(path).exists())
    }
}

fn read_folder(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let entry = entry.expect("the entry can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("the entry has a type");
        if kind.is_dir() && !name.starts_with('.') && !SKIPPED_FOLDERS.contains(&name.as_str()) {
            read_folder(&entry.path(), &format!("{path}/"), files);
        } else if kind.is_file() && is_read(&name) {
            files.push(File::new(&path, &fs::read_to_string(entry.path()).expect("the file is UTF-8")));
        }
    }
}

fn is_read(name: &str) -> bool {
    READ_NAMES.contains(&name) || name.rsplit_once('.').is_some_and(|(_, end)| READ_EXTENSIONS.contains(&end))
}
