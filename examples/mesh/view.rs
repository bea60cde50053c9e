//! Shows pictures: a live table on a terminal, lines elsewhere, and a table at the end.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Stdout, Write};
use std::iter::repeat;

use crossterm::style::{Color, Stylize};
use crossterm::terminal::ClearType;
use crossterm::{cursor, execute, queue, style, terminal};

use crate::picture::{Picture, Row};

/// Everything goes out through this: whoever reads it may have gone away (`mesh | head`), and then
/// the mesh runs to its end all the same.
pub(crate) fn say(line: impl std::fmt::Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// So many events are kept for the live table.
const EVENTS: usize = 40;

pub(crate) enum Screen {
    /// The terminal's other page: what was on the first one is back at the end. The latest events.
    /// And what stands above the table.
    Live(Stdout, VecDeque<String>, String),
    /// The last second that was told.
    Lines(u64),
}

impl Screen {
    pub(crate) fn new(plain: bool, note: String) -> Self {
        let mut out = io::stdout();
        if plain || !out.is_terminal() {
            if !note.is_empty() {
                say(note);
            }
            return Self::Lines(0);
        }
        let _ = execute!(out, terminal::EnterAlternateScreen, cursor::Hide);
        Self::Live(out, VecDeque::new(), note)
    }

    pub(crate) fn show(&mut self, picture: &Picture) {
        let events = picture.events.iter();
        let events = events.map(|(at, what)| format!("{:5.1} s  {what}", at.as_secs_f64()));
        match self {
            Self::Live(out, latest, note) => {
                events.for_each(|event| latest.push_front(event));
                latest.truncate(EVENTS);
                drop(draw(out, picture, latest, note));
            }
            Self::Lines(second) => {
                events.for_each(say);
                if picture.at.as_secs() > *second {
                    *second = picture.at.as_secs();
                    say(summary(picture));
                }
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Self::Live(out, ..) = self {
            let _ = execute!(out, cursor::Show, terminal::LeaveAlternateScreen);
        }
    }
}

pub(crate) fn summary(picture: &Picture) -> String {
    let ((closed, circuits), (held, keys)) = (picture.circuits, picture.keys);
    format!(
        "{:5.1} s  circuits between healthy nodes closed {closed}/{circuits}, keys {held}/{keys}",
        picture.at.as_secs_f64()
    )
}

/// A line for each row, after one with the headings.
pub(crate) fn table(picture: &Picture) -> Vec<String> {
    let width = |of: fn(&Row) -> usize, least: usize| {
        picture.rows.iter().map(of).max().unwrap_or_default().max(least)
    };
    let name = width(|row| row.name.len(), 4);
    let role = width(|row| row.role.len(), 4);
    let circuit = width(|row| row.circuit.len(), 7);
    let rank = width(|row| row.ranks.len(), 4);
    let line = |cells: [&str; 10]| {
        let [n, r, c, ranks, wait, succeeded, failed, trips, keys, error] = cells;
        let line = format!(
            "{n:name$}  {r:role$}  {c:circuit$}  {ranks:rank$}  {wait:>5}  {succeeded:>6}  {failed:>6}  {trips:>5}  {keys:>7}  {error}"
        );
        line.trim_end().to_owned()
    };
    let all = picture.keys.1 / picture.rows.iter().filter(|row| row.healthy).count().max(1);
    let head =
        ["node", "role", "circuit", "rank", "wait", "ok", "failed", "trips", "keys", "last error"];
    let mut lines = vec![line(head)];
    for row in &picture.rows {
        let counts = [row.succeeded, row.failed, row.trips].map(|count| count.to_string());
        let keys = row.keys.map_or_else(|| "-".into(), |held| format!("{held}/{all}"));
        let wait = row.wait.map(|wait| format!("{:.1} s", wait.as_secs_f64())).unwrap_or_default();
        let error = shortened(&row.last_error);
        let [succeeded, failed, trips] = &counts;
        lines.push(line([
            &row.name,
            &row.role,
            &row.circuit,
            &row.ranks,
            &wait,
            succeeded,
            failed,
            trips,
            &keys,
            &error,
        ]));
    }
    lines
}

fn shortened(error: &str) -> String {
    match error.char_indices().nth(72) {
        Some((end, _)) => format!("{}...", &error[..end]),
        None => error.to_owned(),
    }
}

fn draw(
    out: &mut Stdout,
    picture: &Picture,
    events: &VecDeque<String>,
    note: &str,
) -> io::Result<()> {
    let (columns, lines) = terminal::size()?;
    // One column is left free, so that no terminal begins a new line by itself.
    let cut = |line: &str| line.chars().take(usize::from(columns).saturating_sub(1)).collect();
    let colors = picture.rows.iter().map(|row| match (row.healthy, row.right) {
        (true, true) => Color::Green,
        (false, true) => Color::DarkGrey,
        _ => Color::Red,
    });
    let colors = [Color::Reset; 3].into_iter().chain(colors).chain(repeat(Color::Reset));
    let table = [summary(picture), note.to_owned()].into_iter().chain(table(picture));
    let table = table.chain([String::new()]).chain(events.iter().cloned());
    queue!(out, cursor::MoveTo(0, 0))?;
    // What does not fit is cut off: the table at the end has it all.
    for (line, color) in table.zip(colors).take(usize::from(lines).saturating_sub(1)) {
        let line: String = cut(&line);
        queue!(out, style::PrintStyledContent(line.with(color)))?;
        queue!(out, terminal::Clear(ClearType::UntilNewLine), cursor::MoveToNextLine(1))?;
    }
    queue!(out, terminal::Clear(ClearType::FromCursorDown))?;
    out.flush()
}
