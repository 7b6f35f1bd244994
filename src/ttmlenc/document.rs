// SPDX-License-Identifier: MPL-2.0

//! Writes TTML documents: EBU-TT-D 1.0.1 (EBU Tech 3380) and IMSC 1.1 Text.
//!
//! Both profiles refer to styles and regions of the head by their id, and position regions in percent
//! of the picture. The grid of cells and the font size are those of the broadcasters' EBU-TT-D
//! practice: 50 by 30 cells, text of 1.6 cells in lines of two cells, so that 12 lines fill the area
//! between 10 % and 90 % of the height.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use gst::glib;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use quick_xml::writer::Writer;

use crate::cues::color::Rgb;
use crate::cues::placement::{Place, ROWS};
use crate::cues::segmenter::Segment;
use crate::cues::{Cue, CueText, Run, RunStyle};

/// Profiles of TTML.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstTtmlEncProfile")]
pub enum TtmlProfile {
    /// EBU-TT-D 1.0.1, EBU Tech 3380.
    #[default]
    #[enum_value(name = "EBU-TT-D 1.0.1 (EBU Tech 3380)", nick = "ebu-tt-d")]
    EbuTtD,
    /// The text profile of IMSC 1.1.
    #[enum_value(name = "IMSC 1.1 Text", nick = "imsc1.1-text")]
    Imsc11Text,
}

/// Values of `ebuttm:conformsToStandard`. Documents of EBU-TT-D also conform to IMSC 1 Text.
const STANDARDS: [&str; 2] =
    ["urn:ebu:tt:distribution:2018-04", "http://www.w3.org/ns/ttml/profile/imsc1/text"];

const IMSC11_TEXT: &str = "http://www.w3.org/ns/ttml/profile/imsc1.1/text";

/// Style of the body.
const BODY_STYLE: [(&str, &str); 7] = [
    ("xml:id", "body"),
    ("tts:fontFamily", "proportionalSansSerif"),
    ("tts:fontSize", "160%"),
    ("tts:lineHeight", "125%"),
    ("tts:textAlign", "center"),
    ("ebutts:multiRowAlign", "center"),
    ("ebutts:linePadding", "0.5c"),
];

/// Color behind text.
const BACKGROUND: &str = "#000000";

/// Lowest and highest edge of the area for text, as percentages of the height.
const TOP_PERCENT: usize = 10;
const BOTTOM_PERCENT: usize = 90;

/// Writes the document of a segment, with cues clipped to it.
///
/// # Errors
///
/// Returns the error of the XML writer.
pub fn write(segment: &Segment, profile: TtmlProfile, language: &str) -> io::Result<Vec<u8>> {
    let head = Head::of(segment);
    let mut xml = Xml(Writer::new(Vec::new()));
    xml.0.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    xml.line()?;
    let mut root = vec![
        ("xmlns", "http://www.w3.org/ns/ttml"),
        ("xmlns:ttp", "http://www.w3.org/ns/ttml#parameter"),
        ("xmlns:tts", "http://www.w3.org/ns/ttml#styling"),
        ("xmlns:ttm", "http://www.w3.org/ns/ttml#metadata"),
        ("xmlns:ebuttm", "urn:ebu:tt:metadata"),
        ("xmlns:ebutts", "urn:ebu:tt:style"),
        ("xml:lang", language),
        ("ttp:timeBase", "media"),
        ("ttp:cellResolution", "50 30"),
    ];
    if profile == TtmlProfile::Imsc11Text {
        root.push(("ttp:contentProfiles", IMSC11_TEXT));
    }
    xml.start("tt", &root)?;
    xml.line()?;
    head.write(&mut xml, profile)?;
    // EBU-TT-D allows no body without text.
    if !segment.cues.is_empty() {
        xml.start("body", &[("style", "body")])?;
        xml.start("div", &[])?;
        xml.line()?;
        for (index, cue) in segment.cues.iter().enumerate() {
            write_cue(&mut xml, &head, segment, index + 1, cue)?;
        }
        xml.end("div")?;
        xml.end("body")?;
        xml.line()?;
    }
    xml.end("tt")?;
    xml.line()?;
    Ok(xml.0.into_inner())
}

/// Styles, regions, and speakers of a document.
struct Head<'a> {
    /// Ids of the styles of colors.
    colors: BTreeMap<Rgb, String>,
    /// Ids of the styles of fonts that text uses.
    fonts: BTreeSet<&'static str>,
    places: BTreeSet<Place>,
    /// Ids of the named speakers.
    agents: BTreeMap<(Option<usize>, &'a str), String>,
}

impl<'a> Head<'a> {
    fn of(segment: &'a Segment) -> Self {
        let mut head = Self {
            colors: BTreeMap::new(),
            fonts: BTreeSet::new(),
            places: segment.cues.iter().map(|cue| cue.place).collect(),
            agents: BTreeMap::new(),
        };
        let mut numbered = BTreeSet::new();
        for cue in &segment.cues {
            let text = &cue.text;
            // A style is named after the first speaker with its color, once for each speaker.
            if let (Some(color), Some(speaker)) = (text.color, text.speaker)
                && !head.colors.contains_key(&color)
                && numbered.insert(speaker)
            {
                head.colors.insert(color, format!("speaker{}", speaker.saturating_add(1)));
            }
            if let Some(name) = text.name.as_deref() {
                let id = format!("agent{}", head.agents.len() + 1);
                head.agents.entry((text.speaker, name)).or_insert(id);
            }
            for run in text.lines.iter().flatten() {
                let color = color_of(text, run);
                head.colors.entry(color).or_insert_with(|| format!("color{color}"));
                head.fonts.extend(fonts(run.style));
            }
        }
        // A document without text needs a style and a region, too.
        if head.places.is_empty() {
            head.places.insert(Place { bottom: 0, rows: 1 });
        }
        head
    }

    fn write(&self, xml: &mut Xml, profile: TtmlProfile) -> io::Result<()> {
        xml.start("head", &[])?;
        xml.line()?;
        self.write_metadata(xml, profile)?;
        xml.start("styling", &[])?;
        xml.empty("style", &BODY_STYLE)?;
        for (color, id) in &self.colors {
            let color = format!("#{color}");
            xml.empty(
                "style",
                &[("xml:id", id), ("tts:color", &color), ("tts:backgroundColor", BACKGROUND)],
            )?;
        }
        for id in &self.fonts {
            let (name, value) = match *id {
                "bold" => ("tts:fontWeight", "bold"),
                "italic" => ("tts:fontStyle", "italic"),
                _ => ("tts:textDecoration", "underline"),
            };
            xml.empty("style", &[("xml:id", id), (name, value)])?;
        }
        xml.end("styling")?;
        xml.line()?;
        xml.start("layout", &[])?;
        for place in &self.places {
            let (origin, extent) = area(*place);
            xml.empty(
                "region",
                &[
                    ("xml:id", &region_id(*place)),
                    ("tts:origin", &origin),
                    ("tts:extent", &extent),
                    ("tts:displayAlign", "after"),
                    ("tts:overflow", "visible"),
                ],
            )?;
        }
        xml.end("layout")?;
        xml.line()?;
        xml.end("head")?;
        xml.line()
    }

    fn write_metadata(&self, xml: &mut Xml, profile: TtmlProfile) -> io::Result<()> {
        if profile == TtmlProfile::Imsc11Text && self.agents.is_empty() {
            return Ok(());
        }
        xml.start("metadata", &[])?;
        if profile == TtmlProfile::EbuTtD {
            xml.start("ebuttm:documentMetadata", &[])?;
            for standard in STANDARDS {
                xml.text_element("ebuttm:conformsToStandard", &[], standard)?;
            }
            let system = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
            xml.text_element("ebuttm:documentOriginatingSystem", &[], system)?;
            xml.end("ebuttm:documentMetadata")?;
        }
        for ((_, name), id) in &self.agents {
            xml.start("ttm:agent", &[("xml:id", id), ("type", "person")])?;
            xml.text_element("ttm:name", &[("type", "full")], name)?;
            xml.end("ttm:agent")?;
        }
        xml.end("metadata")?;
        xml.line()
    }
}

fn write_cue(
    xml: &mut Xml,
    head: &Head,
    segment: &Segment,
    number: usize,
    cue: &Cue,
) -> io::Result<()> {
    let begin = cue.begin.max(segment.start).mseconds();
    let end = cue.end.map_or(segment.end, |end| end.min(segment.end)).mseconds();
    let (id, region) = (format!("cue{number}"), region_id(cue.place));
    let (begin, end) = (media_time(begin), media_time(end.max(begin + 1)));
    let mut attributes =
        vec![("xml:id", id.as_str()), ("region", &region), ("begin", &begin), ("end", &end)];
    let name = cue.text.name.as_deref();
    let agent = name.and_then(|name| head.agents.get(&(cue.text.speaker, name)));
    attributes.extend(agent.map(|agent| ("ttm:agent", agent.as_str())));
    xml.start("p", &attributes)?;
    for (index, line) in cue.text.lines.iter().enumerate() {
        if index > 0 {
            xml.empty("br", &[])?;
        }
        for run in line {
            let color = head.colors.get(&color_of(&cue.text, run)).map(String::as_str);
            let mut styles: Vec<&str> = color.into_iter().collect();
            for font in fonts(run.style) {
                styles.push(font);
            }
            xml.text_element("span", &[("style", &styles.join(" "))], &run.text)?;
        }
    }
    xml.end("p")?;
    xml.line()
}

fn color_of(text: &CueText, run: &Run) -> Rgb {
    run.style.color.or(text.color).unwrap_or(Rgb::WHITE)
}

/// Returns the ids of the styles of a run's font.
fn fonts(style: RunStyle) -> impl Iterator<Item = &'static str> {
    let fonts = [(style.bold, "bold"), (style.italic, "italic"), (style.underline, "underline")];
    fonts.into_iter().filter_map(|(is_set, id)| is_set.then_some(id))
}

fn region_id(place: Place) -> String {
    format!("row{}to{}", place.bottom + 1, place.bottom + place.rows)
}

/// Returns origin and extent of a region.
fn area(place: Place) -> (String, String) {
    let percent = |rows: usize| rows as f64 * (BOTTOM_PERCENT - TOP_PERCENT) as f64 / ROWS as f64;
    let top = BOTTOM_PERCENT as f64 - percent(place.bottom + place.rows);
    // Rounded so that adjacent regions do not overlap: each edge is rounded in the same way.
    let top = (top * 1000.0).round() / 1000.0;
    let bottom = BOTTOM_PERCENT as f64 - percent(place.bottom);
    let bottom = (bottom * 1000.0).round() / 1000.0;
    (format!("10% {top:.3}%"), format!("80% {:.3}%", bottom - top))
}

/// Formats a time in milliseconds as EBU-TT-D requires.
fn media_time(ms: u64) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    format!("{:02}:{:02}:{seconds:02}.{ms:03}", minutes / 60, minutes % 60)
}

/// Writes elements whose names and attributes' names are fixed.
struct Xml(Writer<Vec<u8>>);

impl Xml {
    fn start(&mut self, name: &str, attributes: &[(&str, &str)]) -> io::Result<()> {
        let tag = BytesStart::new(name).with_attributes(attributes.iter().copied());
        self.0.write_event(Event::Start(tag))
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) -> io::Result<()> {
        let tag = BytesStart::new(name).with_attributes(attributes.iter().copied());
        self.0.write_event(Event::Empty(tag))
    }

    fn end(&mut self, name: &str) -> io::Result<()> {
        self.0.write_event(Event::End(BytesEnd::new(name)))
    }

    fn text_element(
        &mut self,
        name: &str,
        attributes: &[(&str, &str)],
        text: &str,
    ) -> io::Result<()> {
        self.start(name, attributes)?;
        self.0.write_event(Event::Text(BytesText::new(text)))?;
        self.end(name)
    }

    /// Ends a line where white space has no meaning.
    fn line(&mut self) -> io::Result<()> {
        self.0.write_event(Event::Text(BytesText::new("\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cues;

    fn ms(time: u64) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(time)
    }

    fn cue(text: &str, begin: u64, end: u64, speaker: usize) -> Cue {
        let mut lines = Vec::new();
        cues::append(&mut lines, text, RunStyle::default());
        let color = [Rgb::WHITE, Rgb::new(255, 255, 0)].get(speaker).copied();
        let name = (speaker == 1).then(|| "Ada & <Co> \"x\"".to_owned());
        let text = CueText { speaker: Some(speaker), name, color, lines };
        Cue {
            begin: ms(begin),
            end: Some(ms(end)),
            text,
            place: Place { bottom: speaker, rows: 1 },
        }
    }

    fn document(segment: &Segment, profile: TtmlProfile) -> String {
        String::from_utf8(write(segment, profile, "en").expect("memory")).expect("UTF-8")
    }

    #[test]
    fn cues_are_clipped_and_escaped() {
        let mut styled = cue("c", 3_600_000, 3_601_000, 2);
        styled.text.lines[0][0].style = RunStyle { italic: true, bold: true, ..Default::default() };
        let segment = Segment {
            start: ms(3_599_000),
            end: ms(3_600_500),
            cues: vec![
                cue("R&D <b>\nends ]]>", 1_000, 9_999_999, 0),
                cue("b", 3_600_000, 3_600_000, 1),
                styled,
            ],
        };
        let text = document(&segment, TtmlProfile::EbuTtD);
        for expected in [
            r#"<p xml:id="cue1" region="row1to1" begin="00:59:59.000" end="01:00:00.500"><span style="speaker1">R&amp;D &lt;b&gt;</span><br/><span style="speaker1">ends ]]&gt;</span></p>"#,
            r#"<p xml:id="cue2" region="row2to2" begin="01:00:00.000" end="01:00:00.001" ttm:agent="agent1"><span style="speaker2">b</span></p>"#,
            r#"<span style="speaker1 bold italic">c</span>"#,
            r##"<style xml:id="speaker2" tts:color="#FFFF00" tts:backgroundColor="#000000"/>"##,
            r#"<ttm:agent xml:id="agent1" type="person"><ttm:name type="full">Ada &amp; &lt;Co&gt; &quot;x&quot;</ttm:name></ttm:agent>"#,
            r#"<region xml:id="row1to1" tts:origin="10% 83.333%" tts:extent="80% 6.667%""#,
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn each_profile_declares_itself() {
        let segment = Segment { start: ms(0), end: ms(1000), cues: vec![] };
        let ebu = document(&segment, TtmlProfile::EbuTtD);
        assert!(
            ebu.contains("<ebuttm:conformsToStandard>urn:ebu:tt:distribution:2018-04</"),
            "{ebu}"
        );
        assert!(!ebu.contains("contentProfiles") && !ebu.contains("<body"), "{ebu}");
        let imsc = document(&segment, TtmlProfile::Imsc11Text);
        assert!(
            imsc.contains(
                r#" ttp:contentProfiles="http://www.w3.org/ns/ttml/profile/imsc1.1/text""#
            ),
            "{imsc}"
        );
        assert!(!imsc.contains("<ebuttm:"), "{imsc}");
    }

    #[test]
    fn regions_divide_the_safe_area() {
        let edges = (0..ROWS).map(|bottom| {
            let (origin, extent) = area(Place { bottom, rows: 1 });
            let number = |text: &str| {
                let text = text.split(' ').next_back().expect("two values");
                text.trim_end_matches('%').parse::<f64>().expect("a number")
            };
            (number(&origin), number(&origin) + number(&extent))
        });
        let edges: Vec<_> = edges.collect();
        assert!((edges[0].1 - 90.0).abs() < 1e-9, "{edges:?}");
        assert!((edges[ROWS - 1].0 - 10.0).abs() < 1e-9, "{edges:?}");
        assert!(edges.windows(2).all(|pair| (pair[1].1 - pair[0].0).abs() < 1e-9), "{edges:?}");
    }
}
