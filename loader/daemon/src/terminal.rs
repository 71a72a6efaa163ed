//! Whether what is written is read by a person at a terminal.

use std::io::IsTerminal;

/// Whether to colour what goes to `stream`: a terminal, and `NO_COLOR` (no-color.org) is not set or empty.
pub fn colours(stream: &impl IsTerminal) -> bool {
    coloured(stream.is_terminal(), std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()))
}

fn coloured(is_terminal: bool, refused: bool) -> bool {
    is_terminal && !refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_that_does_not_refuse_gets_colours() {
        assert!(coloured(true, false));
        assert!(!coloured(true, true) && !coloured(false, false));
    }
}
