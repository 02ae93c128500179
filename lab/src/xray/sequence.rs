//! A trace as a sequence diagram: a column for each service, an arrow for each request and each
//! response.

use crate::xray::screen::{Hue, Ink, Line, Style, WIDTH, fitting, milliseconds, path_in};
use crate::xray::trace::{Kind, Span, Trace, in_words, short};
use crate::xray::waterfall::{heading, remarks};

/// Where the columns of the services begin: before them is the time.
const FIRST: usize = 9;

/// The columns for the text beside the arrows, at least.
const BESIDE: usize = 22;

/// The most services: more columns than that are too narrow for arrows.
const MOST: usize = 8;

/// Who sends a request that no span is above.
const CLIENT: &str = "client";

/// What happens at a moment.
struct Event<'a> {
    at_ms: f64,
    from: &'a str,
    to: &'a str,
    what: What,
    text: String,
    wrong: bool,
}

/// The kinds of events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Request,
    Response,
    /// No response: nobody sent one, or nobody waited for it any more.
    Lost,
    /// Nothing was sent.
    NotMade,
}

/// The trace as lines of text.
pub fn draw(trace: &Trace, style: Style) -> String {
    let mut events = events(trace);
    // What happens at one moment stays in the order of the spans.
    events.sort_by(|one, other| one.at_ms.total_cmp(&other.at_ms));
    let (services, left_out) = services(&events);
    let columns = Columns::of(&services);
    let mut text = heading(trace, style);
    text.push('\n');
    text.push_str(&columns.names(style));
    // How many requests each works on.
    let mut working = vec![0_usize; services.len()];
    for event in &events {
        let place = |name: &str| services.iter().position(|service| *service == name);
        let (Some(from), Some(to)) = (place(event.from), place(event.to)) else {
            continue;
        };
        if event.what == What::Request {
            working[to] += 1;
            // The client works on nothing, and waits.
        }
        text.push_str(&columns.event(event, (from, to), &working, style));
        if matches!(event.what, What::Response | What::Lost) {
            let done = if event.what == What::Response {
                from
            } else {
                to
            };
            working[done] = working[done].saturating_sub(1);
        }
    }
    text.push('\n');
    if left_out > 0 {
        let these = format!("There is no room for the arrows of {left_out} more services.");
        text.push_str(&Line::new(style).add(Ink::Yellow, &these).end());
    }
    let glyphs = style.glyphs();
    let legend = format!(
        "{} the service works   {} a request, {} its response",
        glyphs.busy, glyphs.right, glyphs.left
    );
    text.push_str(&Line::new(style).add(Ink::Dim, &legend).end());
    text.push_str(&remarks(trace, style));
    text
}

/// The events of all spans.
fn events(trace: &Trace) -> Vec<Event<'_>> {
    let parents = trace.parents();
    let mut events = Vec::new();
    for (n, span) in trace.spans.iter().enumerate() {
        let parent = parents[n].map(|parent| &trace.spans[parent]);
        match span.kind {
            // Its call is drawn, and says more.
            Kind::Server if parent.is_some_and(|parent| parent.kind == Kind::Client) => {}
            Kind::Server => {
                let from = parent.map_or(CLIENT, |parent| &parent.service);
                let from = if span.parent_missing { "?" } else { from };
                push(&mut events, span, from, &span.service, span.name.clone());
            }
            Kind::Client => {
                let answer = trace.spans[n + 1..].iter().zip(&parents[n + 1..]);
                let mut answers = answer.filter(|(_, parent)| **parent == Some(n));
                let name = answers.next().map(|(answer, _)| answer.name.clone());
                let attempt = span.attributes.attempt.filter(|number| *number > 1);
                let attempt = attempt.map_or_else(String::new, |number| format!("#{number} "));
                let name = name.unwrap_or_else(|| "call".to_owned());
                push(
                    &mut events,
                    span,
                    &span.service,
                    span.worker(),
                    attempt + &name,
                );
            }
        }
    }
    events
}

/// Adds what happens from the start to the end of `span`.
fn push<'a>(events: &mut Vec<Event<'a>>, span: &'a Span, from: &'a str, to: &'a str, name: String) {
    let wrong = span.went_wrong();
    if let Some(reason) = span.attributes.not_made.as_deref() {
        events.push(Event {
            at_ms: span.offset_ms,
            from,
            to,
            what: What::NotMade,
            text: format!("not made: {}", in_words(reason)),
            wrong,
        });
        return;
    }
    events.push(Event {
        at_ms: span.offset_ms,
        from,
        to,
        what: What::Request,
        text: name,
        wrong: false,
    });
    let is_lost = span.status.is_none() || span.outcome().contains(' ');
    let (from, to, what) = if is_lost {
        (from, to, What::Lost)
    } else {
        (to, from, What::Response)
    };
    events.push(Event {
        at_ms: span.end_ms(),
        from,
        to,
        what,
        text: format!(
            "{} in {} ms",
            span.outcome(),
            milliseconds(span.duration_ms)
        ),
        wrong,
    });
}

/// The services in the order in which they appear, and how many there is no room for.
fn services<'a>(events: &[Event<'a>]) -> (Vec<&'a str>, usize) {
    let mut services = Vec::new();
    for event in events {
        for name in [event.from, event.to] {
            if !services.contains(&name) {
                services.push(name);
            }
        }
    }
    let left_out = services.len().saturating_sub(MOST);
    services.truncate(MOST);
    (services, left_out)
}

/// The columns of the services.
struct Columns<'a> {
    services: &'a [&'a str],
    /// The columns from one to the next.
    each: usize,
}

impl<'a> Columns<'a> {
    fn of(services: &'a [&'a str]) -> Self {
        let room = WIDTH - FIRST - BESIDE;
        let each = (room / services.len().max(1)).clamp(4, 13);
        Self { services, each }
    }

    /// The column of the life line of a service.
    fn at(&self, place: usize) -> usize {
        FIRST + place * self.each + self.each / 2
    }

    /// Where the text beside the arrows begins.
    fn beside(&self) -> usize {
        FIRST + self.services.len() * self.each + 1
    }

    fn names(&self, style: Style) -> String {
        let mut line = Line::new(style).to(6).add(Ink::Dim, "ms");
        for (place, service) in self.services.iter().enumerate() {
            let name = fitting(short(service), self.each - 1, style);
            let middle = self.at(place) - name.chars().count() / 2;
            line = line.to(middle).add(Ink::Of(Hue::of(service)), &name);
        }
        line.end()
    }

    /// The line of `event`, with an arrow from one place to another.
    fn event(
        &self,
        event: &Event<'_>,
        (from, to): (usize, usize),
        working: &[usize],
        style: Style,
    ) -> String {
        let glyphs = style.glyphs();
        let ms = milliseconds(event.at_ms);
        let mut line = Line::new(style)
            .to(8_usize.saturating_sub(ms.len()))
            .add(Ink::Dim, &ms);
        let (left, right) = (self.at(from.min(to)), self.at(from.max(to)));
        let ink = match event.what {
            _ if event.wrong => Ink::Red,
            What::Request => Ink::Plain,
            _ => Ink::Dim,
        };
        for column in FIRST..self.beside() {
            let owner = (0..self.services.len()).find(|place| self.at(*place) == column);
            let is_tip = column == self.at(to);
            let within = left < column && column < right;
            let glyph = match event.what {
                What::Request if is_tip => Some(if to >= from {
                    glyphs.right
                } else {
                    glyphs.left
                }),
                What::Response if is_tip => {
                    Some(if to > from { glyphs.right } else { glyphs.left })
                }
                // It does not arrive.
                What::Lost if within && column + 2 >= right => {
                    (column + 2 == right).then_some(glyphs.fail)
                }
                What::NotMade if within && column > left + 1 => {
                    (column == left + 2).then_some(glyphs.fail)
                }
                What::Request | What::NotMade if within => Some(glyphs.shaft),
                What::Response | What::Lost if within => Some(glyphs.back),
                _ => None,
            };
            let (ink, glyph) = match (glyph, owner) {
                // An arrow passes in front of the lives of others.
                (Some(glyph), _) => (ink, glyph),
                (None, Some(place)) if working[place] > 0 => {
                    let hue = Hue::of(self.services[place]);
                    (Ink::Of(hue), glyphs.busy)
                }
                (None, Some(_)) => (Ink::Dim, glyphs.life),
                (None, None) => (Ink::Plain, ' '),
            };
            line = line.add(ink, glyph.encode_utf8(&mut [0; 4]));
        }
        let ink = if event.wrong { Ink::Red } else { Ink::Plain };
        let text = path_in(&event.text, WIDTH - self.beside());
        line.to(self.beside()).add(ink, &text).end()
    }
}
