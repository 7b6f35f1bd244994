// SPDX-License-Identifier: MPL-2.0

use proptest::prelude::*;

use super::*;

/// Pieces by index; "_" begins a word.
const PIECES: [&str; 8] = ["_a", "_b", "c", ".", ",", "_", "d", "_5"];

struct Pieces;

/// [`Pieces`] without a text for words with "d".
struct Refusing;

impl Vocabulary for Refusing {
    fn kind(&self, id: usize) -> PieceKind {
        Pieces.kind(id)
    }

    fn text(&self, ids: &[usize]) -> Result<String, Error> {
        match ids.contains(&6) {
            true => Err(Error::Ended),
            false => Pieces.text(ids),
        }
    }
}

impl Vocabulary for Pieces {
    fn kind(&self, id: usize) -> PieceKind {
        match PIECES[id] {
            "." | "," => PieceKind::Punctuation,
            piece if piece.starts_with('_') => PieceKind::WordStart,
            _ => PieceKind::Continuation,
        }
    }

    fn text(&self, ids: &[usize]) -> Result<String, Error> {
        Ok(ids.iter().map(|&id| PIECES[id].replace('_', " ")).collect())
    }
}

fn options(pause_ms: u32, max_ms: u32) -> StreamOptions {
    StreamOptions { segment_pause_ms: pause_ms, max_segment_ms: max_ms, ..Default::default() }
}

/// Converts (piece, frame) pairs to "word@start-end" and "|" for the end of a segment.
fn transcribe(tokens: &[(&str, u64)], options: &StreamOptions) -> String {
    let mut transcript = SpeakerTranscript::new(0, options);
    let mut events = Vec::new();
    for &(piece, frame) in tokens {
        let id = PIECES.iter().position(|p| *p == piece).expect("a piece");
        let token = Token { id, frame, probability: 0.5 };
        transcript.push(token, &Pieces, &mut events).expect("pieces have text");
    }
    transcript.finish(&Pieces, &mut events).expect("pieces have text");
    let frame = |sample: u64| sample / ENCODED_FRAME_SAMPLES;
    let parts = events.iter().map(|event| match event {
        Event::Word { word, .. } => {
            format!("{}@{}-{}", word.text, frame(word.start_sample), frame(word.end_sample))
        }
        Event::Segment(_) => "|".to_owned(),
        Event::Partial(_) => "partial".to_owned(),
        other => panic!("{other:?}"),
    });
    parts.collect::<Vec<_>>().join(" ")
}

#[test]
fn pieces_become_words() {
    let transcribed = transcribe(&[("_a", 1), ("c", 2), ("_b", 3)], &options(800, 10_000));
    assert_eq!(transcribed, "ac@1-3 b@3-4 |");
}

#[test]
fn punctuation_belongs_to_the_word_and_takes_no_time() {
    let transcribed = transcribe(&[("_a", 1), (",", 4), ("_b", 5)], &options(800, 10_000));
    assert_eq!(transcribed, "a,@1-2 b@5-6 |");
}

#[test]
fn sentence_end_closes_the_segment() {
    let transcribed = transcribe(&[("_a", 1), (".", 1), ("_b", 2)], &options(800, 10_000));
    assert_eq!(transcribed, "a.@1-2 | b@2-3 |");
}

#[test]
fn mark_within_a_number_ends_nothing() {
    let transcribed =
        transcribe(&[("_5", 1), (".", 1), ("d", 2), ("_b", 3)], &options(800, 10_000));
    assert_eq!(transcribed, "5.d@1-3 b@3-4 |");
}

#[test]
fn pause_closes_the_segment() {
    let transcribed = transcribe(&[("_a", 0), ("_b", 10), ("_a", 21)], &options(800, 10_000));
    assert_eq!(transcribed, "a@0-1 b@10-11 | a@21-22 |");
}

#[test]
fn short_pause_closes_the_segment_before_the_next_word() {
    let words = [("_a", 0), ("_b", 2), ("_a", 4)];
    assert_eq!(transcribe(&words, &options(100, 10_000)), "a@0-1 b@2-3 a@4-5 |");
    assert_eq!(transcribe(&words, &options(80, 10_000)), "a@0-1 | b@2-3 | a@4-5 |");
    assert_eq!(transcribe(&words, &options(0, 10_000)), "a@0-1 | b@2-3 | a@4-5 |");
}

#[test]
fn pieces_without_an_end_are_cut_to_segments() {
    let pieces: Vec<_> =
        (0..30).map(|frame| (["c", "_a"][usize::from(frame == 0)], frame)).collect();
    let word = |pieces: usize| "c".repeat(pieces);
    let expected = format!("a{}@0-12 | {}@12-24 | {}@24-30 |", word(11), word(12), word(6));
    assert_eq!(transcribe(&pieces, &options(800, 1000)), expected);
}

#[test]
fn word_waits_no_longer_than_its_limit() {
    let late = 1 + WORD_END_FRAMES;
    let options = options(800, 10_000);
    assert_eq!(transcribe(&[("_a", 0), ("c", late - 1)], &options), "ac@0-6 |");
    assert_eq!(transcribe(&[("_a", 0), ("c", late)], &options), "a@0-1 c@6-7 |");
    assert_eq!(transcribe(&[("_a", 0), (".", late)], &options), "a@0-1 |", "without the mark");
}

fn event_texts(events: &[Event]) -> Vec<String> {
    let texts = events.iter().map(|event| match event {
        Event::Word { word, .. } => word.text.clone(),
        Event::Segment(segment) => format!("[{}]", segment.text()),
        Event::Partial(partial) => partial.text(),
        other => panic!("{other:?}"),
    });
    texts.collect()
}

fn token(piece: &str, frame: u64) -> Token {
    let id = PIECES.iter().position(|p| *p == piece).expect("a piece");
    Token { id, frame, probability: 0.5 }
}

fn texts(tokens: &[(&str, u64)], options: &StreamOptions) -> Vec<String> {
    let mut transcript = SpeakerTranscript::new(0, options);
    let mut events = Vec::new();
    for &(piece, frame) in tokens {
        transcript.push(token(piece, frame), &Pieces, &mut events).expect("text");
    }
    transcript.finish(&Pieces, &mut events).expect("text");
    event_texts(&events)
}

#[test]
fn late_mark_belongs_to_the_segment_while_it_is_open() {
    let options = options(800, 10_000);
    for frame in [6, 8, 10] {
        let found = texts(&[("_a", 0), (".", frame), ("_b", frame + 1)], &options);
        assert_eq!(found, ["a", "[a.]", "b", "[b]"], "at frame {frame}");
    }
    let found = texts(&[("_a", 0), (".", 11), ("_b", 12)], &options);
    assert_eq!(found, ["a", "[a]", "b", "[b]"], "the segment is closed");
}

#[test]
fn late_comma_closes_nothing_and_moves_no_end() {
    let options = options(800, 10_000);
    let found = texts(&[("_a", 0), (",", 7), ("_b", 8)], &options);
    assert_eq!(found, ["a", "b", "[a, b]"]);
    let found = texts(&[("_a", 0), (",", 7), ("_b", 11)], &options);
    assert_eq!(found, ["a", "[a,]", "b", "[b]"], "the pause begins with the word's end");
}

#[test]
fn late_sentence_end_takes_all_marks_of_its_frame() {
    let options = options(800, 10_000);
    let marks = [("_a", 0), (".", 7), (".", 7), (".", 7), ("c", 7), (".", 7)];
    assert_eq!(texts(&marks, &options), ["a", "[a...]", "c.", "[c.]"]);
    let found = texts(&[("_a", 0), (".", 7), (".", 8)], &options);
    assert_eq!(found, ["a", "[a.]"], "the segment is closed");
}

#[test]
fn late_sentence_end_closes_the_segment_when_its_frame_is_over() {
    let mut transcript = SpeakerTranscript::new(0, &options(800, 10_000));
    let mut events = Vec::new();
    transcript.push(token("_a", 0), &Pieces, &mut events).expect("text");
    transcript.advance(7, &Pieces, &mut events).expect("text");
    transcript.partial(&Pieces).expect("text");
    transcript.push(token(".", 7), &Pieces, &mut events).expect("text");
    let partial = transcript.partial(&Pieces).expect("text").expect("changed");
    assert_eq!(partial.text(), "a.");
    assert_eq!(event_texts(&events), ["a"]);
    transcript.advance(8, &Pieces, &mut events).expect("text");
    let [Event::Word { word, .. }, Event::Segment(segment)] = &events[..] else {
        panic!("{events:?}")
    };
    let with_mark = Word { text: "a.".to_owned(), ..word.clone() };
    assert_eq!(segment.words, [with_mark], "times and confidence are the word's");
}

#[test]
fn word_without_a_text_costs_no_other_word() {
    let tokens = [("_a", 0), ("_b", 1), ("d", 2), ("_a", 3), ("c", 4), ("d", 12)];
    let mut transcript = SpeakerTranscript::new(0, &options(800, 10_000));
    let mut events = Vec::new();
    let mut errors = 0;
    for (piece, frame) in tokens {
        let result = transcript.push(token(piece, frame), &Refusing, &mut events);
        errors += usize::from(result.is_err());
    }
    errors += usize::from(transcript.finish(&Refusing, &mut events).is_err());
    assert_eq!(errors, 2);
    assert_eq!(event_texts(&events), ["a", "ac", "[a ac]"]);
    assert!(transcript.finish(&Refusing, &mut events).is_ok(), "it is closed");
}

/// Generates pieces with the number of frames before each, and the number of these frames at which
/// the transcript is advanced.
fn pieces() -> impl Strategy<Value = Vec<(usize, u64, u64)>> {
    let gap = prop_oneof![4 => 0..3_u64, 2 => 3..14_u64, 1 => 14..200_u64];
    prop::collection::vec((0..PIECES.len(), gap, 0..4_u64), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_tokens_keep_the_contract(
        pieces in pieces(),
        pause_ms in prop::sample::select(vec![0, 80, 400, 800, 5000, u32::MAX]),
        max_ms in prop::sample::select(vec![1000, 3000, 10_000, u32::MAX]),
    ) {
        let options = options(pause_ms, max_ms);
        let mut stepwise = SpeakerTranscript::new(0, &options);
        let mut at_once = SpeakerTranscript::new(0, &options);
        let (mut events, mut expected) = (Vec::new(), Vec::new());
        let (mut frame, mut accepted) = (0, String::new());
        for (id, gap, steps) in pieces {
            for step in 0..steps {
                stepwise.advance(frame + gap * step / 3, &Pieces, &mut events)?;
            }
            frame += gap;
            let token = Token { id, frame, probability: 0.5 };
            at_once.push(token, &Pieces, &mut expected)?;
            stepwise.advance(frame, &Pieces, &mut events)?;
            let is_mark = Pieces.kind(id) == PieceKind::Punctuation;
            if !is_mark || stepwise.open_segment_start().is_some() {
                accepted.push_str(PIECES[id].trim_start_matches('_'));
            }
            stepwise.push(token, &Pieces, &mut events)?;
        }
        at_once.finish(&Pieces, &mut expected)?;
        stepwise.finish(&Pieces, &mut events)?;
        prop_assert_eq!(&events, &expected, "regardless of when it is advanced");

        let (mut words, mut text) = (Vec::new(), String::new());
        let mut last_end = 0;
        for event in &events {
            match event {
                Event::Word { word, .. } => {
                    prop_assert!(word.start_sample < word.end_sample);
                    words.push(word.clone());
                }
                Event::Segment(segment) => {
                    prop_assert_eq!(segment.words.len(), words.len());
                    for (emitted, word) in words.drain(..).zip(&segment.words) {
                        let marks = word.text.strip_prefix(emitted.text.as_str());
                        prop_assert!(marks.is_some_and(|marks| marks.chars().all(
                            |mark| matches!(mark, '.' | ',')
                        )));
                        prop_assert_eq!(Word { text: word.text.clone(), ..emitted }, word.clone());
                        text.push_str(&word.text);
                    }
                    prop_assert!(segment.start_sample() >= last_end);
                    last_end = segment.start_sample();
                }
                other => prop_assert!(false, "unexpected {other:?}"),
            }
        }
        prop_assert!(words.is_empty(), "every word is in a segment");
        prop_assert_eq!(text, accepted, "every piece that was taken is in the text");
    }
}

#[test]
fn long_segment_closes_before_the_word_that_is_too_much() {
    let transcribed =
        transcribe(&[("_a", 0), ("_b", 6), ("_a", 12), ("_b", 13)], &options(800, 1000));
    assert_eq!(transcribed, "a@0-1 b@6-7 | a@12-13 b@13-14 |");
}

#[test]
fn long_segment_closes_with_the_piece_that_is_too_much() {
    let mut transcript = SpeakerTranscript::new(0, &options(800, 1000));
    let mut events = Vec::new();
    for (id, frame) in [(0, 0), (1, 6), (0, 11), (2, 12)] {
        assert!(!events.iter().any(|event| matches!(event, Event::Segment(_))));
        let token = Token { id, frame, probability: 0.5 };
        transcript.push(token, &Pieces, &mut events).expect("text");
    }
    assert!(matches!(events.last(), Some(Event::Segment(segment)) if segment.text() == "a b"));
    assert_eq!(transcript.open_segment_start(), Some(11));
}

#[test]
fn piece_without_text_is_no_word() {
    let transcribed = transcribe(&[("_", 0), ("_a", 1), ("_", 2), ("c", 3)], &options(800, 10_000));
    assert_eq!(transcribed, "a@1-2 c@2-4 |");
}

#[test]
fn advance_closes_without_a_token() {
    let mut transcript = SpeakerTranscript::new(2, &options(800, 10_000));
    let mut events = Vec::new();
    let token = |id, frame, probability| Token { id, frame, probability };
    transcript.push(token(0, 3, 0.25), &Pieces, &mut events).expect("text");
    transcript.push(token(2, 4, 0.75), &Pieces, &mut events).expect("text");
    let partial = transcript.partial(&Pieces).expect("text").expect("changed");
    assert_eq!(partial.text(), "ac");
    assert!(transcript.partial(&Pieces).expect("text").is_none(), "transcribed once");
    transcript.advance(4 + WORD_END_FRAMES, &Pieces, &mut events).expect("text");
    assert!(events.is_empty());
    assert_eq!(transcript.open_word_start(), Some(3));
    transcript.advance(5 + WORD_END_FRAMES, &Pieces, &mut events).expect("text");
    assert!(matches!(&events[..], [Event::Word { speaker: 2, word }] if word.confidence == 0.5));
    assert_eq!((transcript.open_word_start(), transcript.open_segment_start()), (None, Some(3)));
    transcript.advance(15, &Pieces, &mut events).expect("text");
    assert!(matches!(events.last(), Some(Event::Segment(segment)) if segment.text() == "ac"));
    assert_eq!(transcript.open_segment_start(), None);
}
