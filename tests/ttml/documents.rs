// SPDX-License-Identifier: MPL-2.0

//! Content of documents.

use serde_json::{Value, json};

use crate::rig::*;

/// Profiles, and what their documents declare.
const PROFILES: [(&str, &str); 2] = [
    ("ebu-tt-d", "<ebuttm:conformsToStandard>urn:ebu:tt:distribution:2018-04</"),
    ("imsc1.1-text", "ttp:contentProfiles=\"http://www.w3.org/ns/ttml/profile/imsc1.1/text\""),
];

fn plain(text: &str, color: &str) -> Value {
    json!([{"text": text, "color": color, "bold": false, "italic": false, "underline": false}])
}

#[test]
fn simultaneous_speakers_have_lines_and_colors_of_their_own() {
    for (profile, declaration) in PROFILES {
        let mut rig = rig(JSON, &[("profile", profile)]);
        for (speaker, text, begin, end) in [
            (0, "a storm is moving", 560, 2880),
            (1, "all trains from berlin", 2000, 4000),
            (0, "R&D <b> ]]> \"quoted\" é\u{1F600}", 2880, 5000),
        ] {
            rig.harness.push(buffer(&speech(speaker, text), begin, end)).expect("accepted");
        }
        let document = only_document(&rig.finish());
        assert!(document.contains(declaration), "{document}");
        let (white, yellow) = ("#FFFFFF", "#FFFF00");
        let trains = plain("all trains from berlin", yellow);
        let quoted = plain("R&D <b> ]]> \"quoted\" é\u{1F600}", white);
        assert_eq!(
            styled(&document),
            json!([
                {"begin": 560, "end": 2000, "lines": [plain("a storm is moving", white)]},
                {"begin": 2000, "end": 2880, "lines": [trains, plain("a storm is moving", white)]},
                {"begin": 2880, "end": 4000, "lines": [trains, quoted]},
                {"begin": 4000, "end": 5000, "lines": [quoted]},
            ])
        );
        assert_eq!(warnings(&rig), [""; 0]);
    }
}

#[test]
fn markup_is_translated() {
    let mut rig = rig(MARKUP, &[]);
    let text = "<span foreground=\"cyan\">R&amp;D <b>bold</b></span>\n<i>i</i><u>u</u>\n";
    rig.harness.push(buffer(text, 0, 1000)).expect("accepted");
    let document = only_document(&rig.finish());
    let run = |text: &str, color: &str, style: &str| {
        let is = |name: &str| name == style;
        json!({"text": text, "color": color, "bold": is("bold"), "italic": is("italic"), "underline": is("underline")})
    };
    let lines = json!([
        [run("R&D ", "#00FFFF", ""), run("bold", "#00FFFF", "bold")],
        [run("i", "#FFFFFF", "italic"), run("u", "#FFFFFF", "underline")],
    ]);
    assert_eq!(styled(&document), json!([{"begin": 0, "end": 1000, "lines": lines}]));
}

#[test]
fn lines_color_and_name_of_json_are_used() {
    let mut rig = rig(JSON, &[]);
    let cue = json!({"kind": "cue", "speaker": 3, "speaker_name": "Ada <Lovelace>", "color": "#123456",
        "text": "one two three", "lines": ["one two", "three"]});
    rig.harness.push(buffer(&cue.to_string(), 0, 1000)).expect("accepted");
    let partial = json!({"kind": "partial", "speaker": 3, "text": "in progress"});
    rig.harness.push(buffer(&partial.to_string(), 0, 1000)).expect("accepted");
    let document = only_document(&rig.finish());
    let lines = json!([plain("one two", "#123456"), plain("three", "#123456")]);
    assert_eq!(styled(&document), json!([{"begin": 0, "end": 1000, "lines": lines}]));
    assert!(document.contains("<style xml:id=\"speaker4\" tts:color=\"#123456\""), "{document}");
    assert!(
        document.contains("<ttm:name type=\"full\">Ada &lt;Lovelace&gt;</ttm:name>"),
        "{document}"
    );
}

#[test]
fn each_word_may_be_a_cue() {
    let mut rig = rig(UTF8, &[]);
    for (index, word) in ["good", "morning", "boston"].into_iter().enumerate() {
        let begin = index as u64 * 400;
        rig.harness.push(buffer(word, begin, begin + 320)).expect("accepted");
    }
    let expected =
        [row(0, 320, &["good"]), row(400, 720, &["morning"]), row(800, 1120, &["boston"])];
    assert_eq!(shown(&only_document(&rig.finish())), expected);
}

#[test]
fn many_simultaneous_cues_stay_within_the_limits_of_the_profiles() {
    for (profile, _) in PROFILES {
        let mut rig = rig(JSON, &[("profile", profile)]);
        for speaker in 0..8 {
            let begin = speaker as u64 * 1000;
            rig.harness.push(buffer(&speech(speaker, "many"), begin, 60_000)).expect("accepted");
        }
        let shown = shown(&only_document(&rig.finish()));
        assert_eq!(shown.last().expect("one").2, vec!["many"; 8]);
    }
}

#[test]
fn language_is_the_property_or_the_tag() {
    let document = |properties: &[(&str, &str)], tag: Option<&str>| {
        let mut rig = rig(UTF8, properties);
        if let Some(tag) = tag {
            let mut tags = gst::TagList::new();
            let fields = tags.get_mut().expect("not shared");
            fields.add::<gst::tags::LanguageCode>(&tag, gst::TagMergeMode::Append);
            rig.push_event(gst::event::Tag::new(tags));
        }
        only_document(&rig.finish())
    };
    let has =
        |document: String, language: &str| document.contains(&format!(" xml:lang=\"{language}\""));
    assert!(has(document(&[], None), "und"));
    assert!(has(document(&[], Some("de")), "de"));
    assert!(has(document(&[], Some("d\"e")), "und"));
    assert!(has(document(&[("language", "gsw-CH")], Some("de")), "gsw-CH"));
}

#[test]
fn documents_without_text_are_valid() {
    for (profile, _) in PROFILES {
        let mut rig = rig(UTF8, &[("profile", profile)]);
        assert_eq!(shown(&only_document(&rig.finish())), []);
    }
}

#[test]
fn the_speaker_of_text_is_that_of_its_meta() {
    let mut rig = rig(UTF8, &[]);
    let mut buffer = buffer("text", 0, 1000);
    let fields = buffer.get_mut().expect("not shared");
    let mut meta = gst::meta::CustomMeta::add(fields, "MultitalkerItemMeta").expect("registered");
    meta.mut_structure().set("speaker", 1_u32);
    rig.harness.push(buffer).expect("accepted");
    let lines = json!([plain("text", "#FFFF00")]);
    let document = only_document(&rig.finish());
    assert_eq!(styled(&document), json!([{"begin": 0, "end": 1000, "lines": lines}]));
}
