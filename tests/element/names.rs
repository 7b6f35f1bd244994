// SPDX-License-Identifier: MPL-2.0

//! Names of speakers in all outputs.

use crate::formats::texts_with_caps;
use element_rig::*;
use gst::prelude::*;
use multitalker_asr::SegLstRow;

fn speakers(rig: &Rig) -> Vec<String> {
    let rows = rig.element.emit_by_name::<String>("get-transcripts", &[]);
    let rows: Vec<SegLstRow> = serde_json::from_str(&rows).expect("SegLST");
    rows.into_iter().map(|row| row.speaker).collect()
}

#[test]
fn names_are_in_all_outputs() {
    init_with_runtime();
    let names = r#"names,0=Ada,1="Bob <b>""#;
    let properties =
        [("speaker-names", names), ("speaker-prefix", "{name} ({n}): "), ("text-unit", "segment")];
    let mut rig = Rig::of(demo_element(&properties), Some(F32_CAPS));
    rig.push_all(&conversation(), 8000);
    let entries = rig.finish();
    let expected = [("Ada", "Ada (1): "), ("Bob <b>", "Bob <b> (2): ")];

    let texts = buffers(&entries);
    let changes: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::SpeakerChange(speaker) => Some(speaker.as_str()),
            _ => None,
        })
        .collect();
    for (name, prefix) in expected {
        assert!(texts.iter().any(|(_, text)| text.starts_with(prefix)), "{texts:?}");
        assert!(changes.contains(&name), "{changes:?}");
    }
    assert!(texts.iter().all(|(_, text)| expected.iter().any(|(_, p)| text.starts_with(p))));
    let labels: Vec<_> = speakers(&rig);
    assert!(
        labels.iter().all(|label| expected.iter().any(|(name, _)| label == name)),
        "{labels:?}"
    );
    for message in rig.posted("multitalkerasr/transcript") {
        let index = message.get::<u32>("speaker-id").expect("a uint") as usize;
        assert_eq!(message.get::<&str>("speaker-name"), Ok(expected[index].0));
    }
}

#[test]
fn markup_of_names_is_escaped() {
    let samples = &audio("news.wav")[..20 * 16_000];
    let properties = [("speaker-names", r#"names,0="<b>&""#), ("speaker-prefix", "{name}: ")];
    let texts = texts_with_caps(samples, "text/x-raw,format=pango-markup", &properties);
    assert!(texts.iter().any(|text| text.contains("&lt;b&gt;&amp;: ")), "{texts:?}");
    assert!(!texts.iter().any(|text| text.contains("<b>")), "{texts:?}");
}

#[test]
fn speaker_that_is_named_later_has_the_name_in_earlier_rows_and_in_later_text() {
    init_with_runtime();
    let properties = [("speaker-prefix", "{name}: "), ("diarization-preset", "lockstep")];
    let mut rig = Rig::of(demo_element(&properties), Some(F32_CAPS));
    let samples = conversation();
    let (before, after) = samples.split_at(20 * 16_000);
    rig.push(0, before);
    // Segments of both speakers are finished.
    while !["0", "1"].iter().all(|label| speakers(&rig).iter().any(|speaker| speaker == label)) {
        rig.until(Entry::is_text);
    }
    rig.element.emit_by_name::<()>("set-speaker-name", &[&0_u32, &"Ada"]);
    let names: gst::Structure = rig.element.property("speaker-names");
    assert_eq!(names.get::<&str>("0"), Ok("Ada"));
    rig.push(20 * SECOND_NS, after);
    let entries = rig.finish();
    assert!(buffers(&entries).iter().any(|(_, text)| text.starts_with("Ada: ")));
    let labels = speakers(&rig);
    assert!(labels.iter().all(|label| ["Ada", "1"].contains(&label.as_str())), "{labels:?}");
    rig.element.emit_by_name::<()>("set-speaker-name", &[&0_u32, &""]);
    assert!(speakers(&rig).iter().all(|label| label != "Ada"));
}
