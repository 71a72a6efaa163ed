//! What the screen shows and what keys do to it. Pure.

use std::collections::VecDeque;

use forebay_proto::v1;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::rates::{NodeRates, SessionRates, rates};

/// Points of the curve; wider screens do not exist.
const HISTORY: usize = 1024;
/// What rates are taken over: a batch may take longer than the time between two looks.
const WINDOW_MS: u64 = 5000;

/// What sessions are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The order in which they were opened.
    Session,
    /// Job, then rank.
    Job,
    /// Rank.
    Rank,
    /// Epoch, and progress through it.
    Progress,
    /// Rows a second.
    Rows,
    /// Bytes a second.
    Bytes,
    /// What the consumer waits.
    Wait,
    /// How long batches stand ready.
    Idle,
    /// Slots held.
    Held,
}

/// In the order of the screen.
pub const COLUMNS: [Column; 9] = [
    Column::Session,
    Column::Job,
    Column::Rank,
    Column::Progress,
    Column::Rows,
    Column::Bytes,
    Column::Wait,
    Column::Idle,
    Column::Held,
];

/// Everything that is drawn.
#[derive(Clone, Debug)]
pub struct State {
    /// The daemon's socket.
    pub socket: String,
    /// The last two replies as rates; none yet before the second.
    pub node: Option<NodeRates>,
    /// Why there is nothing newer.
    pub trouble: Option<String>,
    /// Rows a second of all sessions, oldest first.
    pub history: VecDeque<u64>,
    /// Nothing moves.
    pub paused: bool,
    /// The column that sessions are ordered by.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
    /// The first session shown.
    pub scroll: usize,
    /// What the daemon answered within the window, oldest first.
    recent: VecDeque<v1::StatsReply>,
}

impl State {
    /// A screen before the first reply.
    pub fn new(socket: String) -> Self {
        Self {
            socket,
            node: None,
            trouble: None,
            history: VecDeque::new(),
            paused: false,
            column: 0,
            descending: false,
            scroll: 0,
            recent: VecDeque::new(),
        }
    }

    /// Takes in what the daemon answered, or why it did not.
    pub fn took(&mut self, answer: Result<v1::StatsReply, String>) {
        if self.paused {
            return;
        }
        match answer {
            Err(trouble) => self.trouble = Some(trouble),
            Ok(stats) => {
                self.trouble = None;
                if self.recent.back().is_some_and(|last| last.instance != stats.instance) {
                    self.recent.clear();
                }
                if let Some(last) = self.recent.back() {
                    let rows_per_s = rates(Some(last), &stats).rows_per_s.round() as u64;
                    if self.history.len() == HISTORY {
                        self.history.pop_front();
                    }
                    self.history.push_back(rows_per_s);
                }
                self.node = Some(rates(self.recent.front(), &stats));
                let since = stats.uptime_ms.saturating_sub(WINDOW_MS);
                while self.recent.get(1).is_some_and(|second| second.uptime_ms <= since) {
                    self.recent.pop_front();
                }
                self.recent.push_back(stats);
            }
        }
    }

    /// Does what a key says; true: to end.
    pub fn key(&mut self, key: KeyEvent) -> bool {
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('r') => self.descending = !self.descending,
            KeyCode::Right => self.sort((self.column + 1) % COLUMNS.len()),
            KeyCode::Left => self.sort((self.column + COLUMNS.len() - 1) % COLUMNS.len()),
            KeyCode::Down => self.scroll = (self.scroll + 1).min(self.sessions().saturating_sub(1)),
            KeyCode::Up => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
        false
    }

    /// Numbers are more interesting from the top, names and places from the start.
    fn sort(&mut self, column: usize) {
        self.column = column;
        self.descending = matches!(
            COLUMNS[column],
            Column::Rows | Column::Bytes | Column::Wait | Column::Idle | Column::Held
        );
    }

    fn sessions(&self) -> usize {
        self.node.as_ref().map_or(0, |node| node.sessions.len())
    }

    /// Sessions in the order asked for; those that tie stay as they were opened.
    pub fn sorted(&self) -> Vec<&SessionRates> {
        let mut sessions: Vec<_> = self.node.iter().flat_map(|node| &node.sessions).collect();
        sessions.sort_by(|a, b| {
            let order = match COLUMNS[self.column] {
                Column::Session => a.session.cmp(&b.session),
                Column::Job => (&a.job, a.rank).cmp(&(&b.job, b.rank)),
                Column::Rank => a.rank.cmp(&b.rank),
                Column::Progress => a.epoch.cmp(&b.epoch).then(a.progress.total_cmp(&b.progress)),
                Column::Rows => a.rows_per_s.total_cmp(&b.rows_per_s),
                Column::Bytes => a.batch_bytes_per_s.total_cmp(&b.batch_bytes_per_s),
                Column::Wait => a.wait_share.total_cmp(&b.wait_share),
                Column::Idle => a.idle_share.total_cmp(&b.idle_share),
                Column::Held => a.slots_leased.cmp(&b.slots_leased),
            };
            if self.descending { order.reverse() } else { order }
        });
        sessions
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "whole numbers")]
mod tests {
    use super::super::rates::tests::reply;
    use super::*;

    fn press(state: &mut State, code: KeyCode) -> bool {
        state.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn two_sessions(seconds: u64) -> v1::StatsReply {
        let mut stats = reply(seconds);
        let mut faster = stats.sessions[0].clone();
        (faster.session, faster.rows, faster.job_id) = (4, 700 * seconds, "bert".into());
        stats.sessions.push(faster);
        stats
    }

    fn order(state: &State) -> Vec<u64> {
        state.sorted().iter().map(|session| session.session).collect()
    }

    #[test]
    fn arrows_choose_what_sessions_are_ordered_by() {
        let mut state = State::new("s".into());
        state.took(Ok(two_sessions(4)));
        assert_eq!(order(&state), [3, 4]);
        press(&mut state, KeyCode::Right);
        assert_eq!((COLUMNS[state.column], order(&state)), (Column::Job, vec![4, 3]));
        while COLUMNS[state.column] != Column::Rows {
            press(&mut state, KeyCode::Right);
        }
        assert_eq!(order(&state), [4, 3], "the fastest first");
        press(&mut state, KeyCode::Char('r'));
        assert_eq!(order(&state), [3, 4]);
        for _ in 0..COLUMNS.len() {
            press(&mut state, KeyCode::Left);
        }
        assert_eq!(COLUMNS[state.column], Column::Rows, "once round");
    }

    #[test]
    fn rates_are_over_a_window_and_the_curve_from_look_to_look() {
        let mut state = State::new("s".into());
        for (seconds, rows) in [(10, 0), (11, 0), (12, 400), (13, 400), (14, 400)] {
            let mut stats = reply(seconds);
            stats.sessions[0].rows = rows;
            state.took(Ok(stats));
        }
        assert_eq!(state.history, [0, 400, 0, 0]);
        assert_eq!(state.node.as_ref().map(|node| node.rows_per_s), Some(100.0));
        for seconds in 15..30 {
            let mut stats = reply(seconds);
            stats.sessions[0].rows = 400;
            state.took(Ok(stats));
        }
        assert_eq!(state.node.as_ref().map(|node| node.rows_per_s), Some(0.0), "the window has gone on");
        assert!(state.recent.len() <= 7, "{}", state.recent.len());
    }

    #[test]
    fn a_pause_keeps_what_is_shown() {
        let mut state = State::new("s".into());
        state.took(Ok(reply(4)));
        press(&mut state, KeyCode::Char('p'));
        state.took(Ok(two_sessions(5)));
        assert_eq!((order(&state), state.paused), (vec![3], true));
        press(&mut state, KeyCode::Char('p'));
        state.took(Ok(two_sessions(6)));
        assert_eq!(order(&state), [3, 4]);
    }

    #[test]
    fn a_daemon_that_goes_is_said_and_its_last_figures_stay() {
        let mut state = State::new("s".into());
        state.took(Ok(reply(4)));
        state.took(Ok(reply(5)));
        state.took(Err("nobody listens".into()));
        assert_eq!((order(&state), state.trouble.as_deref()), (vec![3], Some("nobody listens")));
        let mut again = reply(1);
        again.instance = "b".into();
        state.took(Ok(again));
        assert_eq!(state.trouble, None);
        assert_eq!(state.history, [100], "a first reply of a daemon is no point of the curve");
    }

    #[test]
    fn the_last_session_can_be_scrolled_to_and_no_further() {
        let mut state = State::new("s".into());
        state.took(Ok(two_sessions(4)));
        for _ in 0..9 {
            press(&mut state, KeyCode::Down);
        }
        assert_eq!(state.scroll, 1);
        for _ in 0..9 {
            press(&mut state, KeyCode::Up);
        }
        assert_eq!(state.scroll, 0);
    }

    #[test]
    fn q_escape_and_ctrl_c_end() {
        let mut state = State::new("s".into());
        assert!(press(&mut state, KeyCode::Char('q')) && press(&mut state, KeyCode::Esc));
        assert!(state.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!press(&mut state, KeyCode::Char('c')));
    }
}
