// SPDX-License-Identifier: MPL-2.0

use ndarray::array;

use super::*;
use crate::features::FeatureExtractor;

fn parse(text: &str) -> Result<Rttm, String> {
    Rttm::parse(text.as_bytes())
}

fn line(start: &str, duration: &str, speaker: &str) -> String {
    format!("SPEAKER talk 1 {start} {duration} <NA> <NA> {speaker} <NA> <NA>\n")
}

fn names(rttm: &Rttm) -> Vec<&str> {
    rttm.names().collect()
}

#[test]
fn rttm_as_it_is_found_is_read() {
    let text = "\u{feff};; written by hand\r\n\
        SPKR-INFO talk 1 <NA> <NA> <NA> unknown Bob <NA> <NA>\r\n\
        \r\n\
        SPEAKER\ttalk\t1\t2.0\t1\t<NA>\t<NA>\tBob\t<NA>\r\n\
        LEXEME talk 1 2.0 0.2 hello lex Bob 0.9\r\n\
        \x20 speaker  talk 2   0.5 2.25 <NA> <NA> Zoë;\r\n\
        SPEAKER talk 1 0.0 0.0 <NA> <NA> nobody <NA> <NA>\r\n\
        SPEAKER talk 1 3.1 1e-1 <NA> <NA> <NA> <NA> <NA> ;; no name\r\n\
        SPEAKER talk 1 .25 1 <NA> <NA> Bob <NA> <NA>";
    let rttm = parse(text).expect("RTTM");
    assert_eq!(names(&rttm), ["Bob", "Zoë;", ""]);
    assert_eq!(rttm.speakers[0].turns, [(2.0, 3.0), (0.25, 1.25)]);
    assert_eq!(rttm.speakers[2].turns, [(3.1, 3.2)]);
}

#[test]
fn invalid_lines_are_errors_with_their_number() {
    for (bad, expected) in [
        ("SPEAKER talk 1 0 1 <NA> <NA>", "expected at least 8 fields, found 7"),
        (&line("-0.5", "1", "A"), "expected a start of 0 to 1000000000 seconds, found \"-0.5\""),
        (&line("<NA>", "1", "A"), "expected a start of 0 to 1000000000 seconds, found \"<NA>\""),
        (&line("nan", "1", "A"), "found \"nan\""),
        (&line("1e999", "1", "A"), "found \"1e999\""),
        (&line("0,5", "1", "A"), "found \"0,5\""),
        (&line("0", "inf", "A"), "expected a duration of 0 to 1000000000 seconds, found \"inf\""),
        (&line("0", "-1", "A"), "found \"-1\""),
        ("SPAKER talk 1 0 1 <NA> <NA> A", "expected SPEAKER or another type of RTTM, found"),
    ] {
        let error = parse(&format!("{};;\n{bad}", line("0", "1", "A"))).expect_err(bad);
        assert!(error.starts_with("line 3: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn file_without_turns_or_with_several_recordings_is_refused() {
    for text in ["", ";; nothing\n", "LEXEME talk 1 2.0 0.2 hello lex Bob\n", &line("1", "0", "A")]
    {
        assert_eq!(parse(text).expect_err(text), "no SPEAKER line with a duration");
    }
    let two = line("0", "1", "A") + &line("2", "1", "A").replace("talk", "news");
    let error = parse(&two).expect_err("two recordings");
    let expected = "the turns of several recordings instead of one: \"talk\", \"news\"";
    assert_eq!(error, expected);
    let recording = |number: usize| line("0", "1", "A").replace("talk", &number.to_string());
    let error = parse(&(0..1000).map(recording).collect::<String>()).expect_err("many recordings");
    assert!(error.ends_with("\"9\" and others"), "{error}");
    assert!(Rttm::parse(b"SPEAKER \xff").expect_err("no UTF-8").contains("other bytes"));
}

#[test]
fn number_of_speakers_is_bounded() {
    let speakers = |count: usize| -> String {
        (0..count).map(|number| line("1", "1", &number.to_string())).collect()
    };
    assert_eq!(parse(&speakers(64)).expect("64 speakers").names().len(), 64);
    let error = parse(&speakers(65)).expect_err("too many");
    assert_eq!(error, "line 65: expected at most 64 speakers, found one more (\"64\")");
}

#[test]
fn speakers_are_in_the_order_of_their_first_turns() {
    let lines = [line("5", "1", "C"), line("1", "9", "A"), line("0.5", "0", "B")];
    let rttm = parse(&(lines.concat() + &line("0.999", "1", "C"))).expect("RTTM");
    assert_eq!(names(&rttm), ["C", "A"]);
}

#[test]
fn frames_are_rounded_down_and_follow_the_offset() {
    let lines = [line("0.079", "0.0815", "A"), line("0.2", "0.2", "A"), line("0.3", "1", "A")];
    let rttm = parse(&lines.concat()).expect("RTTM");
    let only = |range: Range<u64>| [vec![range]];
    // 0.0815 is a little less in binary, so the turn ends at 0.16 s.
    assert_eq!(rttm.frames(0), only(0..16));
    assert_eq!(rttm.frames(1280 * 2), only(0..14));
    assert_eq!(rttm.frames(1280 * 2 - 160), only(0..14), "1.15 s are 14.375 frames");
    assert_eq!(rttm.frames(1280 * 100), [vec![]]);
    let [short, ..] = &lines;
    assert_eq!(parse(&short.replace("0.0815", "0.0004")).expect_err("no turn").len(), 31);
    assert_eq!(parse(&line("0.01", "0.05", "A")).expect("RTTM").frames(0), [vec![]]);
}

/// Returns features of `frames` mel frames.
fn features(frames: usize) -> FrameBuffer {
    let mut features = FrameBuffer::new(1);
    let mut extractor = FeatureExtractor::new(1);
    extractor.push(&vec![0.1; frames * 160], &mut features);
    extractor.finish(&mut features);
    features
}

#[test]
fn steps_follow_the_audio_and_end_with_it() {
    let lines = [line("0.08", "0.16", "A"), line("0.16", "0.4", "B"), line("0.4", "9", "A")];
    let rttm = Arc::new(parse(&lines.concat()).expect("RTTM"));
    let mut activity = RttmActivity::new(rttm.clone(), None);
    assert!(!activity.is_ready(&features(7), false) && activity.is_ready(&features(7), true));
    assert_eq!(activity.step(&features(20)).expect("never fails"), array![[0.0, 0.0], [1.0, 0.0]]);
    assert!(!activity.is_ready(&features(23), false));
    let expected = array![[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [1.0, 1.0]];
    assert_eq!(activity.step(&features(48)).expect("never fails"), expected);
    assert!(activity.is_ready(&features(50), true), "the last frame may be incomplete");
    assert_eq!(activity.step(&features(50)).expect("never fails"), array![[1.0, 1.0]]);
    assert!(!activity.is_ready(&features(50), true));
    activity.rewind();
    activity.set_offset(1280 * 5);
    assert_eq!(activity.step(&features(16)).expect("never fails"), array![[1.0, 1.0], [1.0, 1.0]]);
    activity.set_offset(1280 * 1000);
    assert_eq!(activity.step(&features(24)).expect("never fails"), array![[0.0, 0.0]]);

    let mut first = RttmActivity::new(rttm, Some(1));
    assert_eq!(first.step(&features(24)).expect("never fails").column(1).sum(), 0.0);
}

#[test]
fn file_is_recognized_by_its_name_or_its_content() {
    let folder = tempfile::tempdir().expect("a folder");
    let written = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    };
    let content = "\u{feff};; a comment\n".to_owned() + &line("0", "1", "A");
    assert!(Rttm::is_at(&written("turns.txt", content.as_bytes())));
    assert!(Rttm::is_at(&written("lexemes", b"LEXEME talk 1 0 1 hello lex A")));
    assert!(Rttm::is_at(&written("no.RTTM", b"\x08\x07")));
    for content in [&b"\x08\x07\x12\x07pytorch"[..], b"", b"speech", b"\n\n", b"\xff\xfe"] {
        assert!(!Rttm::is_at(&written("sortformer.onnx", content)), "{content:?}");
    }
    assert!(!Rttm::is_at(folder.path()) && !Rttm::is_at(&folder.path().join("missing")));

    let read = |path: &Path| Rttm::read(path, &Canceller::new()).expect_err("no RTTM").to_string();
    let error = read(&written("page.rttm", b"<!DOCTYPE html><html>"));
    assert!(error.contains("page.rttm as an RTTM file: an HTML page"), "{error}");
    let error = read(&written("net.rttm", b"\x08\xff\x12"));
    assert!(error.contains("net.rttm as an RTTM file: other bytes"), "{error}");
    let error = read(&folder.path().join("missing.rttm"));
    assert!(error.contains("missing.rttm was not found: expected an RTTM file"), "{error}");
}

/// Frame targets of NeMo's own functions, from `tools/reference/rttm.py`.
#[derive(serde::Deserialize)]
struct Golden {
    file: String,
    /// Start in the recording in seconds.
    offset: f64,
    /// Number of frames; later ones are left out.
    frames: u64,
    /// Active frames by name.
    speakers: HashMap<String, Vec<(u64, u64)>>,
}

#[test]
fn frames_equal_the_targets_of_nemo() {
    let data = test_support::data();
    let text = std::fs::read_to_string(data.join("rttm/targets.json")).expect("the results");
    let golden: Vec<Golden> = serde_json::from_str(&text).expect("the output of rttm.py");
    assert_eq!(golden.len(), 7);
    for Golden { file, offset, frames, speakers } in golden {
        let rttm = Rttm::read(&data.join(&file), &Canceller::new()).expect("RTTM");
        let mut activity = RttmActivity::new(Arc::new(rttm), None);
        activity.set_offset((offset * f64::from(SAMPLE_RATE_HZ)).round() as u64);
        let found = activity.probabilities(0..frames);
        let mut expected = Array2::zeros(found.dim());
        for (column, name) in activity.rttm.names().enumerate() {
            for &(start, end) in speakers.get(name).into_iter().flatten() {
                expected.slice_mut(s![start as usize..end as usize, column]).fill(1.0);
            }
        }
        assert!(expected.sum() > 50.0, "{file} at {offset}");
        assert_eq!(found, expected, "{file} at {offset}");
    }
}
