// SPDX-License-Identifier: MPL-2.0

//! Reads the JSON form of text buffers.

use serde::Deserialize;

use crate::cues::color::Rgb;
use crate::cues::{self, CueText, RunStyle};

/// The fields that matter here. Times are those of the buffer.
#[derive(Deserialize)]
struct JsonCue {
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    speaker: Option<usize>,
    #[serde(default)]
    speaker_name: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    lines: Option<Vec<JsonLine>>,
    #[serde(default)]
    color: Option<String>,
}

/// A line is text, or an object with it.
#[derive(Deserialize)]
#[serde(untagged)]
enum JsonLine {
    Text(String),
    Object { text: String },
}

/// Reads one object. Returns `None` for a segment in progress, which another object replaces.
///
/// # Errors
///
/// Returns a reason if the text is not an object of that form.
pub fn read(text: &str) -> Result<Option<CueText>, String> {
    let cue: JsonCue = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if cue.kind.as_deref() == Some("partial") {
        return Ok(None);
    }
    if cue.lines.is_none() && cue.text.is_none() {
        return Err("expected the field text or lines".to_owned());
    }
    let mut lines = Vec::new();
    let style = RunStyle::default();
    match cue.lines {
        Some(array) if !array.is_empty() => {
            for line in array {
                let (JsonLine::Text(text) | JsonLine::Object { text }) = line;
                let mut more = Vec::new();
                cues::append(&mut more, &text, style);
                lines.append(&mut more);
            }
        }
        _ => cues::append(&mut lines, &cue.text.unwrap_or_default(), style),
    }
    cues::trim(&mut lines);
    let color = cue.color.as_deref().and_then(Rgb::parse);
    let name = cue.speaker_name.filter(|name| !name.is_empty());
    Ok(Some(CueText { speaker: cue.speaker, name, color, lines }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(cue: &CueText) -> Vec<&str> {
        cue.lines.iter().flatten().map(|run| run.text.as_str()).collect()
    }

    #[test]
    fn words_segments_and_cues_are_read() {
        let word = r#"{"kind":"word","session_id":"","speaker":1,"text":"good","start":1.0,"end":1.2,
            "confidence":0.9,"words":[{"word":"good"}]}"#;
        let cue = read(word).expect("JSON").expect("a cue");
        assert_eq!((cue.speaker, texts(&cue)), (Some(1), vec!["good"]));
        let cue = r##"{"kind":"cue","speaker":0,"speaker_name":"Ada","color":"#00FFFF","text":"a b c",
            "lines":["a b",{"text":"c"}]}"##;
        let cue = read(cue).expect("JSON").expect("a cue");
        assert_eq!(texts(&cue), ["a b", "c"]);
        assert_eq!((cue.name.as_deref(), cue.color), (Some("Ada"), Some(Rgb::new(0, 255, 255))));
        assert_eq!(read(r#"{"kind":"partial","text":"goo"}"#), Ok(None));
    }

    #[test]
    fn other_texts_are_errors() {
        for text in [
            "",
            "{",
            "[]",
            "3",
            r#"{"speaker":0}"#,
            r#"{"text":3}"#,
            r#"{"text":"a","speaker":-1}"#,
            "{}{}",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read(&"[".repeat(100_000)).is_err());
    }
}
