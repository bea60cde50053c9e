//! Pictures of what was measured.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use serde_json::Value;

use crate::measure::Trouble;
use crate::table;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// A line: a design, and its points.
type Line = (String, Vec<(f64, f64)>);

/// Of a row of two panels.
const SIZE: (u32, u32) = (1240, 560);
/// The room for the names of the lines, and the height of one.
const NAMES: i32 = 190;
const LINE: i32 = 15;

/// What is drawn of a panel: its title, and the names of its designs.
struct Panel<'a> {
    title: &'a str,
    below: &'a str,
    x: [f64; 2],
    label: fn(f64) -> String,
    lines: Vec<Line>,
}

/// Nanoseconds for each call, against the number of threads.
pub(crate) fn costs(table: &Value, file: &Path) -> Result<(), Trouble> {
    let panel = |title| {
        let rows = rows(table, "costs")
            .filter(|row| row["workload"] == title && row["after_threads"].is_null());
        let points = rows.filter_map(|row| {
            let x = row["threads"].as_f64()?.log2();
            Some((row["design"].as_str()?.to_string(), vec![(x, row["ns"].as_f64()?)]))
        });
        Panel {
            title,
            below: "threads (two cores; at 2 both at once)",
            x: [0.0, 6.0],
            label: |x| format!("{:.0}", x.exp2()),
            lines: joined(points),
        }
    };
    let panels = [table::HOT, table::ZIPF, table::STORM, table::HALF];
    picture(table, file, "processor time of a call", panels.map(panel))
}

/// Nanoseconds of single calls, against the part of the calls that are faster.
pub(crate) fn tails(table: &Value, file: &Path) -> Result<(), Trouble> {
    const POINTS: [(&str, &str); 6] = [
        ("p50", "50 %"),
        ("p90", "90 %"),
        ("p99", "99 %"),
        ("p999", "99.9 %"),
        ("p9999", "99.99 %"),
        ("max", "max"),
    ];
    let panel = |(callers, title)| {
        let rows = rows(table, "tails")
            .filter(|row| row["workload"] == table::HOT && row["callers"] == callers);
        let lines = rows.filter_map(|row| {
            let points = (0..).map(f64::from).zip(POINTS);
            let points = points.filter_map(|(x, (key, _))| Some((x, row[key].as_f64()?)));
            Some((row["design"].as_str()?.to_string(), points.collect()))
        });
        Panel {
            title,
            below: "of all calls",
            x: [0.0, 5.0],
            label: |x| {
                let mut names = (0..).map(f64::from).zip(POINTS);
                let name = names.find(|(at, _)| (at - x).abs() < 0.01);
                name.map_or_else(String::new, |(_, (_, name))| name.to_string())
            },
            lines: lines.collect(),
        }
    };
    let panels = [
        (table::CROWD, "64 threads, one hot peer, 1 % failures"),
        (table::TASKS, "10,000 tokio tasks, one hot peer, 1 % failures"),
    ];
    picture(table, file, "time of a call", panels.map(panel))
}

fn rows<'a>(table: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    table[list].as_array().into_iter().flatten()
}

/// The points of each design, in the order in which the designs come.
fn joined(points: impl Iterator<Item = Line>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (name, more) in points {
        match lines.iter_mut().find(|(known, _)| *known == name) {
            Some((_, line)) => line.extend(more),
            None => lines.push((name, more)),
        }
    }
    lines
}

fn picture<const N: usize>(
    table: &Value,
    file: &Path,
    beside: &str,
    panels: [Panel<'_>; N],
) -> Result<(), Trouble> {
    let height = SIZE.1 * u32::try_from(N.div_ceil(2))?;
    let area = SVGBackend::new(file, (SIZE.0, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let text = |key| table[key].as_str().unwrap_or("unknown");
    let caption = format!("{} · {} · commit {}", text("machine"), text("date"), text("commit"));
    let (body, foot) = area.split_vertically(height - 24);
    foot.draw(&Text::new(caption, (16, 4), ("sans-serif", 13).into_font().color(&BLACK.mix(0.6))))?;
    for (panel, area) in panels.iter().zip(body.split_evenly((N.div_ceil(2), 2))) {
        draw(panel, beside, &area)?;
    }
    area.present()?;
    Ok(())
}

fn draw(panel: &Panel<'_>, beside: &str, area: &Area<'_>) -> Result<(), Trouble> {
    let values = panel.lines.iter().flat_map(|(_, points)| points).map(|(_, y)| *y);
    let (low, high) = values.fold((f64::MAX, 1.0_f64), |(low, high), y| (low.min(y), high.max(y)));
    let y = (low.clamp(0.5, high) / 1.5..high * 1.5).log_scale();
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 17))
        .margin(10)
        .margin_right(NAMES)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(panel.x[0]..panel.x[1], y)?;
    chart
        .configure_mesh()
        .x_labels(7)
        .x_label_formatter(&|x| (panel.label)(*x))
        .x_desc(panel.below)
        .y_desc(beside)
        .y_label_formatter(&|y| unit(*y))
        .light_line_style(WHITE)
        .draw()?;
    let mut names = Vec::new();
    for (name, points) in &panel.lines {
        let style = style(name);
        chart.draw_series(LineSeries::new(points.iter().copied(), style).point_size(2))?;
        if let Some(last) = points.last() {
            names.push((chart.backend_coord(last), name, style.color));
        }
    }
    // Each name beside the end of its line, or as near as the others let it.
    names.sort_by_key(|((_, y), ..)| *y);
    let (left, top) = area.get_base_pixel();
    let mut free = 0;
    let spread: Vec<_> = names
        .iter()
        .map(|((_, y), ..)| {
            free = free.max(y - top - LINE / 2) + LINE;
            free - LINE
        })
        .collect();
    for (((x, _), name, color), y) in names.iter().zip(spread) {
        let font = ("sans-serif", 13).into_font().color(color);
        area.draw(&Text::new(name.as_str(), (x - left + 8, y), font))?;
    }
    Ok(())
}

/// Ours thick, floors black, the design that is replaced red.
fn style(name: &str) -> ShapeStyle {
    let (color, width) = match name {
        "handle" => (RGBColor(0, 100, 200), 3),
        "by id" => (RGBColor(60, 160, 230), 3),
        "sync_errors" => (RGBColor(200, 30, 30), 3),
        "sync_errors, byte key" => (RGBColor(230, 120, 110), 2),
        "fetch_add" => (BLACK, 1),
        "DashMap get, fetch_add" => (RGBColor(110, 110, 110), 1),
        name if name.contains("mutex") => (RGBColor(120, 60, 160), 1),
        name if name.contains("recloser") => (RGBColor(30, 130, 60), 1),
        name if name.contains("failsafe") => (RGBColor(150, 130, 0), 1),
        name if name.contains("circuitbreaker-rs") => (RGBColor(210, 120, 0), 1),
        _ => (RGBColor(150, 90, 50), 1),
    };
    color.stroke_width(width)
}

/// "3 ns", "40 us", "1.5 ms".
fn unit(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns} ns"),
        ns if ns < 1e6 => format!("{} us", ns / 1e3),
        ns if ns < 1e9 => format!("{} ms", ns / 1e6),
        ns => format!("{} s", ns / 1e9),
    }
}
