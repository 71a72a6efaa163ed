//! `forebay top`: what a running daemon does, live on a terminal, or once as a table.

mod rates;
mod state;
mod text;
mod view;

use std::io::{IsTerminal as _, stdout};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use forebay_proto::v1;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use crate::config::Seconds;
use crate::delivery::local::client::Client;
use crate::error::{Fault, Kind};
use crate::operate;
use state::State;

/// How soon a key is answered.
const KEYS_EVERY: Duration = Duration::from_millis(50);

/// Options of `forebay top`.
#[derive(clap::Args, Debug)]
pub struct TopArgs {
    /// The daemon's socket.
    #[arg(long, env = "FOREBAY_SOCKET", default_value = "/run/forebay/forebay.sock")]
    pub socket: PathBuf,
    /// Time between two looks, as 500ms, 1s or 1min.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub interval: Seconds,
    /// Print what happened in one interval, and end. So does output that is no terminal.
    #[arg(long)]
    pub once: bool,
    /// Print it as JSON; implies --once.
    #[arg(long)]
    pub json: bool,
}

/// What follows the options in the help.
pub const TOP_HELP: &str = "\
Columns: WAIT is the share of time that the trainer waited for batches, as it reports it itself; STORAGE, COMPUTE and
SLOT say what for. READY is the share of time that all batches stood ready and waited for the trainer. HELD is slots
that the trainer holds, of all it has.

Keys: q quit, left and right choose the column to order by, r reverses, up and down scroll, p pauses.

Examples:
  forebay top
  forebay top --socket /run/forebay/forebay.sock --interval 500ms
  forebay top --once
  forebay top --json | jq '.sessions[] | {job, rank, rows_per_s, wait_share}'";

/// Watches until the person ends it, or looks once.
///
/// # Errors
/// What the daemon answers, where it is asked once; what the terminal says.
pub fn run(args: &TopArgs) -> Result<(), Fault> {
    let interval = args.interval.0.max(Duration::from_millis(100));
    if args.once || args.json || !stdout().is_terminal() {
        return once(args, interval);
    }
    let state = State::new(args.socket.display().to_string());
    let looks = look(args.socket.clone(), interval)?;
    // Restores the terminal in a panic too.
    ratatui::run(|terminal| watch(terminal, state, &looks))
        .map_err(|error| Fault::from_error(Kind::Internal, &error).context("draw on the terminal"))
}

fn once(args: &TopArgs, interval: Duration) -> Result<(), Fault> {
    let mut client = operate::connect(&args.socket)?;
    let before = client.stats()?;
    thread::sleep(interval);
    let node = rates::rates(Some(&before), &client.stats()?);
    if args.json {
        let json = serde_json::to_string_pretty(&node).expect("figures are JSON");
        println!("{json}");
    } else {
        print!("{}", text::page(&node, &args.socket.display().to_string()));
    }
    Ok(())
}

/// Asks the daemon on a thread of its own, so that one that does not answer holds up no key.
fn look(
    socket: PathBuf,
    interval: Duration,
) -> Result<flume::Receiver<Result<v1::StatsReply, String>>, Fault> {
    let (answers, looks) = flume::bounded(1);
    let asking = move || {
        let mut connected = None;
        loop {
            let started = Instant::now();
            let answer = ask(&socket, &mut connected).map_err(|fault| fault.line());
            if answers.send(answer).is_err() {
                return;
            }
            thread::sleep(interval.saturating_sub(started.elapsed()));
        }
    };
    let thread = thread::Builder::new().name("look".to_owned()).spawn(asking);
    thread.map_err(|error| Fault::from_error(Kind::Unavailable, &error).context("start a thread"))?;
    Ok(looks)
}

/// On the connection there is, or on a new one where it failed.
fn ask(socket: &Path, connected: &mut Option<Client>) -> Result<v1::StatsReply, Fault> {
    let mut client = match connected.take() {
        Some(client) => client,
        None => operate::connect(socket)?,
    };
    let stats = client.stats()?;
    *connected = Some(client);
    Ok(stats)
}

fn watch(
    terminal: &mut DefaultTerminal,
    mut state: State,
    looks: &flume::Receiver<Result<v1::StatsReply, String>>,
) -> std::io::Result<()> {
    terminal.draw(|frame| view::draw(frame, &state))?;
    loop {
        let mut changed = false;
        while let Ok(answer) = looks.try_recv() {
            state.took(answer);
            changed = true;
        }
        while event::poll(if changed { Duration::ZERO } else { KEYS_EVERY })? {
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press && state.key(key) => return Ok(()),
                _ => changed = true,
            }
        }
        if changed {
            terminal.draw(|frame| view::draw(frame, &state))?;
        }
    }
}
