// SPDX-License-Identifier: MPL-2.0

//! Tests features, diarizer and recognizer on a real meeting of four people who talk over each
//! other.

use std::process::Command;
use std::sync::LazyLock;

use multitalker_asr::{ChunkLatency, Event, Stream, StreamOptions, Trace};
use test_support::{read_wav, tiny_model};

static MEETING: LazyLock<Vec<f32>> =
    LazyLock::new(|| read_wav(&test_support::data().join("audio/ami-en2002a.wav")));

/// Returns a stream with such short chunks and caches that 30 s pass through all states of the
/// speaker cache.
fn stream() -> Stream {
    let mut options =
        StreamOptions { chunk_latency: ChunkLatency::Ms560, ..StreamOptions::default() };
    options.diarization.chunk_frames = 14;
    options.diarization.right_context_frames = 3;
    options.diarization.fifo_frames = 40;
    options.diarization.update_period_frames = 30;
    options.diarization.speaker_cache_frames = 64;
    let mut stream = Stream::new(tiny_model(), options).expect("options that fit");
    stream.enable_trace();
    stream
}

fn run<'a>(pieces: impl IntoIterator<Item = &'a [f32]>) -> (Vec<Event>, Trace) {
    let mut stream = stream();
    let mut events = Vec::new();
    for piece in pieces {
        events.extend(stream.push(piece).expect("inference runs"));
    }
    events.extend(stream.finish().expect("inference runs"));
    // The partial results depend on the pushes.
    events.retain(|event| !matches!(event, Event::Partial(_)));
    (events, stream.trace().expect("enabled").clone())
}

#[test]
fn features_match_their_definition() {
    let (_, trace) = run([&MEETING[..]]);
    let folder = tempfile::tempdir().expect("a folder");
    let features = folder.path().join("features");
    let bytes: Vec<u8> = trace.features.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(&features, bytes).expect("written");
    let repository = test_support::repository();
    let output = Command::new(repository.join(".venv/bin/python"))
        .arg(repository.join("tests/log_mel.py"))
        .arg(test_support::data().join("audio/ami-en2002a.wav"))
        .arg(&features)
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let numbers: Vec<f64> =
        printed.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    let [rows, expected_rows, difference] = numbers[..] else { panic!("{printed}") };
    assert_eq!((rows, expected_rows), (3000.0, 3000.0));
    // The engine's single precision leaves 9e-5 in the quietest bins.
    assert!(difference < 2e-4, "{difference:e}");
}

#[test]
fn any_push_sizes_give_the_same() {
    let (whole, trace) = run([&MEETING[..]]);
    assert_eq!(trace.probabilities.len(), 375 * 4, "a row for each 80 ms");
    let words = whole.iter().filter(|event| matches!(event, Event::Word { .. })).count();
    assert!(words > 10, "the random models emit {words} words");
    // The sizes are less than a frame or have no common factor with it.
    let uneven: Vec<&[f32]> = {
        let mut rest = &MEETING[..];
        let mut pieces = Vec::new();
        for size in [1, 7, 159, 161, 4_801, 16_003, 50_021].into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces
    };
    for (name, pieces) in [
        ("20 ms", MEETING.chunks(320).collect()),
        ("1 s and a sample", MEETING.chunks(16_001).collect()),
        ("uneven", uneven),
    ] {
        let (events, other) = run(pieces);
        assert_eq!(other.features, trace.features, "{name}: features");
        assert_eq!(other.probabilities, trace.probabilities, "{name}: probabilities");
        assert_eq!(events, whole, "{name}");
    }
}
