// SPDX-License-Identifier: MPL-2.0

//! The formats of text buffers.

use std::sync::Arc;

use gst::glib;

use crate::multitalkerasr::text::cues::CueLayout;
use crate::multitalkerasr::text::json;
use crate::multitalkerasr::text::meta;
use crate::multitalkerasr::text::speaker::Speaker;
use crate::multitalkerasr::text::utterance::Utterance;

/// Formats from which caps negotiation chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    Utf8,
    PangoMarkup,
    Json,
}

impl TextFormat {
    /// All formats, in order of preference.
    const ALL: [Self; 3] = [Self::Utf8, Self::PangoMarkup, Self::Json];

    /// Returns the caps of the format.
    pub fn caps(self) -> gst::Caps {
        let text = |format: &str| gst::Caps::builder("text/x-raw").field("format", format).build();
        match self {
            Self::Utf8 => text("utf8"),
            Self::PangoMarkup => text("pango-markup"),
            Self::Json => gst::Caps::new_empty_simple("application/x-json"),
        }
    }

    /// Returns the caps of all formats, in order of preference.
    pub fn all_caps() -> gst::Caps {
        let mut all = gst::Caps::new_empty();
        Self::ALL.into_iter().for_each(|format| all.merge(format.caps()));
        all
    }

    /// Returns the preferred format among those that downstream accepts.
    pub fn preferred(accepted: &gst::Caps) -> Option<Self> {
        Self::ALL.into_iter().find(|format| accepted.can_intersect(&format.caps()))
    }
}

/// Content of a buffer.
#[derive(Clone, Debug)]
pub struct Text {
    pub utterance: Arc<Utterance>,
    /// Text that precedes the words in all formats but JSON. The lines of a cue include it.
    pub prefix: String,
    /// The lines of a cue.
    pub layout: Option<Arc<CueLayout>>,
    pub pts: gst::ClockTime,
    pub duration: gst::ClockTime,
}

impl Text {
    /// Creates a buffer in a format; `speaker_colors` is a comma-separated list.
    pub fn to_buffer(&self, format: TextFormat, speaker_colors: &str) -> gst::Buffer {
        let lines = match &self.layout {
            Some(layout) => layout.lines.clone(),
            None => vec![(self.utterance.speaker, self.prefix.clone() + &self.utterance.text())],
        };
        let formatted = |line: fn(&str, Speaker, &str) -> String| {
            let lines = lines.iter().map(|(speaker, text)| line(text, *speaker, speaker_colors));
            lines.collect::<Vec<_>>().join("\n")
        };
        let content = match format {
            TextFormat::Utf8 => formatted(|text, _, _| text.to_owned()),
            TextFormat::PangoMarkup => formatted(markup),
            TextFormat::Json => match &self.layout {
                Some(layout) => json::cue_line(&self.utterance, layout, speaker_colors),
                None => json::line(&self.utterance),
            },
        };
        let mut buffer = gst::Buffer::from_mut_slice(content.into_bytes());
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(self.pts);
            buffer.set_duration(self.duration);
            meta::add(buffer, &self.utterance, self.layout.as_deref());
        }
        buffer
    }
}

fn markup(text: &str, speaker: Speaker, colors: &str) -> String {
    let text = glib::markup_escape_text(text);
    match speaker.color(colors) {
        Some(color) => {
            format!(r#"<span foreground="{}">{text}</span>"#, glib::markup_escape_text(color))
        }
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped_and_colored_by_speaker() {
        let markup = |text, index, colors| markup(text, Speaker::new(index), colors);
        let colors = "white, yellow";
        assert_eq!(markup("a", 0, colors), r#"<span foreground="white">a</span>"#);
        assert_eq!(
            markup("R&D <b> --> \"", 1, colors),
            r#"<span foreground="yellow">R&amp;D &lt;b&gt; --&gt; &quot;</span>"#
        );
        assert_eq!(markup("<", 2, " "), "&lt;");
        assert_eq!(markup("a", 0, "\"<"), r#"<span foreground="&quot;&lt;">a</span>"#);
    }

    #[test]
    fn utf8_is_preferred() {
        gst::init().expect("GStreamer");
        let all = TextFormat::all_caps();
        assert_eq!(
            all.to_string(),
            "text/x-raw, format=(string)utf8; text/x-raw, format=(string)pango-markup; \
             application/x-json"
        );
        assert_eq!(TextFormat::preferred(&all), Some(TextFormat::Utf8));
        assert_eq!(TextFormat::preferred(&TextFormat::Json.caps()), Some(TextFormat::Json));
        assert_eq!(TextFormat::preferred(&gst::Caps::new_empty()), None);
    }
}
