//! Draws doc/fleet.svg: how many rounds of healthy peers are served, and how often each dead peer
//! is called, against the number of dead peers and the rhythm; the defaults, and beside them what
//! was the default once.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Trouble;
use crate::on_all_processors;
use crate::options::Options;
use crate::sim::cell::{Cell, MINUTE, Rhythm, SECOND, Settings};
use crate::sim::judge::Glance;
use crate::sim::peer::{Behaviour, Failing};
use crate::sim::run::run;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const HEALTHY: u32 = 100;
const DEAD: [u32; 6] = [10, 30, 100, 300, 900, 1500];
const RHYTHMS: [(u64, &str); 5] = [
    (5 * SECOND, "5 s"),
    (15 * SECOND, "15 s"),
    (30 * SECOND, "30 s"),
    (2 * MINUTE, "2 min"),
    (10 * MINUTE, "10 min"),
];
const HOURS: u32 = 2;

const SIZE: (u32, u32) = (1240, 760);
/// The room for the title and the names of the columns, and for the names of the rows.
const TOP: i32 = 70;
const LEFT: i32 = 90;
const BOX: (i32, i32) = (82, 46);

/// A heat map: a value for each rhythm and number of dead peers.
struct Panel<'a> {
    title: String,
    value: &'a dyn Fn(usize, usize) -> Option<f64>,
    text: fn(f64) -> String,
    /// From 0, as it should be, to 1.
    heat: fn(f64) -> f64,
}

/// Runs what is shown, and draws it.
pub(crate) fn all(options: &Options) -> Result<(), Trouble> {
    let settings = [Settings::default(), Settings::impatient()];
    let cells = settings.iter().flat_map(|settings| {
        RHYTHMS.iter().flat_map(move |(each, _)| DEAD.map(|dead| cell(dead, *each, settings)))
    });
    let cells: Vec<_> = cells.collect();
    let mut count = 0;
    let work = |n: usize| (n, Glance::of(&cells[n], &run(&cells[n])));
    let mut glances = on_all_processors(cells.len(), options.threads, work, |_| {
        count += 1;
        eprintln!("{count} of {}", cells.len());
    });
    glances.sort_by_key(|(n, _)| *n);
    let at = |set: usize, row: usize, column: usize| {
        glances[(set * RHYTHMS.len() + row) * DEAD.len() + column].1
    };
    let served = [0, 1].map(|set| move |row, column| at(set, row, column).served);
    let an_hour = [0, 1].map(|set| move |row, column| at(set, row, column).an_hour);
    let names = ["the defaults", "streak window 5 s, constant waits"];
    let first = |set: usize| Panel {
        title: format!("rounds of healthy peers served: {}", names[set]),
        value: &served[set],
        text: |share| format!("{:.0} %", 100.0 * share),
        heat: |share| ((1.0 - share) / 0.5).clamp(0.0, 1.0),
    };
    let second = |set: usize| Panel {
        title: format!("calls an hour to each dead peer: {}", names[set]),
        value: &an_hour[set],
        text: |calls| format!("{calls:.0}"),
        heat: |calls| ((calls / 20.0).ln() / 12.0_f64.ln()).clamp(0.0, 1.0),
    };
    let panels = [first(0), first(1), second(0), second(1)];
    picture(&panels, Path::new("doc/fleet.svg"))
}

fn cell(dead: u32, each: u64, settings: &Settings) -> Cell {
    let silent = Behaviour::Dead(Failing::Silent);
    Cell::of(HEALTHY, dead, silent, Rhythm::Every(each)).with(settings.clone()).hours(HOURS)
}

fn picture(panels: &[Panel<'_>; 4], file: &Path) -> Result<(), Trouble> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let caption = format!(
        "{HEALTHY} healthy peers, silent peers beside them, {HOURS} hours of paused time; calls in \
         the second hour · examples/fleet --draw"
    );
    let (body, foot) = area.split_vertically(SIZE.1 - 24);
    foot.draw(&Text::new(caption, (16, 4), ("sans-serif", 13).into_font().color(&BLACK.mix(0.6))))?;
    for (panel, area) in panels.iter().zip(body.split_evenly((2, 2))) {
        draw(panel, &area)?;
    }
    area.present()?;
    Ok(())
}

fn draw(panel: &Panel<'_>, area: &Area<'_>) -> Result<(), Trouble> {
    let font = |size: u32| ("sans-serif", size).into_font().color(&BLACK);
    let centred = font(13).pos(Pos::new(HPos::Center, VPos::Center));
    let beside = font(13).pos(Pos::new(HPos::Right, VPos::Center));
    area.draw(&Text::new(panel.title.as_str(), (LEFT, 14), font(17)))?;
    area.draw(&Text::new("dead peers:", (LEFT - 10, TOP - 14), beside.clone()))?;
    for (column, dead) in (0..).zip(DEAD) {
        let middle = (LEFT + column * BOX.0 + BOX.0 / 2, TOP - 14);
        area.draw(&Text::new(dead.to_string(), middle, centred.clone()))?;
    }
    for (row, (_, rhythm)) in (0..).zip(RHYTHMS) {
        let top = TOP + row * BOX.1;
        let name = format!("each {rhythm}");
        area.draw(&Text::new(name, (LEFT - 10, top + BOX.1 / 2), beside.clone()))?;
        for column in 0..DEAD.len() {
            let left = LEFT + column as i32 * BOX.0;
            let Some(value) = (panel.value)(row as usize, column) else { continue };
            let corners = [(left, top), (left + BOX.0 - 3, top + BOX.1 - 3)];
            area.draw(&Rectangle::new(corners, color((panel.heat)(value)).filled()))?;
            let middle = (left + BOX.0 / 2, top + BOX.1 / 2);
            area.draw(&Text::new((panel.text)(value), middle, centred.clone()))?;
        }
    }
    Ok(())
}

/// From green over yellow to red.
fn color(heat: f64) -> RGBColor {
    let stops = [(120, 200, 130), (250, 225, 120), (225, 100, 90)];
    let at = heat * 2.0;
    let (from, to) = if at < 1.0 { (stops[0], stops[1]) } else { (stops[1], stops[2]) };
    let part = at - f64::from(u8::from(at >= 1.0));
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * part).round() as u8;
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}
