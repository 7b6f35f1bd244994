// SPDX-License-Identifier: MPL-2.0

use ndarray::{Array2, ArrayView2, Axis, aview1, concatenate};

use super::*;

fn point(cache: usize, fifo: usize, update: usize) -> OperatingPoint {
    OperatingPoint {
        chunk_frames: 2,
        right_context_frames: 0,
        fifo_frames: fifo,
        update_period_frames: update,
        speaker_cache_frames: cache,
    }
}

fn one_silence() -> Compression {
    Compression { silence_frames_per_speaker: 1, ..Compression::default() }
}

/// Embeddings of size 1 that are the numbers of the frames.
fn numbered(frames: std::ops::Range<usize>) -> Array2<f32> {
    Array2::from_shape_fn((frames.len(), 1), |(row, _)| (frames.start + row) as f32)
}

fn column(values: &[f32]) -> ArrayView2<'_, f32> {
    aview1(values).insert_axis(Axis(1))
}

#[test]
fn fifo_gives_its_oldest_frames_to_the_cache() {
    let mut cache = SpeakerCache::new(1, 1, point(8, 3, 2), one_silence()).expect("valid");
    let chunk = cache.update(numbered(0..2).view(), column(&[0.9, 0.8]), 0, 0);
    assert_eq!(chunk, column(&[0.9, 0.8]));
    assert_eq!((cache.cache(), cache.fifo()), (column(&[]), column(&[0.0, 1.0])));
    // The left context is frame 1 again and the look-ahead frame 4; neither is kept.
    let probabilities = [0.1, 0.2, 0.5, 0.6, 0.7, 0.8];
    let chunk = cache.update(numbered(1..5).view(), column(&probabilities), 1, 1);
    assert_eq!(chunk, column(&[0.6, 0.7]));
    // 4 frames do not fit in 3, so an update period of 2 leaves.
    assert_eq!((cache.cache(), cache.fifo()), (column(&[0.0, 1.0]), column(&[2.0, 3.0])));
}

#[test]
fn long_chunk_leaves_no_more_than_the_fifo_holds() {
    let mut cache = SpeakerCache::new(1, 1, point(20, 3, 2), one_silence()).expect("valid");
    cache.update(numbered(0..9).view(), column(&[0.9; 9]), 0, 0);
    assert_eq!(cache.cache().nrows(), 6);
    assert_eq!(cache.fifo(), column(&[6.0, 7.0, 8.0]));
}

#[test]
fn compression_uses_the_mean_of_silence() {
    let mut cache = SpeakerCache::new(1, 1, point(3, 0, 4), one_silence()).expect("valid");
    // Frames 1 and 2 are silent: their mean is 1.5.
    cache.update(numbered(0..4).view(), column(&[0.9, 0.1, 0.1, 0.8]), 0, 0);
    assert_eq!(cache.cache(), column(&[0.0, 3.0, 1.5]));
    let probabilities = cache.cache_probabilities.as_ref().expect("compressed");
    assert_eq!(probabilities, column(&[0.9, 0.8, 0.0]));
    // Silence at 10 moves the mean to (2 * 1.5 + 10) / 3; frames of the cache are compared by
    // their probability at the last compression, not by the new 0.0.
    let probabilities = column(&[0.0, 0.0, 0.0, 0.1, 0.95]);
    cache.update(column(&[10.0, 20.0]), probabilities, 0, 0);
    assert_eq!(cache.cache().nrows(), 3);
    assert_eq!(cache.cache().column(0).to_vec()[..2], [0.0, 20.0]);
    assert!((cache.cache()[(2, 0)] - 13.0 / 3.0).abs() < 1e-5);
}

#[derive(serde::Deserialize)]
struct Update {
    step: usize,
    cache: Vec<i64>,
    fifo_frames: usize,
}

/// A file of `tools/reference/speaker_cache.py`, where the numbers are explained.
#[derive(serde::Deserialize)]
struct Scenario {
    cache: usize,
    fifo: usize,
    chunk: usize,
    right: usize,
    update: usize,
    steps: usize,
    updates: Vec<Update>,
}

const SILENCE: i64 = -1;

fn recorded_probability(frame: i64, speaker: i64, step: usize) -> f32 {
    let mixed = |a: i64, b: u32| {
        let a = (a as u32).wrapping_mul(2_654_435_761);
        let b = b.wrapping_mul(2_246_822_519);
        let value = a.wrapping_add(b).wrapping_add(374_761_393);
        (value ^ (value >> 15)).wrapping_mul(2_246_822_519) >> 16
    };
    let chance = mixed(frame * 8 + speaker, step as u32 / 10);
    let speaks = (frame / 37) % 9 == speaker || (frame % 5 == 0 && (frame / 53) % 8 == speaker);
    let sixty_fourths = match frame {
        SILENCE => chance % 4,
        _ if speaks => 36 + chance % 28,
        _ => chance % 20,
    };
    sixty_fourths as f32 / 64.0
}

#[test]
fn cache_of_version_3_holds_the_frames_that_nemo_keeps() {
    let text = include_str!("../../../../../testdata/speaker-cache.json");
    let scenarios: Vec<Scenario> = serde_json::from_str(text).expect("scenarios");
    assert!(scenarios.len() > 4);
    for scenario in scenarios {
        let learned =
            Compression { learned_silence: Some(vec![SILENCE as f32; 2]), ..one_silence() };
        let point = point(scenario.cache, scenario.fifo, scenario.update);
        let mut cache = SpeakerCache::new(8, 2, point, learned).expect("valid");
        let mut updates = scenario.updates.iter();
        for step in 0..scenario.steps {
            let start = step * scenario.chunk;
            let chunk = start..start + scenario.chunk + scenario.right;
            let embeddings =
                Array2::from_shape_fn((chunk.len(), 2), |(row, _)| (chunk.start + row) as f32);
            let rows = concatenate![Axis(0), cache.cache(), cache.fifo(), embeddings];
            let probabilities = Array2::from_shape_fn((rows.nrows(), 8), |(row, speaker)| {
                recorded_probability(rows[(row, 0)] as i64, speaker as i64, step)
            });
            let before = cache.fifo().nrows();
            let found = cache.update(embeddings.view(), probabilities.view(), 0, scenario.right);
            assert_eq!(found.dim(), (scenario.chunk, 8));
            if cache.fifo().nrows() == before + scenario.chunk {
                continue;
            }
            let expected = updates.next().expect("as many updates as NeMo");
            assert_eq!(step, expected.step, "chunks of {}", scenario.chunk);
            let kept: Vec<i64> =
                cache.cache().column(0).iter().map(|&frame| frame as i64).collect();
            assert_eq!(kept, expected.cache, "chunks of {}, step {step}", scenario.chunk);
            assert_eq!(cache.fifo().nrows(), expected.fifo_frames);
        }
        assert!(updates.next().is_none(), "as many updates as NeMo");
    }
}

#[test]
fn eight_speakers_share_the_cache() {
    let speakers = 8;
    let mut cache =
        SpeakerCache::new(speakers, 2, point(64, 8, 8), Compression::default()).expect("valid");
    let mut frame = 0;
    for _ in 0..40 {
        let known = concatenate![Axis(0), cache.cache(), cache.fifo()];
        let mut probabilities = Array2::from_elem((known.nrows() + 8, speakers), 0.05);
        // A network that recognizes the frames of the cache.
        for (i, embedding) in known.rows().into_iter().enumerate() {
            if embedding[1] > 0.0 {
                probabilities[(i, embedding[0] as usize)] = 0.9;
            }
        }
        let mut embeddings = Array2::zeros((8, 2));
        for i in 0..8 {
            let speaker = (frame / 16) % speakers;
            probabilities[(known.nrows() + i, speaker)] = 0.9;
            embeddings.row_mut(i).assign(&aview1(&[speaker as f32, frame as f32]));
            frame += 1;
        }
        cache.update(embeddings.view(), probabilities.view(), 0, 0);
    }
    assert_eq!(cache.cache().nrows(), 64);
    let speaking = cache
        .cache()
        .rows()
        .into_iter()
        .filter(|e| e[1] > 0.0)
        .map(|e| e[0] as usize)
        .collect::<std::collections::BTreeSet<_>>();
    assert_eq!(speaking.len(), speakers, "every speaker keeps a place");
}

#[test]
fn small_cache_is_refused() {
    let error = SpeakerCache::new(8, 4, point(31, 8, 8), Compression::default()).err();
    assert!(error.is_some_and(|e| e.to_string().contains("at least 32 frames for 8 speakers")));
}

#[test]
fn learned_silence_replaces_the_mean() {
    let learned = Compression { learned_silence: Some(vec![7.0]), ..one_silence() };
    let mut cache = SpeakerCache::new(1, 1, point(3, 0, 4), learned).expect("valid");
    cache.update(numbered(0..4).view(), column(&[0.9, 0.1, 0.1, 0.8]), 0, 0);
    assert_eq!(cache.cache(), column(&[0.0, 3.0, 7.0]));
}
