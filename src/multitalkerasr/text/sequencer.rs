// SPDX-License-Identifier: MPL-2.0

//! Words and segments of all speakers to one sequence of buffers and events.

use std::collections::BTreeMap;

use crate::multitalkerasr::input::timeline::Timeline;
use crate::multitalkerasr::properties::enums::TextUnit;
use crate::multitalkerasr::properties::settings::LiveSettings;
use crate::multitalkerasr::text::format::Text;
use crate::multitalkerasr::text::utterance::{Kind, Utterance};
use multitalker_asr::{Event, Progress, Segment, Word};

/// What is still said of a word that began before the one last told.
const MIN_DURATION: gst::ClockTime = gst::ClockTime::from_mseconds(80);

/// One thing to push.
#[derive(Debug)]
pub enum Push {
    /// From the source pad.
    Text(Text),
    /// From the source pad.
    Downstream(gst::Event),
    /// From the sink pad.
    Upstream(gst::Event),
}

/// What times and texts depend on.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Of the audio that the engine counts.
    pub timeline: &'a Timeline,
    /// Segment of the audio.
    pub in_segment: &'a gst::FormattedSegment<gst::ClockTime>,
    /// Segment of the text.
    pub out_segment: &'a gst::FormattedSegment<gst::ClockTime>,
    /// Those of now.
    pub settings: &'a LiveSettings,
    /// Whether the source is live.
    pub live: bool,
    /// Where text is desynchronized, the PTS of now, before which nothing goes out any more.
    pub now: Option<gst::ClockTime>,
}

impl Context<'_> {
    /// When a sample is heard in its segment, beyond which the last word can reach, since it ends
    /// with a frame of 80 ms.
    pub fn stream_time(&self, sample: u64) -> Option<gst::ClockTime> {
        let pts = self.timeline.pts(sample);
        let pts = self.in_segment.stop().map_or(pts, |stop| pts.min(stop));
        self.in_segment.to_stream_time(pts)
    }

    fn not_before_now(&self, pts: gst::ClockTime) -> gst::ClockTime {
        self.now.map_or(pts, |now| pts.max(now))
    }
}

/// Text that waits until no earlier one can come.
#[derive(Clone, Debug)]
struct Pending {
    words: Vec<Word>,
    ends_segment: bool,
}

/// Sequence of what goes out of a source pad.
#[derive(Debug)]
pub struct Sequencer {
    unit: TextUnit,
    /// Whose text this is; everybody's without.
    speaker: Option<usize>,
    /// By start sample, speaker and order of arrival.
    waiting: BTreeMap<(u64, usize, u64), Pending>,
    arrivals: u64,
    /// Speaker of the last buffer.
    current_speaker: Option<usize>,
    /// PTS before which nothing may come any more: of the last buffer, or the end of the last gap.
    earliest: Option<gst::ClockTime>,
    /// Time up to which buffers and gaps reach.
    position: Option<gst::ClockTime>,
}

impl Sequencer {
    /// The text of everybody, from where the audio begins.
    pub fn new(unit: TextUnit) -> Self {
        Self {
            unit,
            speaker: None,
            waiting: BTreeMap::new(),
            arrivals: 0,
            current_speaker: None,
            earliest: None,
            position: None,
        }
    }

    /// The text of one speaker, from where this of everybody is now.
    pub fn for_speaker(&self, speaker: usize) -> Self {
        let own = self.waiting.iter().filter(|((_, of, _), _)| *of == speaker);
        Self {
            unit: self.unit,
            speaker: Some(speaker),
            waiting: own.map(|(key, pending)| (*key, pending.clone())).collect(),
            arrivals: self.arrivals,
            current_speaker: None,
            earliest: self.earliest,
            position: self.earliest,
        }
    }

    /// Whose text this is; everybody's without.
    pub fn speaker(&self) -> Option<usize> {
        self.speaker
    }

    /// Forgets all, as after a flush or before another segment.
    pub fn clear(&mut self) {
        *self = Self { speaker: self.speaker, ..Self::new(self.unit) };
    }

    /// Takes what the engine told and gives what can go out.
    pub fn accept(&mut self, outputs: &[Event], progress: Progress, context: Context) -> Vec<Push> {
        let mut pushes = Vec::new();
        for output in outputs {
            match output {
                Event::Word { speaker, word } if self.unit == TextUnit::Word => {
                    self.wait(*speaker, vec![word.clone()], false);
                }
                Event::Segment(segment) => self.end_segment(segment, &mut pushes),
                Event::Word { .. } | Event::Partial(_) => (),
            }
        }
        let limit = match self.unit {
            TextUnit::Word => progress.words,
            TextUnit::Segment => progress.segments,
        };
        self.release(limit, context, &mut pushes);
        let limit = context.not_before_now(context.timeline.pts(limit));
        self.advance(context.timeline.pts(0), limit, &mut pushes);
        pushes
    }

    /// Gives all that waits, at the end of a stretch of audio.
    pub fn drain(&mut self, context: Context) -> Vec<Push> {
        let mut pushes = Vec::new();
        self.release(u64::MAX, context, &mut pushes);
        self.advance(context.timeline.pts(0), context.timeline.end(), &mut pushes);
        // Those of the next stretch are counted anew.
        self.current_speaker = None;
        pushes
    }

    /// Gives a gap over the time before `to` that nothing reaches to; it begins at `from` if
    /// nothing went out yet.
    pub fn advance(&mut self, from: gst::ClockTime, to: gst::ClockTime, pushes: &mut Vec<Push>) {
        let position = self.position.unwrap_or(from);
        if to > position {
            pushes.push(Push::Downstream(
                gst::event::Gap::builder(position).duration(to - position).build(),
            ));
            self.position = Some(to);
            self.earliest = Some(to);
        }
    }

    fn wait(&mut self, speaker: usize, words: Vec<Word>, ends_segment: bool) {
        if self.speaker.is_some_and(|own| own != speaker) {
            return;
        }
        let Some(start) = words.first().map(|word| word.start_sample) else { return };
        self.waiting.insert((start, speaker, self.arrivals), Pending { words, ends_segment });
        self.arrivals += 1;
    }

    fn end_segment(&mut self, segment: &Segment, pushes: &mut Vec<Push>) {
        match self.unit {
            TextUnit::Segment => self.wait(segment.speaker, segment.words.clone(), true),
            TextUnit::Word => {
                let Some(last_word) = segment.words.last() else { return };
                let key = |arrival| (last_word.start_sample, segment.speaker, arrival);
                match self.waiting.range_mut(key(0)..=key(u64::MAX)).next_back() {
                    Some((_, pending)) => pending.ends_segment = true,
                    None if self.current_speaker == Some(segment.speaker) => {
                        pushes.push(final_transcript());
                    }
                    None => (),
                }
            }
        }
    }

    fn release(&mut self, limit: u64, context: Context, pushes: &mut Vec<Push>) {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 >= limit {
                break;
            }
            let ((start, speaker, _), pending) = entry.remove_entry();
            self.tell(speaker, start, pending, context, pushes);
        }
    }

    fn tell(
        &mut self,
        speaker: usize,
        start_sample: u64,
        pending: Pending,
        context: Context,
        pushes: &mut Vec<Push>,
    ) {
        let start = context.not_before_now(context.timeline.pts(start_sample));
        let pts = self.earliest.map_or(start, |earliest| start.max(earliest));
        let end_sample = pending.words.last().map_or(start_sample, |word| word.end_sample);
        let spoken_end = context.timeline.pts(end_sample);
        let duration = match context.now {
            Some(_) => spoken_end.saturating_sub(context.timeline.pts(start_sample)),
            None => spoken_end.saturating_sub(pts),
        };
        let duration = if duration.is_zero() { MIN_DURATION } else { duration };
        let end = pts.saturating_add(duration);
        let utterance = Utterance::new(speaker, &pending.words, context);

        self.advance(context.timeline.pts(0), pts, pushes);
        let is_change = self.current_speaker != Some(speaker);
        if is_change {
            pushes.push(Push::Downstream(gst::event::CustomDownstream::new(
                gst::Structure::builder("rstranscribe/speaker-change")
                    .field("speaker", speaker.to_string())
                    .build(),
            )));
        }
        // Upstream hears of it from everybody's pad.
        if self.speaker.is_none()
            && let Some(running_time) = context.out_segment.to_running_time(pts)
        {
            pushes.push(Push::Upstream(gst::event::CustomUpstream::new(
                gst::Structure::builder("rstranscribe/new-item")
                    .field("speaker", speaker.to_string())
                    .field("content", utterance.text())
                    .field("running-time", running_time)
                    .field("duration", duration)
                    .build(),
            )));
        }
        let (kind, has_prefix) = match self.unit {
            TextUnit::Word => (Kind::Word, is_change),
            TextUnit::Segment => (Kind::Segment, true),
        };
        let prefix = match has_prefix {
            true => prefix(&context.settings.speaker_prefix, speaker),
            false => String::new(),
        };
        pushes.push(Push::Text(Text { kind, utterance, prefix, pts, duration }));
        if pending.ends_segment {
            pushes.push(final_transcript());
        }
        self.current_speaker = Some(speaker);
        self.earliest = Some(pts);
        self.position = Some(self.position.map_or(end, |position| position.max(end)));
    }
}

fn final_transcript() -> Push {
    Push::Downstream(gst::event::CustomDownstream::new(gst::Structure::new_empty(
        "rstranscribe/final-transcript",
    )))
}

/// The template with the number that people call a speaker by.
fn prefix(template: &str, speaker: usize) -> String {
    template.replace("{n}", &(speaker + 1).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use multitalker_asr::Word;

    /// Samples of 1 ms.
    const MS: u64 = 16;

    struct Bench {
        sequencer: Sequencer,
        timeline: Timeline,
        settings: LiveSettings,
        now: Option<gst::ClockTime>,
    }

    impl Bench {
        fn new(unit: TextUnit) -> Self {
            gst::init().expect("GStreamer");
            let mut timeline = Timeline::default();
            timeline.start(gst::ClockTime::ZERO);
            timeline.advance(10_000 * MS as usize);
            Self {
                sequencer: Sequencer::new(unit),
                timeline,
                settings: LiveSettings::default(),
                now: None,
            }
        }

        /// Gives the outputs, with words and segments known up to `until_ms`.
        fn accept(&mut self, outputs: Vec<Event>, until_ms: u64) -> Vec<String> {
            let segment = gst::FormattedSegment::new();
            let context = Context {
                timeline: &self.timeline,
                in_segment: &segment,
                out_segment: &segment,
                settings: &self.settings,
                live: false,
                now: self.now,
            };
            let until = until_ms * MS;
            let progress = Progress { decoded: until, words: until, segments: until };
            let pushes = self.sequencer.accept(&outputs, progress, context);
            pushes.iter().map(describe).collect()
        }

        fn drain(&mut self) -> Vec<String> {
            let segment = gst::FormattedSegment::new();
            let context = Context {
                timeline: &self.timeline,
                in_segment: &segment,
                out_segment: &segment,
                settings: &self.settings,
                live: false,
                now: self.now,
            };
            self.sequencer.drain(context).iter().map(describe).collect()
        }
    }

    fn describe(push: &Push) -> String {
        match push {
            Push::Text(Text { prefix, utterance, pts, duration, .. }) => {
                format!("{prefix}{}@{}+{}", utterance.text(), pts.mseconds(), duration.mseconds())
            }
            Push::Downstream(event) => match event.view() {
                gst::EventView::Gap(gap) => {
                    let (pts, duration) = gap.get();
                    let duration = duration.expect("a duration");
                    format!("gap@{}+{}", pts.mseconds(), duration.mseconds())
                }
                _ => {
                    let structure = event.structure().expect("custom");
                    match structure.get::<&str>("speaker") {
                        Ok(speaker) => format!("speaker {speaker}"),
                        Err(_) => "final".to_owned(),
                    }
                }
            },
            Push::Upstream(_) => "item".to_owned(),
        }
    }

    fn word(text: &str, start_ms: u64, end_ms: u64) -> Word {
        Word {
            text: text.to_owned(),
            start_sample: start_ms * MS,
            end_sample: end_ms * MS,
            confidence: 0.5,
        }
    }

    fn said(speaker: usize, text: &str, start_ms: u64, end_ms: u64) -> Event {
        Event::Word { speaker, word: word(text, start_ms, end_ms) }
    }

    #[test]
    fn words_wait_for_those_before_them() {
        let mut bench = Bench::new(TextUnit::Word);
        let outputs = vec![said(0, "a", 100, 200), said(0, "c", 300, 400)];
        assert!(bench.accept(outputs, 0).is_empty());
        assert_eq!(
            bench.accept(vec![said(1, "b", 150, 350)], 250),
            ["gap@0+100", "speaker 0", "item", "a@100+100", "speaker 1", "item", "b@150+200"]
        );
        assert_eq!(bench.accept(vec![], 500), ["speaker 0", "item", "c@300+100", "gap@400+100"]);
    }

    #[test]
    fn words_that_begin_together_are_all_told() {
        let mut bench = Bench::new(TextUnit::Word);
        let outputs = vec![said(0, "a", 0, 80), said(0, "b", 0, 80), said(1, "c", 0, 80)];
        assert_eq!(
            bench.accept(outputs, 80),
            ["speaker 0", "item", "a@0+80", "item", "b@0+80", "speaker 1", "item", "c@0+80"]
        );
    }

    #[test]
    fn end_of_a_segment_is_told_after_its_last_word() {
        let segment = |speaker, word| Event::Segment(Segment { speaker, words: vec![word] });
        let mut bench = Bench::new(TextUnit::Word);
        let outputs = vec![
            said(0, "a", 0, 80),
            segment(0, word("a", 0, 80)),
            said(1, "b", 80, 160),
            said(0, "c", 160, 240),
        ];
        assert_eq!(
            bench.accept(outputs, 160),
            ["speaker 0", "item", "a@0+80", "final", "speaker 1", "item", "b@80+80"]
        );
        // The end of a segment whose last word is out: told if its speaker is the current one.
        assert_eq!(bench.accept(vec![segment(1, word("b", 80, 160))], 160), ["final"]);
        assert_eq!(bench.drain()[..3], ["speaker 0", "item", "c@160+80"]);
        let late = vec![segment(1, word("b", 80, 160))];
        assert!(bench.accept(late, 160).is_empty(), "its speaker is not");
    }

    #[test]
    fn late_word_is_told_without_going_back() {
        let mut bench = Bench::new(TextUnit::Word);
        bench.accept(vec![said(0, "a", 500, 600)], 600);
        assert_eq!(bench.accept(vec![said(0, "b", 400, 450)], 600), ["item", "b@500+80"]);
        assert_eq!(bench.accept(vec![], 700), ["gap@600+100"]);
    }

    #[test]
    fn word_after_a_jump_back_does_not_go_behind_a_gap() {
        for speaker in [None, Some(0)] {
            let mut bench = Bench::new(TextUnit::Word);
            if let Some(speaker) = speaker {
                bench.sequencer = bench.sequencer.for_speaker(speaker);
            }
            assert_eq!(bench.accept(vec![], 1000), ["gap@0+1000"]);
            let told = bench.accept(vec![said(0, "a", 400, 450), said(0, "b", 500, 600)], 600);
            let texts: Vec<_> = told.iter().filter(|told| told.contains('@')).collect();
            assert_eq!(texts, ["a@1000+80", "b@1000+80"]);
        }
    }

    #[test]
    fn prefix_counts_from_one() {
        let mut bench = Bench::new(TextUnit::Word);
        bench.settings.speaker_prefix = "{n}/{n}: ".to_owned();
        let outputs = vec![said(2, "a", 0, 80), said(2, "b", 80, 160)];
        let told = bench.accept(outputs, 160);
        assert_eq!(told, ["speaker 2", "item", "3/3: a@0+80", "item", "b@80+80"]);
    }

    #[test]
    fn pad_of_one_speaker_has_its_words_alone() {
        let mut bench = Bench::new(TextUnit::Word);
        bench.sequencer = bench.sequencer.for_speaker(1);
        let segment = Event::Segment(Segment { speaker: 0, words: vec![word("a", 0, 80)] });
        let outputs = vec![said(0, "a", 0, 80), said(1, "b", 80, 160), segment];
        assert_eq!(bench.accept(outputs, 240), ["gap@0+80", "speaker 1", "b@80+80", "gap@160+80"]);
        let segment = Event::Segment(Segment { speaker: 1, words: vec![word("b", 80, 160)] });
        assert_eq!(bench.accept(vec![segment], 240), ["final"]);
        assert_eq!(bench.accept(vec![said(0, "c", 240, 320)], 320), ["gap@240+80"]);
    }

    #[test]
    fn pad_that_comes_later_begins_where_the_others_are() {
        let mut bench = Bench::new(TextUnit::Segment);
        let segment = |speaker, text, start_ms, end_ms| {
            Event::Segment(Segment { speaker, words: vec![word(text, start_ms, end_ms)] })
        };
        assert_eq!(bench.accept(vec![], 200), ["gap@0+200"]);
        // These wait for another speaker, whose segment goes on.
        let waiting = vec![segment(0, "a", 240, 320), segment(1, "b", 240, 400)];
        assert_eq!(bench.accept(waiting, 200), [""; 0]);
        bench.sequencer = bench.sequencer.for_speaker(1);
        assert_eq!(
            bench.accept(vec![segment(1, "c", 160, 200)], 480),
            ["speaker 1", "c@200+80", "final", "b@240+160", "final", "gap@400+80"]
        );
    }

    #[test]
    fn desynchronized_text_has_the_time_of_now() {
        let mut bench = Bench::new(TextUnit::Word);
        bench.now = Some(gst::ClockTime::from_mseconds(3000));
        let outputs = vec![said(0, "a", 0, 80), said(0, "b", 160, 400)];
        assert_eq!(
            bench.accept(outputs, 500),
            ["gap@0+3000", "speaker 0", "item", "a@3000+80", "item", "b@3000+240"]
        );
        bench.now = Some(gst::ClockTime::from_mseconds(4000));
        assert_eq!(bench.accept(vec![], 500), ["gap@3240+760"]);
    }
}
