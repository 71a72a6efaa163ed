//! Where one decode thread takes its work: at the channel of reads that came back, or at the board of its home.

use std::sync::{Arc, Once};

use super::board::Board;
use super::{Home, Pool, Ticket};
use crate::storage::Done;
use crate::sys;

/// One decode thread's place.
pub(super) struct Seat {
    completed: flume::Receiver<Done<Ticket>>,
    at_home: Option<AtHome>,
}

struct AtHome {
    board: Arc<Board<Done<Ticket>>>,
    home: Home,
    /// Which of the board's it is.
    place: usize,
    /// Whether the thread runs there already, or could not be had to.
    is_there: bool,
}

impl Seat {
    /// That of the decode thread number `thread`.
    pub(super) fn new(pool: &Pool, completed: &flume::Receiver<Done<Ticket>>, thread: usize) -> Self {
        let place = pool.homes.of_thread(thread);
        let at_home = pool.board.as_ref().zip(place).map(|(board, place)| {
            let home = pool.homes.all()[place].clone();
            AtHome { board: Arc::clone(board), home, place, is_there: false }
        });
        Self { completed: completed.clone(), at_home }
    }

    /// Waits for a read that came back; `None`: none will any more.
    pub(super) fn next(&mut self) -> Option<Done<Ticket>> {
        match &mut self.at_home {
            Some(at_home) if at_home.board.is_open() => at_home.next(),
            _ => self.completed.recv().ok(),
        }
    }
}

impl AtHome {
    fn next(&mut self) -> Option<Done<Ticket>> {
        if !std::mem::replace(&mut self.is_there, true) {
            let Home { node, processors, .. } = &self.home;
            if let Err(error) = sys::run_on(processors) {
                static SAID: Once = Once::new();
                SAID.call_once(
                    || tracing::warn!(node, %error, "decode threads cannot be bound to NUMA nodes, and run anywhere"),
                );
            }
        }
        self.board.take(self.place)
    }
}
