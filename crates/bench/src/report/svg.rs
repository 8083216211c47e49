//! The picture: for every row how each system stands to the kernel's overlayfs
//! (to the plain directory where that was not measured), on a logarithmic scale.

use std::fmt::Write as _;

use super::Report;
use crate::stages::{Row, STAGES};
use crate::systems::{SYSTEMS, System};

/// Ratios that the scale ends at; what lies outside is drawn at its end.
const RANGE: (f64, f64) = (0.01, 100.0);
/// Places in user units.
const LEFT: f64 = 290.0;
const WIDTH: f64 = 560.0;
const LINE: f64 = 17.0;
const TOP: f64 = 96.0;

/// Readable on light and on dark ground; a picture has none of its own.
const STYLE: &str = "text{font:12px sans-serif;fill:#57606a}.h{font-weight:bold}\
    .g{stroke:#8c959f;stroke-opacity:.35}.o{stroke:#8c959f;stroke-width:1.5}\
    @media(prefers-color-scheme:dark){text{fill:#adbac7}}";

/// How a system is drawn.
struct Mark {
    system: &'static str,
    colour: &'static str,
    shape: Shape,
}

#[derive(Clone, Copy)]
enum Shape {
    Dot,
    Ring,
    Square,
    Diamond,
    Cross,
}

const fn mark(system: &'static str, colour: &'static str, shape: Shape) -> Mark {
    Mark { system, colour, shape }
}

/// Peers have shapes of their own; modes of one program share a colour.
static MARKS: [Mark; 14] = [
    mark("native", "#6e7781", Shape::Cross),
    mark("overlayfs", "#1a7f37", Shape::Square),
    mark("overlayfs-fast", "#57ab5a", Shape::Square),
    mark("unionfs-fuse", "#8250df", Shape::Diamond),
    mark("fuse-overlayfs", "#bc4c00", Shape::Diamond),
    mark("fuse-overlayfs-user", "#f0883e", Shape::Diamond),
    mark("mini_fo-user-classic", "#54aeff", Shape::Cross),
    mark("mini_fo-user-uring", "#bf3989", Shape::Cross),
    mark("mini_fo-classic-cached", "#54aeff", Shape::Ring),
    mark("mini_fo-uring-cached", "#bf3989", Shape::Ring),
    mark("mini_fo-uring-ordinary", "#ff8182", Shape::Dot),
    mark("mini_fo-volatile", "#d4a72c", Shape::Dot),
    mark("mini_fo-classic", "#0969da", Shape::Dot),
    mark("mini_fo-uring", "#cf222e", Shape::Dot),
];

/// The whole picture.
pub fn svg(report: &Report) -> String {
    let marks: Vec<(&Mark, &System)> =
        MARKS.iter().filter_map(|mark| drawn(report, mark)).collect();
    let mut body = String::new();
    let mut y = TOP;
    for (n, stage) in STAGES.iter().enumerate() {
        let rows: Vec<Row> = report.rows.iter().copied().filter(|row| row.stage == n).collect();
        if rows.is_empty() {
            continue;
        }
        y += LINE * 0.5;
        body += &text(8.0, y + 4.0, "h", stage.name);
        for row in rows {
            y += LINE;
            body += &line(report, row, &marks, y);
        }
        y += LINE;
    }
    let height = y + 8.0;
    let width = LEFT + WIDTH + 30.0;
    // The marks lie above the grid.
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\">\n<title>{TITLE}</title>\n\
         <style>{STYLE}</style>\n{}{}{body}</svg>\n",
        legend(&marks),
        grid(y),
    )
}

const TITLE: &str = "Time of each system, as a multiple of the kernel's overlayfs (else of native): \
                     left is faster";

fn drawn(report: &Report, mark: &'static Mark) -> Option<(&'static Mark, &'static System)> {
    let system = SYSTEMS.iter().find(|system| system.name == mark.system)?;
    report.systems.contains(&system).then_some((mark, system))
}

fn legend(marks: &[(&Mark, &System)]) -> String {
    const COLUMNS: usize = 5;
    let mut out = text(8.0, 16.0, "h", TITLE);
    // In the order of the tables, not of drawing.
    let ordered = SYSTEMS.iter().filter_map(|s| marks.iter().find(|(_, system)| *system == s));
    for (n, (mark, system)) in ordered.enumerate() {
        // Counts below twenty.
        let (x, y) = ((n % COLUMNS) as f64 * 172.0 + 14.0, (n / COLUMNS) as f64 * 17.0 + 36.0);
        out += &shape(mark, x, y);
        out += &text(x + 9.0, y + 4.0, "", system.name);
    }
    out
}

fn grid(bottom: f64) -> String {
    let mut out = String::new();
    for (ratio, label) in [
        (0.01, "1/100"),
        (0.1, "1/10"),
        (0.5, "1/2"),
        (1.0, "1"),
        (2.0, "2"),
        (10.0, "10"),
        (100.0, "100"),
    ] {
        let x = place(ratio);
        let class = if ratio == 1.0 { "o" } else { "g" };
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "<line class=\"{class}\" x1=\"{x:.1}\" y1=\"{TOP:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>"
        );
        let _ = writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            TOP - 4.0
        );
    }
    out
}

fn line(report: &Report, row: Row, marks: &[(&Mark, &System)], y: f64) -> String {
    let median = |name: &str| report.median(&row.full(), name).filter(|&time| time > 0.0);
    let mut out = text(16.0, y + 4.0, "", row.name);
    let (from, to) = (LEFT, LEFT + WIDTH);
    let _ = writeln!(
        out,
        "<line class=\"g\" x1=\"{from:.1}\" y1=\"{y:.1}\" x2=\"{to:.1}\" y2=\"{y:.1}\"/>"
    );
    let Some(one) = median("overlayfs").or_else(|| median("native")) else { return out };
    for (mark, system) in marks {
        if let Some(time) = median(system.name) {
            out += &shape(mark, place(time / one), y);
        }
    }
    out
}

/// Where a ratio is drawn.
fn place(ratio: f64) -> f64 {
    let (low, high) = (RANGE.0.ln(), RANGE.1.ln());
    let part = (ratio.clamp(RANGE.0, RANGE.1).ln() - low) / (high - low);
    LEFT + WIDTH * part
}

fn shape(mark: &Mark, x: f64, y: f64) -> String {
    let colour = mark.colour;
    let path = |d: String| {
        format!("<path d=\"{d}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>\n")
    };
    match mark.shape {
        Shape::Dot => {
            format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{colour}\"/>\n")
        }
        Shape::Ring => path(format!("M{:.1} {y:.1}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", x - 4.0)),
        Shape::Square => path(format!("M{:.1} {:.1}h7v7h-7z", x - 3.5, y - 3.5)),
        Shape::Diamond => path(format!("M{x:.1} {:.1}l4.5 4.5l-4.5 4.5l-4.5 -4.5z", y - 4.5)),
        Shape::Cross => path(format!("M{:.1} {:.1}l7 7m0 -7l-7 7", x - 3.5, y - 3.5)),
    }
}

fn text(x: f64, y: f64, class: &str, content: &str) -> String {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<text{class} x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n", escaped(content))
}

fn escaped(content: &str) -> String {
    content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Elements open and close in order, and their attributes are quoted.
    fn is_well_formed(svg: &str) -> bool {
        let mut open = Vec::new();
        let mut pieces = svg.split('<');
        if pieces.next() != Some("") {
            return false;
        }
        for piece in pieces {
            let Some((tag, rest)) = piece.split_once('>') else { return false };
            let good = !rest.contains('>') && tag.matches('"').count() % 2 == 0;
            let name = tag.split_whitespace().next().unwrap_or_default();
            if let Some(closed) = name.strip_prefix('/') {
                if open.pop() != Some(closed) {
                    return false;
                }
            } else if !tag.ends_with('/') {
                open.push(name);
            }
            if !good
                || rest.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").contains('&')
            {
                return false;
            }
        }
        open.is_empty()
    }

    #[test]
    fn the_check_itself_sees_errors() {
        assert!(is_well_formed("<a b=\"1\"><c/>x &amp; y</a>"));
        for bad in ["<a>", "<a></b>", "<a b=\"1></a>", "<a>x & y</a>", "x<a/>"] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }

    #[test]
    fn the_picture_is_well_formed() {
        let svg = super::super::example().svg();
        assert!(is_well_formed(&svg), "{svg}");
        assert!(is_well_formed(&text(1.0, 2.0, "h", "a <b> & c")));
        // A mark for each system and row, and one for each system in the legend.
        assert_eq!(svg.matches("<circle").count(), 3 + 1);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn every_system_has_its_mark() {
        for system in &SYSTEMS {
            assert!(MARKS.iter().any(|mark| mark.system == system.name), "{}", system.name);
        }
    }

    #[test]
    fn the_scale_is_logarithmic_and_ends() {
        assert!((place(1.0) - (LEFT + WIDTH / 2.0)).abs() < 1e-6);
        assert!((place(10.0) - place(1.0) - (place(1.0) - place(0.1))).abs() < 1e-6);
        assert_eq!(place(1e9), LEFT + WIDTH);
        assert_eq!(place(0.0), LEFT);
    }
}
