//! The screen: what the daemon uses and delivers, the curve of its rows, a line a session, the keys.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table};

use super::rates::SessionRates;
use super::state::{COLUMNS, State};
use super::text::{ON_THE_LEFT, TITLES, about_flow, about_node, about_use, cells};

/// The columns' widths, in their order.
const WIDTHS: [u16; 15] = [8, 20, 6, 17, 7, 6, 5, 6, 5, 7, 7, 5, 4, 9, 20];
/// The columns by how much they matter: what does not fit is left out from the end.
const BY_WEIGHT: [usize; 15] = [1, 2, 6, 7, 4, 3, 8, 9, 10, 11, 5, 0, 12, 14, 13];

const QUIET: Style = Style::new().fg(Color::DarkGray);

/// Draws the whole screen.
pub fn draw(frame: &mut Frame, state: &State) {
    // Where there is little room, sessions matter most.
    let curve = if frame.area().height >= 20 { 6 } else { 0 };
    let [head, curve, sessions, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(curve),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_head(frame, head, state);
    draw_curve(frame, curve, state);
    draw_sessions(frame, sessions, state);
    draw_foot(frame, foot, state);
}

fn draw_head(frame: &mut Frame, area: Rect, state: &State) {
    let Some(node) = &state.node else {
        let text = format!("forebay top  {}", state.socket);
        return frame.render_widget(Paragraph::new(vec![Line::from(text.bold()), "asking ...".into()]), area);
    };
    let mut first = vec![about_node(node, &state.socket).bold()];
    let badge = |text: &'static str, colour| Span::styled(text, Style::new().fg(Color::Black).bg(colour));
    for (on, text, colour) in
        [(node.draining, " draining ", Color::Yellow), (state.paused, " paused ", Color::Cyan)]
    {
        if on {
            first.extend(["  ".into(), badge(text, colour)]);
        }
    }
    let lines = vec![Line::from(first), about_use(node).into(), about_flow(node).into()];
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_curve(frame: &mut Frame, area: Rect, state: &State) {
    let most = state.history.iter().max().copied().unwrap_or(0);
    let title = format!(" rows/s of all sessions, at most {most} ");
    let block = Block::new().borders(Borders::TOP).border_style(QUIET).title(title);
    let shown = state.history.len().min(usize::from(area.width));
    let points: Vec<u64> = state.history.iter().skip(state.history.len() - shown).copied().collect();
    let curve = Sparkline::default().block(block).data(&points).style(Style::new().fg(Color::Cyan));
    frame.render_widget(curve, area);
}

fn draw_sessions(frame: &mut Frame, area: Rect, state: &State) {
    let block = Block::new().borders(Borders::TOP).border_style(QUIET).title(" sessions ");
    let sessions = state.sorted();
    if sessions.is_empty() {
        let text = if state.node.is_some() { "no session is open" } else { "" };
        return frame.render_widget(Paragraph::new(text).block(block), area);
    }
    let columns = columns_that_fit(area.width);
    let titles = columns.iter().map(|&column| {
        let (title, chosen) = (TITLES[column], column == state.column && column < COLUMNS.len());
        let text = if chosen {
            format!("{title}{}", if state.descending { "↓" } else { "↑" })
        } else {
            (*title).to_owned()
        };
        let style =
            if chosen { Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED) } else { QUIET };
        placed(column, text).style(style)
    });
    let rows = sessions.iter().skip(state.scroll).map(|session| row(session, &columns));
    let widths = columns.iter().map(|&column| Constraint::Length(WIDTHS[column]));
    let table = Table::new(rows, widths).header(Row::new(titles)).column_spacing(1).block(block);
    frame.render_widget(table, area);
}

/// As many columns as the width has room for, in their order.
fn columns_that_fit(width: u16) -> Vec<usize> {
    let mut left = width;
    let mut fits = |column: &&usize| {
        let needed = WIDTHS[**column] + 1;
        left.checked_sub(needed).map(|rest| left = rest).is_some()
    };
    let mut columns: Vec<_> = BY_WEIGHT.iter().take_while(&mut fits).copied().collect();
    columns.sort_unstable();
    columns
}

fn row(session: &SessionRates, columns: &[usize]) -> Row<'static> {
    let (styles, cells) = (styles(session), cells(session));
    Row::new(columns.iter().map(|&column| placed(column, cells[column].clone()).style(styles[column])))
}

/// The wait in the colour of its size, and of what it was for the largest part alone.
fn styles(session: &SessionRates) -> [Style; 15] {
    let mut styles = [Style::new(); 15];
    let causes =
        [(9, session.wait_storage_share), (10, session.wait_compute_share), (11, session.wait_slot_share)];
    for (column, _) in causes {
        styles[column] = QUIET;
    }
    let colour = match session.wait_share {
        share if share >= 0.5 => Color::Red,
        share if share >= 0.1 => Color::Yellow,
        _ => Color::Green,
    };
    styles[6] = Style::new().fg(colour);
    let main = causes.into_iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
    if let Some((column, share)) = main.filter(|(_, share)| *share >= 0.1) {
        styles[column] = Style::new().fg(if share >= 0.5 { Color::Red } else { Color::Yellow });
    }
    if session.bad_samples > 0 {
        styles[12] = Style::new().fg(Color::Yellow);
    }
    styles
}

fn placed(column: usize, text: String) -> Cell<'static> {
    let alignment = if ON_THE_LEFT.contains(&column) { Alignment::Left } else { Alignment::Right };
    Cell::new(Line::from(text).alignment(alignment))
}

fn draw_foot(frame: &mut Frame, area: Rect, state: &State) {
    let line = match &state.trouble {
        Some(trouble) => Line::from(format!("{trouble}; asking again")).fg(Color::Red),
        None => Line::from("q quit  ←→ order by  r reverse  ↑↓ scroll  p pause    WAIT: the trainer waits  READY: batches wait").style(QUIET),
    };
    frame.render_widget(Paragraph::new(line), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    use super::super::rates::tests::reply;
    use super::*;

    fn drawn(state: &State, width: u16, height: u16) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
        terminal.draw(|frame| draw(frame, state)).expect("memory");
        terminal.backend().buffer().clone()
    }

    fn lines(buffer: &Buffer) -> Vec<String> {
        let line = |row: &[ratatui::buffer::Cell]| row.iter().map(ratatui::buffer::Cell::symbol).collect();
        buffer.content.chunks(usize::from(buffer.area.width)).map(line).collect()
    }

    fn state() -> State {
        let mut state = State::new("/run/f.sock".into());
        state.took(Ok(reply(10)));
        state.took(Ok(reply(14)));
        state
    }

    fn line_with(lines: &[String], word: &str) -> usize {
        lines.iter().position(|line| line.contains(word)).unwrap_or_else(|| panic!("{word} in {lines:#?}"))
    }

    #[test]
    fn the_screen_tells_the_daemon_the_curve_and_every_session() {
        let lines = lines(&drawn(&state(), 120, 24));
        assert!(lines[0].contains("forebay/0.1.0") && lines[0].contains("/run/f.sock"), "{lines:#?}");
        assert!(lines[1].contains("1.50 cores") && lines[1].contains("50% busy"));
        assert!(lines.iter().any(|line| line.contains('█')), "the curve");
        let (titles, session) = (line_with(&lines, "ROWS/S"), line_with(&lines, "resnet"));
        assert_eq!(session, titles + 1);
        for figure in ["3", "1/8", "25%", "100", "60%", "30%", "50%", "2/4"] {
            assert!(lines[session].contains(figure), "{figure} in {}", lines[session]);
        }
        assert!(lines[23].contains("q quit"));
    }

    #[test]
    fn what_is_waited_for_stands_out() {
        let buffer = drawn(&state(), 120, 24);
        let lines = lines(&buffer);
        let (titles, session) = (line_with(&lines, "STORAGE"), line_with(&lines, "resnet"));
        let cell = |title: &str| {
            let bytes = lines[titles].find(title).expect(title);
            let column = lines[titles][..bytes].chars().count() + title.len() - 1;
            buffer.content[session * 120 + column].clone()
        };
        assert_eq!((cell("WAIT").fg, cell("STORAGE").fg), (Color::Red, Color::Red));
        assert_eq!(cell("COMPUTE").fg, Color::DarkGray);
    }

    #[test]
    fn a_daemon_that_went_away_is_said_in_red_over_its_last_figures() {
        let mut state = state();
        state.took(Err("connect to /run/f.sock: connection refused".into()));
        let buffer = drawn(&state, 120, 24);
        let lines = lines(&buffer);
        assert!(lines[23].contains("connection refused; asking again"), "{lines:#?}");
        assert_eq!(buffer.content[23 * 120].fg, Color::Red);
        line_with(&lines, "resnet");
    }

    #[test]
    fn draining_and_paused_are_said() {
        let mut state = state();
        state.paused = true;
        state.node.as_mut().expect("figures").draining = true;
        let lines = lines(&drawn(&state, 120, 24));
        assert!(lines[0].contains(" draining ") && lines[0].contains(" paused "));
    }

    #[test]
    fn every_size_of_terminal_is_drawn_and_a_small_one_still_shows_sessions() {
        for (width, height) in [(1, 1), (20, 5), (80, 8), (300, 100)] {
            drawn(&State::new("s".into()), width, height);
            drawn(&state(), width, height);
        }
        let mut state = state();
        state.column = COLUMNS.len() - 1;
        line_with(&lines(&drawn(&state, 100, 10)), "1/8");
    }

    #[test]
    fn a_narrow_terminal_leaves_out_whole_columns_the_least_weighty_first() {
        let titles = |width| {
            let lines = lines(&drawn(&state(), width, 24));
            lines[line_with(&lines, "WAIT ")].split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!((titles(140).len(), titles(150).len()), (14, 15));
        assert_eq!(titles(80), ["JOB", "RANK", "EPOCH", "ROWS/S", "WAIT", "READY", "HELD"]);
    }
}
