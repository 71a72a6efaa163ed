//! What `forebay init` was asked for.

use std::path::PathBuf;

use clap::ValueEnum;

/// Options of `forebay init`.
#[derive(clap::Args, Clone, Debug)]
pub struct InitArgs {
    /// Write the values for such a node instead of those for this machine.
    #[arg(long = "for", value_enum, value_name = "NODE")]
    pub node: Option<Node>,
    /// A folder that jobs may read beneath; may be given more than once. Absent: what looks like data here.
    #[arg(long = "root", value_name = "PATH")]
    pub roots: Vec<PathBuf>,
    /// The file to write; - is standard output.
    #[arg(short, long, value_name = "FILE", default_value = "node.toml")]
    pub output: PathBuf,
    /// Write over a file that exists.
    #[arg(long)]
    pub force: bool,
}

/// Nodes whose values come with forebay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Node {
    /// 8 V100, 2 x 20 cores.
    #[value(name = "dgx-1")]
    Dgx1,
    /// 8 A100, 2 x 64 cores.
    #[value(name = "dgx-a100")]
    DgxA100,
    /// 8 H100, 2 x 56 cores.
    #[value(name = "dgx-h100")]
    DgxH100,
}

/// What `forebay init --help` ends with.
pub const INIT_HELP: &str = "\
Examples:
  forebay init                                      node.toml for this machine
  forebay init --root /lustre/datasets -o /etc/forebay/node.toml
  forebay init --for dgx-h100 -o -                  that node's values, to look at
  forebay doctor --config node.toml && forebay serve --config node.toml";
