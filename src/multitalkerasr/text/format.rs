// SPDX-License-Identifier: MPL-2.0

//! The formats of text buffers.

use gst::glib;

use crate::multitalkerasr::text::utterance::{Kind, Utterance};

/// What caps negotiation chooses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    Utf8,
    PangoMarkup,
    Json,
}

impl TextFormat {
    /// The first that downstream takes is chosen.
    pub const BY_PREFERENCE: [Self; 3] = [Self::Utf8, Self::PangoMarkup, Self::Json];

    pub fn caps(self) -> gst::Caps {
        let text = |format: &str| gst::Caps::builder("text/x-raw").field("format", format).build();
        match self {
            Self::Utf8 => text("utf8"),
            Self::PangoMarkup => text("pango-markup"),
            Self::Json => gst::Caps::new_empty_simple("application/x-json"),
        }
    }

    /// Caps of all, in order of preference.
    pub fn all_caps() -> gst::Caps {
        let mut all = gst::Caps::new_empty();
        Self::BY_PREFERENCE.into_iter().for_each(|format| all.merge(format.caps()));
        all
    }
}

/// What becomes a buffer.
#[derive(Clone, Debug)]
pub struct Text {
    pub kind: Kind,
    pub utterance: Utterance,
    /// Before the text, but not in JSON.
    pub prefix: String,
    pub pts: gst::ClockTime,
    pub duration: gst::ClockTime,
}

impl Text {
    /// With `speaker_colors` separated by commas, which begin again when there are more speakers.
    pub fn to_buffer(&self, format: TextFormat, speaker_colors: &str) -> gst::Buffer {
        let text = || format!("{}{}", self.prefix, self.utterance.text());
        let content = match format {
            TextFormat::Utf8 => text(),
            TextFormat::PangoMarkup => markup(&text(), self.utterance.speaker, speaker_colors),
            // A line each, so that readers of lines find where an object ends.
            TextFormat::Json => format!("{}\n", self.utterance.json(self.kind)),
        };
        let mut buffer = gst::Buffer::from_mut_slice(content.into_bytes());
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(self.pts);
            buffer.set_duration(self.duration);
            self.utterance.add_meta(buffer);
        }
        buffer
    }
}

fn markup(text: &str, speaker: usize, colors: &str) -> String {
    let text = glib::markup_escape_text(text);
    let colors: Vec<_> =
        colors.split(',').map(str::trim).filter(|color| !color.is_empty()).collect();
    match colors.get(speaker % colors.len().max(1)) {
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
        let colors = "white, yellow";
        assert_eq!(markup("a", 0, colors), r#"<span foreground="white">a</span>"#);
        assert_eq!(
            markup("R&D <b> --> \"", 1, colors),
            r#"<span foreground="yellow">R&amp;D &lt;b&gt; --&gt; &quot;</span>"#
        );
        assert_eq!(markup("a", 2, colors), markup("a", 0, colors), "colors begin again");
        assert_eq!(markup("<", 2, " "), "&lt;");
        assert_eq!(markup("a", 0, "\"<"), r#"<span foreground="&quot;&lt;">a</span>"#);
    }

    #[test]
    fn utf8_is_preferred() {
        gst::init().expect("GStreamer");
        assert_eq!(
            TextFormat::all_caps().to_string(),
            "text/x-raw, format=(string)utf8; text/x-raw, format=(string)pango-markup; \
             application/x-json"
        );
    }
}
