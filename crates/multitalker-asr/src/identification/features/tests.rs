// SPDX-License-Identifier: MPL-2.0

//! Comparison with the frameworks' own features of one second of speech
//! (`tools/reference/speaker_embeddings.py`).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Expected {
    start: usize,
    samples: usize,
    features: BTreeMap<String, Frames>,
}

/// Some of the frames.
#[derive(Deserialize)]
struct Frames {
    count: usize,
    rows: BTreeMap<usize, Vec<f32>>,
}

#[test]
fn features_equal_those_of_the_frameworks() {
    let folder = test_support::data();
    let text = std::fs::read_to_string(folder.join("speaker-embedding/expected.json"));
    let expected: Expected =
        serde_json::from_str(&text.expect("readable")).expect("the layout of the script");
    let audio = test_support::read_wav(&folder.join("audio/jfk.wav"));
    let audio = &audio[expected.start..expected.start + expected.samples];
    // The logarithm magnifies the rounding errors of 32 bits where there is little energy; torchaudio
    // and kaldi-native-fbank differ by 0.0025. Resemblyzer's powers reach 28.
    for (name, features, tolerance) in [
        (
            "wespeaker",
            Features::Kaldi(KaldiFilterbank::new(80, KaldiWindow::Hamming, true, true)),
            5e-4,
        ),
        (
            "3d-speaker",
            Features::Kaldi(KaldiFilterbank::new(80, KaldiWindow::Povey, false, true)),
            5e-4,
        ),
        ("speakernet", Features::Nemo(NemoFilterbank::new(64, 320, 160, true)), 2e-4),
        ("titanet", Features::Nemo(NemoFilterbank::new(80, 400, 160, true)), 2e-4),
        ("resemblyzer", Features::Resemblyzer(ResemblyzerFilterbank::new(40)), 2e-5),
    ] {
        let found = features.compute(audio);
        let Frames { count, rows } = &expected.features[name];
        assert_eq!(found.nrows(), *count, "frames of {name}");
        let mut worst = 0.0_f32;
        for (&row, expected) in rows {
            assert_eq!(found.ncols(), expected.len(), "mel bins of {name}");
            let differences = found
                .row(row)
                .into_iter()
                .zip(expected)
                .map(|(found, expected)| (found - expected).abs());
            worst = differences.fold(worst, f32::max);
        }
        assert!(worst < tolerance, "{name}: {worst} exceeds {tolerance}");
    }
}

#[test]
fn what_is_not_finite_counts_as_zero() {
    let odd = [0.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30];
    assert_eq!(*bounded(&odd), [0.5, 0.0, 0.0, 0.0, MAX_AMPLITUDE, -MAX_AMPLITUDE]);
    let mut audio = vec![0.1; 8000];
    audio[4000..4006].copy_from_slice(&odd);
    for features in [
        Features::Kaldi(KaldiFilterbank::new(80, KaldiWindow::Hamming, true, true)),
        Features::Nemo(NemoFilterbank::new(80, 400, 160, true)),
        Features::Resemblyzer(ResemblyzerFilterbank::new(40)),
    ] {
        assert!(features.compute(&audio).iter().all(|value| value.is_finite()));
    }
}
