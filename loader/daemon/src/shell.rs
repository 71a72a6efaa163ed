//! `forebay completions` and `forebay man`: what a shell and a pager want to know of the command line.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Args;
use crate::error::{Fault, Kind};

/// Options of `forebay completions`.
#[derive(clap::Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// Whose.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Options of `forebay man`.
#[derive(clap::Args, Clone, Debug)]
pub struct ManArgs {
    /// An existing folder for forebay.1 and a page a verb. Absent: forebay.1 goes to standard output.
    pub dir: Option<PathBuf>,
}

/// What `forebay completions --help` ends with.
pub const COMPLETIONS_HELP: &str = "\
Examples:
  forebay completions bash > ~/.local/share/bash-completion/completions/forebay
  forebay completions zsh > \"${fpath[1]}/_forebay\"
  forebay completions fish > ~/.config/fish/completions/forebay.fish";

/// What `forebay man --help` ends with.
pub const MAN_HELP: &str = "\
Examples:
  forebay man | man -l -
  mkdir -p ~/.local/share/man/man1 && forebay man ~/.local/share/man/man1 && man forebay-serve";

/// The script that completes `forebay` in this shell.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "forebay", &mut script);
    script
}

/// The page of the whole command.
///
/// # Errors
/// None in practice: it is written to memory.
pub fn page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Args::command()).render(&mut page)?;
    Ok(page)
}

/// Writes a page of the command and one a verb; how many.
///
/// # Errors
/// NotFound or Denied: the folder.
pub fn pages(dir: &Path) -> Result<usize, Fault> {
    // `forebay help serve` is `forebay serve --help`: no verb of its own.
    let verbs = |verb: Command| verb.disable_help_subcommand(true);
    let command = verbs(Args::command()).mut_subcommands(verbs);
    let pages = count(&command);
    clap_mangen::generate_to(command, dir).map_err(|error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Denied };
        Fault::from_error(kind, &error)
            .context(format!("write manual pages to {}", dir.display()))
            .hint("name a folder that exists and that you may write to, as in ~/.local/share/man/man1")
    })?;
    Ok(pages)
}

/// Pages of a command and of the verbs below it.
fn count(command: &Command) -> usize {
    1 + command.get_subcommands().filter(|verb| !verb.is_hide_set()).map(count).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_verb_shows_an_example_in_its_help() {
        for mut verb in Args::command().get_subcommands().cloned() {
            let help = verb.render_long_help().to_string();
            assert!(help.contains("Example"), "forebay {} --help", verb.get_name());
        }
    }

    #[test]
    fn every_shell_completes_every_verb() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(completions(*shell)).expect("UTF-8");
            for verb in Args::command().get_subcommands() {
                assert!(script.contains(verb.get_name()), "{shell}: {}", verb.get_name());
            }
        }
    }

    #[test]
    fn there_is_a_page_of_the_command_and_one_a_verb() {
        let dir = tempfile::tempdir().expect("a folder");
        let pages = pages(dir.path()).expect("pages");
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), pages);
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect("a page");
        assert!(read("forebay.1").contains("forebay\\-serve(1)"));
        assert!(read("forebay-doctor.1").contains("Examples:"));
        assert!(read("forebay-state-diff.1").contains("Exit status:"));
        assert!(!dir.path().join("forebay-state-help.1").exists());
        assert!(page().expect("in memory").starts_with(b".ie"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let fault = pages(Path::new("/nowhere/man1")).expect_err("no folder");
        assert_eq!(fault.kind, Kind::NotFound);
        assert!(fault.message.contains("/nowhere/man1") && fault.hint.is_some());
    }
}
