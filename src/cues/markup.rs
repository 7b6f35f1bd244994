// SPDX-License-Identifier: MPL-2.0

//! Reads Pango markup.

use quick_xml::escape;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use crate::cues::color::Rgb;
use crate::cues::{self, Line, RunStyle};

/// Maximum depth of tags.
const MAX_DEPTH: usize = 64;

/// Reads the colors of spans, and bold, italic, and underlined text. Other styles are ignored.
///
/// # Errors
///
/// Returns a reason if the text is not well-formed.
pub fn read(text: &str) -> Result<Vec<Line>, String> {
    let mut reader = Reader::from_str(text);
    let mut lines = Vec::new();
    let mut styles = vec![RunStyle::default()];
    loop {
        let style = styles.last().copied().unwrap_or_default();
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(tag) => {
                if styles.len() > MAX_DEPTH {
                    return Err(format!("expected at most {MAX_DEPTH} nested tags"));
                }
                styles.push(style_of(&tag, style)?);
            }
            // The reader checks that the names match.
            Event::End(_) => drop(styles.pop()),
            Event::Text(text) => {
                let text = text.xml10_content();
                if text.contains("]]>") {
                    return Err("expected no ]]> in text".to_owned());
                }
                cues::append(&mut lines, &text, style);
            }
            Event::GeneralRef(reference) => {
                let char = reference.resolve_char_ref().map_err(|error| error.to_string())?;
                let text = match char {
                    Some(char) => char.to_string(),
                    None => escape::resolve_xml_entity(&reference)
                        .ok_or_else(|| {
                            format!("expected an entity of XML, found &{};", &*reference)
                        })?
                        .to_owned(),
                };
                cues::append(&mut lines, &text, style);
            }
            Event::CData(text) => cues::append(&mut lines, &text.xml10_content(), style),
            Event::Eof => break,
            Event::Empty(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_) => (),
        }
    }
    if styles.len() > 1 {
        return Err("expected an end tag for each start tag".to_owned());
    }
    cues::trim(&mut lines);
    Ok(lines)
}

/// Returns the style inside of a tag.
fn style_of(tag: &BytesStart, outer: RunStyle) -> Result<RunStyle, String> {
    let mut style = outer;
    match tag.name().as_ref() {
        "b" => style.bold = true,
        "i" => style.italic = true,
        "u" => style.underline = true,
        _ => (),
    }
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let value = escape::unescape(&attribute.value).map_err(|error| error.to_string())?;
        match attribute.key.as_ref() {
            "foreground" | "fgcolor" | "color" => style.color = Rgb::parse(&value).or(style.color),
            "weight" | "font_weight" => {
                let number = value.parse::<u32>().ok();
                let is_name = matches!(&*value, "bold" | "ultrabold" | "heavy" | "semibold");
                style.bold = number.map_or(is_name, |weight| weight >= 600);
            }
            "style" | "font_style" => style.italic = matches!(&*value, "italic" | "oblique"),
            "underline" => style.underline = value != "none",
            _ => (),
        }
    }
    Ok(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cues::Run;
    use proptest::prelude::*;

    fn run(text: &str, style: RunStyle) -> Run {
        Run { text: text.to_owned(), style }
    }

    #[test]
    fn styles_nest() {
        let text =
            "R&amp;D <span foreground='yellow' weight=\"bold\">&lt;a&#62;<i>b</i></span>\n<u>c</u>";
        let yellow = RunStyle { color: Rgb::parse("yellow"), bold: true, ..Default::default() };
        let expected = vec![
            vec![
                run("R&D ", RunStyle::default()),
                run("<a>", yellow),
                run("b", RunStyle { italic: true, ..yellow }),
            ],
            vec![run("c", RunStyle { underline: true, ..Default::default() })],
        ];
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn text_that_is_not_well_formed_is_an_error() {
        for text in [
            "R&D",
            "a < b",
            "<b>a",
            "a</b>",
            "<b>a</i>",
            "&x;",
            "<span color=red>a</span>",
            "<",
            "&#0;",
        ] {
            assert!(read(text).is_err(), "{text}: {:?}", read(text));
        }
        assert!(read(&"<b>".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn escaped_text_is_read_as_it_is(text in "[ -~é\u{1F600}]{0,20}") {
            let lines = read(&quick_xml::escape::escape(text.as_str())).expect("well-formed");
            let read: String = lines.iter().flatten().map(|run| run.text.as_str()).collect();
            prop_assert_eq!(read, text.trim());
        }

        #[test]
        fn no_text_panics(text in "[<>&;/!?\\[\\]\\-#xbi \"'=a\n]{0,24}") {
            let _ = read(&text);
        }
    }
}
