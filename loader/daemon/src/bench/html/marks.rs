//! What plots are made of: bars and strips as HTML that keeps its letters' size, curves as inline SVG.

use std::fmt::Write as _;

/// Text as HTML shows it.
pub fn escape(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&quot;")
}

/// One section of the page.
pub fn section(title: &str, says: &str, body: &str) -> String {
    format!("<section><h2>{title}</h2><p class=\"says\">{says}</p>{body}</section>")
}

/// What the colours mean: class and name of each.
pub fn legend(entries: &[(&str, &str)]) -> String {
    let entries: String = entries
        .iter()
        .map(|(class, name)| format!("<span><i class=\"{class}\"></i>{}</span>", escape(name)))
        .collect::<Vec<_>>()
        .concat();
    format!("<p class=\"legend\">{entries}</p>")
}

/// A bar of `share` of the whole width, and its figure.
pub fn bar(class: &str, share: f64, figure: &str) -> String {
    format!(
        "<div class=\"bar\"><i class=\"{class}\" style=\"width:{:.1}%\"></i><b>{}</b></div>",
        100.0 * share.clamp(0.002, 1.0),
        escape(figure)
    )
}

/// A row of dots on a line, with a mark at 1.
pub struct Strip<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where the dots stand.
    pub dots: &'a [f64],
    /// A bar between two values: a spread or an interval.
    pub range: Option<(f64, f64)>,
    /// What is read off it, as text.
    pub figure: &'a str,
    /// Its colour.
    pub class: &'a str,
    /// The left and the right end of the line.
    pub ends: (f64, f64),
}

impl Strip<'_> {
    /// As HTML.
    pub fn html(&self) -> String {
        let (left, right) = self.ends;
        let percent = |value: f64| 100.0 * ((value - left) / (right - left)).clamp(0.0, 1.0);
        let mut marks = format!("<i class=\"one\" style=\"left:{:.1}%\"></i>", percent(1.0));
        if let Some((low, high)) = self.range {
            let (from, to) = (percent(low), percent(high));
            let _ = write!(
                marks,
                "<i class=\"range {}\" style=\"left:{from:.1}%;width:{:.1}%\"></i>",
                self.class,
                to - from
            );
        }
        for &dot in self.dots {
            let _ = write!(marks, "<i class=\"dot {}\" style=\"left:{:.1}%\"></i>", self.class, percent(dot));
        }
        format!(
            "<div class=\"strip\"><span>{}</span><div class=\"track\">{marks}</div><b>{}</b></div>",
            escape(self.name),
            escape(self.figure)
        )
    }
}

/// Ends of a strip that hold all of `values` and 1, with some room.
pub fn ends(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let (mut low, mut high) = (1.0_f64, 1.0_f64);
    for value in values.into_iter().filter(|value| value.is_finite()) {
        (low, high) = (low.min(value), high.max(value));
    }
    let room = ((high - low) * 0.08).max(0.02);
    ((low - room).max(0.0), high + room)
}

/// A round number a bit above `greatest`, and the step of some four marks up to it.
pub fn axis(greatest: f64) -> (f64, f64) {
    if greatest <= 0.0 || !greatest.is_finite() {
        return (1.0, 0.5);
    }
    let raw = greatest / 4.0;
    let decade = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * decade).into_iter().find(|step| *step >= raw);
    let step = step.unwrap_or(10.0 * decade);
    ((greatest / step).ceil() * step, step)
}

/// A figure of few letters, for an axis.
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{scaled:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A point of a curve: where along, how high, and the ends of its spread.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// 0 to 1.
    pub along: f64,
    /// In the axis's unit.
    pub value: f64,
    /// Least and greatest.
    pub spread: Option<(f64, f64)>,
}

/// Curves over one axis.
pub struct Plot<'a> {
    /// What it shows, for those who can't see it.
    pub label: &'a str,
    /// Marks along: where, from 0 to 1, and the text.
    pub along: &'a [(f64, String)],
    /// What `along` counts.
    pub along_name: &'a str,
    /// Class and points of each curve, the most important last.
    pub curves: &'a [(&'a str, Vec<Point>)],
    /// Values as text on the axis.
    pub value: &'a dyn Fn(f64) -> String,
    /// Dashed lines upwards: where, from 0 to 1, and the text.
    pub marks: &'a [(f64, String)],
}

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 40.0;

impl Plot<'_> {
    /// As SVG.
    pub fn svg(&self) -> String {
        let points = self.curves.iter().flat_map(|(_, points)| points);
        let greatest =
            points.map(|point| point.spread.map_or(point.value, |spread| spread.1)).fold(0.0, f64::max);
        let (top, step) = axis(greatest);
        let x = |along: f64| LEFT + along * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(self.label)
        );
        for number in 0..=(top / step).round() as u32 {
            let value = f64::from(number) * step;
            let (at, text) = (y(value), escape(&(self.value)(value)));
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0
            );
        }
        self.draw_along(&mut svg, &x);
        for (class, points) in self.curves {
            draw_curve(&mut svg, class, points, &x, &y);
        }
        svg.push_str("</svg>");
        svg
    }

    fn draw_along(&self, svg: &mut String, x: &dyn Fn(f64) -> f64) {
        for (along, text) in self.along {
            let (at, under) = (x(*along), HEIGHT - BOTTOM + 16.0);
            let _ = write!(
                svg,
                "<text x=\"{at:.1}\" y=\"{under}\" text-anchor=\"middle\">{}</text>",
                escape(text)
            );
        }
        let _ = write!(
            svg,
            "<text class=\"name\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(0.5),
            HEIGHT - 6.0,
            escape(self.along_name)
        );
        for (along, text) in self.marks {
            let at = x(*along);
            let anchor = if *along > 0.8 { "end" } else { "start" };
            let beside = if *along > 0.8 { at - 4.0 } else { at + 4.0 };
            let _ = write!(
                svg,
                "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{}\"/>\
                 <text x=\"{beside:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
                HEIGHT - BOTTOM,
                TOP + 10.0,
                escape(text)
            );
        }
    }
}

fn draw_curve(
    svg: &mut String,
    class: &str,
    points: &[Point],
    x: &dyn Fn(f64) -> f64,
    y: &dyn Fn(f64) -> f64,
) {
    let path: Vec<_> =
        points.iter().map(|point| format!("{:.1},{:.1}", x(point.along), y(point.value))).collect();
    let _ = write!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", path.join(" "));
    for point in points {
        let at = x(point.along);
        let Some((low, high)) = point.spread else { continue };
        let _ = write!(
            svg,
            "<line class=\"{class}\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
             <circle class=\"{class}\" cx=\"{at:.1}\" cy=\"{:.1}\" r=\"3.2\"/>",
            y(low),
            y(high),
            y(point.value)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_round_steps_and_holds_the_greatest() {
        assert_eq!(axis(93.0), (100.0, 25.0));
        assert_eq!(axis(1600.0), (2000.0, 500.0));
        assert_eq!(axis(0.0), (1.0, 0.5));
    }

    #[test]
    fn axis_figures_are_short() {
        assert_eq!([0.0, 25.0, 1500.0, 2_000_000.0, 0.25].map(short), ["0", "25", "1.5k", "2M", "0.25"]);
    }

    #[test]
    fn a_strip_puts_one_and_its_dots_at_their_places() {
        let strip = Strip {
            name: "a<b",
            dots: &[0.5],
            range: Some((0.25, 0.75)),
            figure: "0.50",
            class: "ours",
            ends: (0.0, 2.0),
        };
        let html = strip.html();
        for part in ["a&lt;b", "class=\"one\" style=\"left:50.0%\"", "left:25.0%", "left:12.5%;width:25.0%"] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }

    #[test]
    fn a_curve_goes_through_its_points() {
        let points = vec![
            Point { along: 0.0, value: 0.0, spread: None },
            Point { along: 1.0, value: 100.0, spread: Some((90.0, 100.0)) },
        ];
        let plot = Plot {
            label: "l",
            along: &[(0.0, "1".to_owned())],
            along_name: "depth",
            curves: &[("ours", points)],
            value: &short,
            marks: &[(0.5, "p50".to_owned())],
        };
        let svg = plot.svg();
        for part in ["points=\"56.0,190.0 378.0,16.0\"", "<circle", ">p50<", ">depth<", ">75<"] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
    }
}
