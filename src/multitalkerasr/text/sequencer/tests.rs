// SPDX-License-Identifier: MPL-2.0

use super::*;
use crate::multitalkerasr::text::clock::{Clock, Dated};
use crate::multitalkerasr::text::identities::Person;
use multitalker_asr::{Event, Progress, Segment, Word};

/// Samples per millisecond.
const MS: u64 = 16;

/// A sequencer, and the clock of 10 s of audio.
struct Bench {
    sequencer: Sequencer,
    clock: Clock,
    speaker_prefix: &'static str,
    now_ms: Option<u64>,
}

impl Bench {
    fn new(unit: TextUnit) -> Self {
        gst::init().expect("GStreamer");
        let mut clock = Clock::default();
        clock.timeline.start(gst::ClockTime::ZERO);
        clock.timeline.advance(10_000 * MS as usize);
        let sequencer = Sequencer::new(unit, Rules::default());
        Self { sequencer, clock, speaker_prefix: "", now_ms: None }
    }

    fn conditions(&self) -> Conditions<'static> {
        let now = self.now_ms.map(gst::ClockTime::from_mseconds);
        Conditions { now, speaker_prefix: self.speaker_prefix }
    }

    /// Adds the events, with words and segments complete up to `until_ms`.
    fn add(&mut self, events: Vec<Event>, until_ms: u64) -> Vec<String> {
        let utterances: Vec<_> = events
            .into_iter()
            .map(|event| match self.clock.date(event, "", |_, _| Person::default()) {
                Dated::Words(utterance) => Arc::new(utterance),
                other => panic!("{other:?}"),
            })
            .collect();
        let until = until_ms * MS;
        let progress = Progress { decoded: until, words: until, segments: until };
        let horizon = self.clock.horizon(progress);
        let conditions = self.conditions();
        self.sequencer.add(&utterances, horizon, conditions).iter().map(describe).collect()
    }

    fn drain(&mut self) -> Vec<String> {
        let (start, end) = (self.clock.timeline.pts(0), self.clock.timeline.end());
        let conditions = self.conditions();
        self.sequencer.drain(start, end, conditions).iter().map(describe).collect()
    }
}

fn describe(push: &Push) -> String {
    match push {
        Push::Text(Text { prefix, utterance, layout, pts, duration }) => {
            let text = match layout {
                Some(layout) => {
                    layout.lines.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("|")
                }
                None => prefix.clone() + &utterance.text(),
            };
            format!("{text}@{}+{}", pts.mseconds(), duration.mseconds())
        }
        Push::Gap { pts, duration } => format!("gap@{}+{}", pts.mseconds(), duration.mseconds()),
        Push::SpeakerChange(speaker) => format!("speaker {speaker}"),
        Push::SegmentEnd => "final".to_owned(),
    }
}

fn word(text: &str, start_ms: u64, end_ms: u64) -> Word {
    Word {
        text: text.to_owned(),
        start_sample: start_ms * MS,
        end_sample: end_ms * MS,
        confidence: 0.5,
        is_filtered: false,
    }
}

fn spoken(speaker: usize, text: &str, start_ms: u64, end_ms: u64) -> Event {
    Event::Word { speaker, word: word(text, start_ms, end_ms) }
}

#[test]
fn words_wait_for_those_before_them() {
    let mut bench = Bench::new(TextUnit::Word);
    let events = vec![spoken(0, "a", 100, 200), spoken(0, "c", 300, 400)];
    assert!(bench.add(events, 0).is_empty());
    assert_eq!(
        bench.add(vec![spoken(1, "b", 150, 350)], 250),
        ["gap@0+100", "speaker 0", "a@100+100", "speaker 1", "b@150+200"]
    );
    assert_eq!(bench.add(vec![], 500), ["speaker 0", "c@300+100", "gap@400+100"]);
}

#[test]
fn words_that_begin_together_are_all_emitted() {
    let mut bench = Bench::new(TextUnit::Word);
    let events = vec![spoken(0, "a", 0, 80), spoken(0, "b", 0, 80), spoken(1, "c", 0, 80)];
    assert_eq!(bench.add(events, 80), ["speaker 0", "a@0+80", "b@0+80", "speaker 1", "c@0+80"]);
}

#[test]
fn segment_end_follows_the_last_word() {
    let segment = |speaker, word| Event::Segment(Segment { speaker, words: vec![word] });
    let mut bench = Bench::new(TextUnit::Word);
    let events = vec![
        spoken(0, "a", 0, 80),
        segment(0, word("a", 0, 80)),
        spoken(1, "b", 80, 160),
        spoken(0, "c", 160, 240),
    ];
    assert_eq!(bench.add(events, 160), ["speaker 0", "a@0+80", "final", "speaker 1", "b@80+80"]);
    // The last word is out, and its speaker is the current one.
    assert_eq!(bench.add(vec![segment(1, word("b", 80, 160))], 160), ["final"]);
    assert_eq!(bench.drain()[..2], ["speaker 0", "c@160+80"]);
    let late = vec![segment(1, word("b", 80, 160))];
    assert!(bench.add(late, 160).is_empty(), "another speaker is current");
}

#[test]
fn late_word_does_not_go_back() {
    let mut bench = Bench::new(TextUnit::Word);
    bench.add(vec![spoken(0, "a", 500, 600)], 600);
    assert_eq!(bench.add(vec![spoken(0, "b", 400, 450)], 600), ["b@500+80"]);
    assert_eq!(bench.add(vec![], 700), ["gap@600+100"]);
}

#[test]
fn word_after_a_jump_back_does_not_go_behind_a_gap() {
    for speaker in [None, Some(0)] {
        let mut bench = Bench::new(TextUnit::Word);
        if let Some(speaker) = speaker {
            bench.sequencer = bench.sequencer.for_speaker(Speaker::new(speaker));
        }
        assert_eq!(bench.add(vec![], 1000), ["gap@0+1000"]);
        let pushed = bench.add(vec![spoken(0, "a", 400, 450), spoken(0, "b", 500, 600)], 600);
        let texts: Vec<_> = pushed.iter().filter(|push| push.contains('@')).collect();
        assert_eq!(texts, ["a@1000+80", "b@1000+80"]);
    }
}

#[test]
fn prefix_precedes_the_first_word_after_a_change() {
    let mut bench = Bench::new(TextUnit::Word);
    bench.speaker_prefix = "{n}: ";
    let events = vec![spoken(2, "a", 0, 80), spoken(2, "b", 80, 160)];
    assert_eq!(bench.add(events, 160), ["speaker 2", "3: a@0+80", "b@80+80"]);
}

#[test]
fn pad_of_one_speaker_has_its_words_alone() {
    let mut bench = Bench::new(TextUnit::Word);
    bench.sequencer = bench.sequencer.for_speaker(Speaker::new(1));
    let segment = Event::Segment(Segment { speaker: 0, words: vec![word("a", 0, 80)] });
    let events = vec![spoken(0, "a", 0, 80), spoken(1, "b", 80, 160), segment];
    assert_eq!(bench.add(events, 240), ["gap@0+80", "speaker 1", "b@80+80", "gap@160+80"]);
    let segment = Event::Segment(Segment { speaker: 1, words: vec![word("b", 80, 160)] });
    assert_eq!(bench.add(vec![segment], 240), ["final"]);
    assert_eq!(bench.add(vec![spoken(0, "c", 240, 320)], 320), ["gap@240+80"]);
}

#[test]
fn pad_that_comes_later_begins_where_the_others_are() {
    let mut bench = Bench::new(TextUnit::Segment);
    let segment = |speaker, text, start_ms, end_ms| {
        Event::Segment(Segment { speaker, words: vec![word(text, start_ms, end_ms)] })
    };
    assert_eq!(bench.add(vec![], 200), ["gap@0+200"]);
    // These wait for another speaker, whose segment goes on.
    let waiting = vec![segment(0, "a", 240, 320), segment(1, "b", 240, 400)];
    assert_eq!(bench.add(waiting, 200), [""; 0]);
    bench.sequencer = bench.sequencer.for_speaker(Speaker::new(1));
    assert_eq!(
        bench.add(vec![segment(1, "c", 160, 200)], 480),
        ["speaker 1", "c@200+80", "final", "b@240+160", "final", "gap@400+80"]
    );
}

#[test]
fn desynchronized_text_has_the_time_of_now() {
    let mut bench = Bench::new(TextUnit::Word);
    bench.now_ms = Some(3000);
    let events = vec![spoken(0, "a", 0, 80), spoken(0, "b", 160, 400)];
    assert_eq!(bench.add(events, 500), ["gap@0+3000", "speaker 0", "a@3000+80", "b@3000+240"]);
    bench.now_ms = Some(4000);
    assert_eq!(bench.add(vec![], 500), ["gap@3240+760"]);
}

/// A bench for cues, whose delay is 7 s and 80 ms.
fn cue_bench() -> Bench {
    let mut bench = Bench::new(TextUnit::Cue);
    bench.clock.timeline.advance(50_000 * MS as usize);
    bench
}

#[test]
fn cues_come_once_nothing_can_change_them() {
    let mut bench = cue_bench();
    bench.speaker_prefix = "{name}: ";
    let events = vec![spoken(0, "it", 1000, 1100), spoken(0, "rains", 1200, 1500)];
    assert_eq!(bench.add(events, 8000), ["gap@0+1000"]);
    // The word itself is out, and its mark follows.
    let words = vec![word("it", 1000, 1100), word("rains.", 1200, 1500)];
    assert!(bench.add(vec![Event::Segment(Segment { speaker: 0, words })], 8079).is_empty());
    assert_eq!(
        bench.add(vec![spoken(1, "yes", 8100, 8500)], 8080),
        ["speaker 0", "Speaker 1: it rains.@1000+1000", "final", "gap@2000+6080"]
    );
    assert_eq!(
        bench.drain(),
        ["gap@8080+20", "speaker 1", "Speaker 2: yes@8100+1000", "final", "gap@9100+50900"]
    );
}

#[test]
fn cues_of_people_at_once_overlap() {
    let mut bench = cue_bench();
    let say = |speaker, start_ms| {
        let texts = ["the", "storm", "is", "over", "in", "boston"];
        texts.into_iter().zip(0_u64..).map(move |(text, index)| {
            spoken(speaker, text, start_ms + 400 * index, start_ms + 400 * index + 300)
        })
    };
    bench.add(say(0, 0).chain(say(1, 1000)).collect(), 4000);
    let mut pad = bench.sequencer.for_speaker(Speaker::new(1));
    assert_eq!(
        bench.drain()[..6],
        [
            "speaker 0",
            "the storm is over in boston@0+2800",
            "final",
            "speaker 1",
            "the storm is over in boston@1000+2800",
            "final",
        ]
    );
    let conditions = bench.conditions();
    let own: Vec<_> = pad
        .drain(gst::ClockTime::ZERO, gst::ClockTime::ZERO, conditions)
        .iter()
        .map(describe)
        .collect();
    assert_eq!(own, ["gap@0+1000", "speaker 1", "the storm is over in boston@1000+2800", "final"]);
}

#[test]
fn cues_of_text_that_may_lag_begin_now() {
    let mut bench = cue_bench();
    bench.now_ms = Some(9000);
    let found = bench.add(vec![spoken(0, "hello", 1000, 1400)], 8080);
    assert_eq!(found, ["gap@0+9000", "speaker 0", "hello@9000+1000", "final"]);
}
