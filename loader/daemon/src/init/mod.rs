//! `forebay init`: a short configuration for this machine, with what was found beside each value.

pub mod options;

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::{Fault, Kind};
use crate::machine::Machine;
use crate::mounts;

pub use options::{InitArgs, Node};

/// Where data lies on most machines.
const USUAL_ROOTS: [&str; 3] = ["/data", "/datasets", "/mnt/data"];
/// File systems behind a network: their mounts are data where none of the usual folders is there.
const NETWORK: [&str; 8] = ["nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "wekafs", "cifs"];
/// A daemon may read more than its clients: nobody's home becomes a root unless somebody says so.
const NEVER_ROOTS: [&str; 6] = ["/home", "/root", "/usr", "/opt", "/var", "/run"];
/// Reads at a time, where each waits for a network; examples/nodes/ has the same for the smallest node.
const NETWORK_READ_THREADS: u32 = 64;

/// What a configuration is made from.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The values of a known node instead of this machine's.
    pub node: Option<Node>,
    /// Folders that jobs may read beneath, absolute; none: what looks like data.
    pub roots: Vec<PathBuf>,
    /// Where training processes connect.
    pub socket: PathBuf,
    /// How the file will be called, for the comment at its head.
    pub name: String,
}

/// Writes the file, or prints it; what to tell the user beside it.
///
/// # Errors
/// Invalid: the file exists, a path can't be written as TOML; Denied or NotFound: its folder.
pub fn run(args: &InitArgs) -> Result<String, Fault> {
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map_err(|error| {
            Fault::from_error(Kind::Invalid, &error).context(format!("--root {}", path.display()))
        })
    };
    let to_stdout = args.output == Path::new("-");
    let name = if to_stdout { "node.toml".to_owned() } else { args.output.display().to_string() };
    let roots = args.roots.iter().map(absolute).collect::<Result<_, _>>()?;
    let wanted = Wanted { node: args.node, roots, socket: socket(), name };
    let text = configuration(&Machine::beneath("/"), &wanted)?;
    if to_stdout {
        return Ok(text);
    }
    write(&args.output, &text, args.force)?;
    Ok(next_steps(&wanted.name, Config::parse(&text)?.socket.parent()))
}

/// What to do with the file that was written.
fn next_steps(name: &str, socket_folder: Option<&Path>) -> String {
    let folder = socket_folder.filter(|folder| !folder.is_dir());
    let make =
        folder.map_or_else(String::new, |folder| format!("install -d -m 2750 {} && ", folder.display()));
    format!("wrote {name}; next: {make}forebay doctor --config {name} && forebay serve --config {name}\n")
}

/// The text of a configuration, which [`Config::parse`] takes.
///
/// # Errors
/// Invalid: a path that TOML or the configuration can't hold.
pub fn configuration(machine: &Machine, wanted: &Wanted) -> Result<String, Fault> {
    let text = match wanted.node {
        Some(node) => for_node(node, wanted)?,
        None => for_machine(machine, wanted)?,
    };
    Config::parse(&text)?;
    Ok(text)
}

/// `/run/forebay` is root's to make; a user's own folder is there already.
fn socket() -> PathBuf {
    let uid = rustix::process::geteuid();
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir());
    match own {
        _ if uid.is_root() => Config::default().socket,
        Some(folder) => folder.join("forebay.sock"),
        None => PathBuf::from(format!("/tmp/forebay-{}.sock", uid.as_raw())),
    }
}

fn write(path: &Path, text: &str, force: bool) -> Result<(), Fault> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).create_new(!force);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let (kind, hint) = match error.kind() {
            ErrorKind::AlreadyExists => {
                (Kind::Invalid, "--force writes over it, -o names another, -o - prints")
            }
            ErrorKind::NotFound => (Kind::NotFound, "make its folder first"),
            _ => (Kind::Denied, "-o names another file, -o - prints"),
        };
        Fault::from_error(kind, &error).context(format!("write {}", path.display())).hint(hint)
    })
}

fn for_node(node: Node, wanted: &Wanted) -> Result<String, Fault> {
    let text = match node {
        Node::Dgx1 => include_str!("../../../../examples/nodes/dgx-1.toml"),
        Node::DgxA100 => include_str!("../../../../examples/nodes/dgx-a100.toml"),
        Node::DgxH100 => include_str!("../../../../examples/nodes/dgx-h100.toml"),
    };
    // The first line says how to run it, under the name that it has among the examples.
    let (_, rest) = text.split_once('\n').unwrap_or(("", text));
    let mut text = format!("# forebay serve --config {}\n{rest}", wanted.name);
    if !wanted.roots.is_empty() {
        text.truncate(text.find("[[root]]").unwrap_or(text.len()));
        for root in &wanted.roots {
            let _ = write!(text, "[[root]]\npath = {}\n", quoted(root)?);
        }
    }
    Ok(text)
}

fn for_machine(machine: &Machine, wanted: &Wanted) -> Result<String, Fault> {
    let roots = roots(machine, &wanted.roots);
    let (processors, gpus) = (machine.processors(), machine.gpus().len());
    let memory_gib = machine.memory_bytes() as f64 / (1 << 30) as f64;
    let model =
        machine.field("/proc/cpuinfo", "model name").map_or_else(String::new, |model| format!(" ({model})"));
    let gpu_words = if gpus == 0 { "no GPU".to_owned() } else { format!("{gpus} GPUs") };
    let mut text = format!(
        "# forebay serve --config {name}\n\
         # Written by `forebay init` on {processors} processors{model}, {memory_gib:.1} GiB, {gpu_words}.\n\
         # What is not named has its default (`forebay serve --help`); `forebay doctor --config {name}` checks it.\n\n",
        name = wanted.name,
    );
    let socket = quoted(&wanted.socket)?;
    line(
        &mut text,
        &format!("socket = {socket}"),
        &format!("training processes: FOREBAY_SOCKET={}", wanted.socket.display()),
    );
    cpu_threads(&mut text, processors, gpus);
    let network = roots.iter().find(|root| root.on_network());
    if let Some(root) = network {
        let why =
            format!("{} is {}: many reads at a time hide the network", root.path.display(), root.fs_type);
        line(&mut text, &format!("read_threads = {NETWORK_READ_THREADS}"), &why);
    }
    let half_mib = (machine.memory_bytes() / 2) >> 20;
    line(
        &mut text,
        &format!("# arena_budget = \"{half_mib}MiB\""),
        "all batches in shared memory; the default, half of the memory",
    );
    for root in &roots {
        text.push_str("\n[[root]]\n");
        line(&mut text, &format!("path = {}", quoted(&root.path)?), &root.words);
    }
    line(
        &mut text,
        "# allow = { uids = [1000], gids = [100] }",
        "absent: anybody who may connect to the socket",
    );
    Ok(text)
}

/// Where trainers run beside it, each keeps a core, if that leaves enough to decode with.
fn cpu_threads(text: &mut String, processors: usize, gpus: usize) {
    if gpus > 0 && processors >= 4 * gpus {
        let threads = processors - gpus;
        line(
            text,
            &format!("cpu_threads = {threads}"),
            &format!("all {processors} usable but one a GPU's trainer"),
        );
    } else {
        line(
            text,
            "# cpu_threads = 0",
            &format!("the default: as affinity and cgroup quota allow, {processors} here"),
        );
    }
}

fn line(text: &mut String, setting: &str, comment: &str) {
    let _ = writeln!(text, "{setting:<44}  # {comment}");
}

struct Root {
    path: PathBuf,
    fs_type: String,
    words: String,
}

impl Root {
    fn on_network(&self) -> bool {
        NETWORK.contains(&self.fs_type.as_str())
    }
}

fn roots(machine: &Machine, given: &[PathBuf]) -> Vec<Root> {
    let mounts = machine.mounts();
    let there = |path: &PathBuf| machine.has(&path.to_string_lossy());
    let mut paths = given.to_vec();
    if paths.is_empty() {
        paths = USUAL_ROOTS.iter().map(PathBuf::from).filter(there).collect();
    }
    if paths.is_empty() {
        let data = |mount: &&mounts::Mount| {
            NETWORK.contains(&mount.fs_type.as_str())
                && !NEVER_ROOTS.iter().any(|never| mount.point.starts_with(never))
        };
        paths = mounts.iter().filter(data).map(|mount| mount.point.clone()).collect();
        paths.dedup();
    }
    if paths.is_empty() {
        paths.push(PathBuf::from(USUAL_ROOTS[0]));
    }
    let described = |path: PathBuf| {
        let fs_type = mounts::holding(&mounts, &path).map_or_else(String::new, |mount| mount.fs_type.clone());
        let words = match there(&path) {
            true if fs_type.is_empty() => "what jobs may read".to_owned(),
            true => format!("what jobs may read; {fs_type}"),
            false => "not there yet: name the folder of your data".to_owned(),
        };
        Root { path, fs_type, words }
    };
    paths.into_iter().map(described).collect()
}

/// A path as a TOML string.
fn quoted(path: &Path) -> Result<String, Fault> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control)).ok_or_else(|| {
        Fault::invalid(format!("{} can't be written in a configuration", path.display()))
            .hint("name the data by a path of UTF-8 without control characters; a link will do")
    })?;
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests;
