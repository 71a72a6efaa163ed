//! `forebay dataset`: what is known of a data set's samples. One file a verb.

mod add;
pub mod common;
mod diff;
mod export;
mod files;
mod filter;
mod freeze;
mod join;
mod keys;
mod lists;
mod log;
pub mod options;
mod place;
mod release;
mod remove;
mod show;
mod spikes;
mod split;
mod text;
mod top;
mod verify;
mod weights;

use crate::error::Fault;
use options::{DatasetArgs, DatasetVerb};

/// Runs the verb: what to print.
///
/// # Errors
/// What the daemon or the stored ledgers say.
pub fn run(args: &DatasetArgs) -> Result<String, Fault> {
    match &args.verb {
        DatasetVerb::Export(args) => export::run(args),
        DatasetVerb::Split(args) => split::run(args),
        DatasetVerb::Freeze(args) => freeze::run(args),
        DatasetVerb::Filter(args) => filter::run(args),
        DatasetVerb::Release(args) => release::run(args),
        DatasetVerb::Remove(args) => remove::run(args),
        DatasetVerb::Verify(args) => verify::run(args),
        DatasetVerb::Top(args) => top::run(args),
        DatasetVerb::Spikes(args) => spikes::run(args),
        DatasetVerb::Weights(args) => weights::run(args),
        DatasetVerb::Join(args) => join::run(args),
        DatasetVerb::Add(args) => add::run(args),
        DatasetVerb::Log(args) => log::run(args),
        DatasetVerb::Show(args) => show::run(args),
        DatasetVerb::Diff(args) => diff::run(args),
        DatasetVerb::Files(args) => files::run(args),
    }
}
