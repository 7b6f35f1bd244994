// SPDX-License-Identifier: MPL-2.0

use std::time::Duration;

use multitalker_asr::SAMPLE_RATE_HZ;

use super::*;
use crate::multitalkerasr::properties::enums::OverloadPolicy;

const SECOND: usize = SAMPLE_RATE_HZ as usize;
const MAX_SAMPLES: usize = 100;

fn audio(pts: gst::ClockTime, samples: usize, live: bool) -> Audio {
    Audio { pts, samples: vec![0.0; samples], resync: false, live }
}

fn limit(max_samples: usize) -> Limit {
    Limit { max_samples, policy: OverloadPolicy::Drop }
}

/// Pushes audio of a source that is not live.
fn push(queue: &Queue, pts: gst::ClockTime, samples: usize) -> Result<(), gst::FlowError> {
    queue.push_audio(audio(pts, samples, false), limit(MAX_SAMPLES))
}

/// Pushes a second of live audio.
fn push_live(queue: &Queue, second: u64, max_samples: usize) {
    let audio = audio(gst::ClockTime::from_seconds(second), SECOND, true);
    queue.push_audio(audio, limit(max_samples)).expect("accepted");
}

fn event() -> gst::Event {
    gst::init().expect("GStreamer");
    gst::event::Eos::new()
}

fn is_audio(taken: Option<(Item, bool)>) -> Option<bool> {
    taken.map(|(item, _)| matches!(item, Item::Audio(_)))
}

fn queued_samples(queue: &Queue) -> usize {
    lock(&queue.state).samples
}

/// Describes an item with its times in whole seconds, or in milliseconds for a gap.
fn describe(item: Item) -> String {
    match item {
        Item::Audio(audio) => format!("audio {}", audio.pts.seconds()),
        Item::Dropped { start, end, cause } => {
            format!("dropped {}-{} {cause:?}", start.seconds(), end.seconds())
        }
        Item::Gap { start, end, is_short } => {
            format!("gap {}-{} {is_short}", start.mseconds(), end.mseconds())
        }
        Item::Event(_) => "event".to_owned(),
        Item::Pads => "pads".to_owned(),
        Item::Quiet => "quiet".to_owned(),
        Item::Panic => "panic".to_owned(),
    }
}

#[test]
fn order_is_kept() {
    let queue = Queue::new();
    push(&queue, gst::ClockTime::ZERO, 10).expect("accepted");
    assert_eq!(queue.push_event(event()), Ok(()));
    push(&queue, gst::ClockTime::ZERO, 10).expect("accepted");
    let taken: Vec<_> = (0..3).map(|_| is_audio(queue.take(None))).collect();
    assert_eq!(taken, [Some(true), Some(false), Some(true)]);
}

#[test]
fn audio_waits_for_room() {
    let queue = Queue::new();
    push(&queue, gst::ClockTime::ZERO, MAX_SAMPLES).expect("accepted");
    std::thread::scope(|scope| {
        let second = scope.spawn(|| push(&queue, gst::ClockTime::SECOND, 1));
        // Both come out, whichever thread is first.
        assert_eq!(is_audio(queue.take(None)), Some(true));
        assert_eq!(is_audio(queue.take(None)), Some(true));
        assert_eq!(second.join().expect("no panic"), Ok(()));
    });
}

#[test]
fn flush_drops_all_and_releases_those_who_wait() {
    let queue = Queue::new();
    push(&queue, gst::ClockTime::ZERO, MAX_SAMPLES).expect("accepted");
    assert_eq!(queue.push_event(event()), Ok(()));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| push(&queue, gst::ClockTime::SECOND, 1));
        queue.flush_start();
        assert_eq!(waiting.join().expect("no panic"), Err(gst::FlowError::Flushing));
    });
    assert!(queue.inference.is_canceled() && !queue.loading.is_canceled());
    assert_eq!(queue.push_event(event()), Err(gst::FlowError::Flushing));
    assert!(queue.flush_stop(|| true));
    push(&queue, gst::ClockTime::ZERO, 1).expect("accepted");
    let (item, flushed) = queue.take(None).expect("an item");
    assert!(matches!(item, Item::Audio(audio) if audio.samples.len() == 1) && flushed);
}

#[test]
fn flush_keeps_events_that_upstream_does_not_repeat() {
    gst::init().expect("GStreamer");
    let queue = Queue::new();
    let caps = gst::event::Caps::new(&gst::Caps::new_empty_simple("audio/x-raw"));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    for event in [event(), gst::event::StreamStart::new("id"), caps] {
        queue.push_event(event).expect("accepted");
    }
    queue.push_event(gst::event::Segment::new(&segment)).expect("accepted");
    queue.flush_start();
    queue.flush_stop(|| true);
    queue.push_event(gst::event::Segment::new(&segment)).expect("accepted");
    let taken = || match queue.take(None).expect("an item") {
        (Item::Event(event), flushed) => (event.type_(), flushed),
        other => panic!("{other:?}"),
    };
    assert_eq!(taken(), (gst::EventType::StreamStart, true));
    assert_eq!(taken(), (gst::EventType::Caps, false));
    assert_eq!(taken(), (gst::EventType::Segment, false));
    assert!(lock(&queue.state).items.is_empty());
}

#[test]
fn errors_of_downstream_end_with_a_flush_and_failures_do_not() {
    let queue = Queue::new();
    let push = || push(&queue, gst::ClockTime::ZERO, 1);
    let flush = || {
        queue.flush_start();
        queue.flush_stop(|| true);
    };
    queue.refuse_audio(gst::FlowError::Eos);
    assert_eq!(push(), Err(gst::FlowError::Eos));
    flush();
    assert_eq!(push(), Ok(()));
    queue.fail();
    flush();
    assert_eq!(push(), Err(gst::FlowError::Error));
    assert_eq!(queue.push_event(event()), Ok(()), "EOS passes");
}

#[test]
fn reset_of_the_engine_does_not_undo_a_new_cancellation() {
    let queue = Queue::new();
    queue.flush_start();
    queue.inference.rearm();
    queue.renew_cancellation();
    assert!(queue.inference.is_canceled());
}

#[test]
fn stopping_releases_the_worker() {
    let queue = Queue::new();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| queue.take(None).is_none());
        queue.stop();
        assert!(worker.join().expect("no panic"));
    });
    assert!(queue.loading.is_canceled() && queue.inference.is_canceled());
}

#[test]
fn live_audio_drops_the_oldest_and_leaves_its_time() {
    let queue = Queue::new();
    let push = |second| push_live(&queue, second, 4 * SECOND);
    assert_eq!(queue.push_event(event()), Ok(()), "stays");
    (0..11).for_each(push);
    assert_eq!(queue.push_event(event()), Ok(()));
    let mut taken = Vec::new();
    for _ in 0..6 {
        taken.push(describe(queue.take(None).expect("an item").0));
    }
    // The queue holds four seconds; each time it is full, two of them stay.
    assert_eq!(taken[..2], ["event", "dropped 0-8 Recognition"]);
    assert_eq!(taken[2..], ["audio 8", "audio 9", "audio 10", "event"]);
    assert_eq!(queued_samples(&queue), 0);

    // Time that the timestamps skip was not dropped.
    [100, 101, 50, 51, 52].into_iter().for_each(|second| push_live(&queue, second, 2 * SECOND));
    let dropped: Vec<_> = (0..2).map(|_| describe(queue.take(None).expect("an item").0)).collect();
    assert_eq!(dropped, ["dropped 100-102 Downstream", "dropped 50-51 Downstream"]);
    while queued_samples(&queue) > 0 {
        queue.take(None);
    }

    // A single buffer that is longer than the queue is accepted whole.
    let long = audio(gst::ClockTime::ZERO, 3 * SECOND, true);
    queue.push_audio(long, limit(SECOND)).expect("accepted");
    assert_eq!(queued_samples(&queue), 3 * SECOND);
}

#[test]
fn audio_that_waits_for_downstream_is_no_backlog() {
    let queue = Queue::new();
    let push = |second| push_live(&queue, second, 8 * SECOND);
    push(0);
    queue.take(None);
    // One second arrives while the worker computes, three while it pushes.
    queue.computing(|| push(1));
    (2..5).for_each(push);
    assert_eq!(queue.backlog_samples(), SECOND);
    // Downstream stays the cause of the backlog as long as it does not grow.
    for second in 5..7 {
        queue.take(None);
        queue.computing(|| push(second));
        assert_eq!(queue.backlog_samples(), SECOND);
    }
    queue.computing(|| push(7));
    assert_eq!(queue.backlog_samples(), 2 * SECOND);
    while queued_samples(&queue) > 0 {
        queue.take(None);
    }
    assert_eq!(queue.backlog_samples(), 0);

    // More than half of it arrived during the push.
    queue.computing(|| (10..13).for_each(push));
    (13..19).for_each(push);
    assert_eq!(describe(queue.take(None).expect("an item").0), "dropped 10-14 Downstream");
}

#[test]
fn quiet_comes_at_the_deadline_and_not_before() {
    let queue = Queue::new();
    let now = Instant::now;
    push(&queue, gst::ClockTime::ZERO, 1).expect("accepted");
    let take = |deadline| describe(queue.take(Some(deadline)).expect("an item").0);
    assert_eq!(take(now()), "audio 0");
    let deadline = now() + Duration::from_millis(20);
    assert_eq!(take(deadline), "quiet");
    assert!(now() >= deadline);
    // The worker discards flushed audio before it handles the silence.
    queue.flush_start();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| queue.take(Some(now())));
        queue.flush_stop(|| true);
        let taken = worker.join().expect("no panic");
        assert!(matches!(taken, Some((Item::Quiet, true))), "{taken:?}");
    });
}

#[test]
fn gaps_that_touch_are_one() {
    gst::init().expect("GStreamer");
    let queue = Queue::new();
    let gap = |start_ms: u64, duration_ms: u64| {
        let time = gst::ClockTime::from_mseconds;
        let event = gst::event::Gap::builder(time(start_ms)).duration(time(duration_ms));
        queue.push_event(event.build()).expect("accepted");
    };
    (0..100_000).for_each(|index| gap(index * 20, 20));
    (0..3).for_each(|index| gap(2_000_000 + index * 1000, 1000));
    gap(0, 1000);
    let taken: Vec<_> = (0..3).map(|_| describe(queue.take(None).expect("an item").0)).collect();
    assert_eq!(taken, ["gap 0-2000000 true", "gap 2000000-2003000 false", "gap 0-1000 false"]);
    assert!(queue.is_empty());
}

#[test]
fn one_update_of_the_pads_serves_all_requests() {
    let queue = Queue::new();
    (0..10).for_each(|_| queue.push_pads());
    push(&queue, gst::ClockTime::ZERO, 1).expect("accepted");
    queue.push_pads();
    assert_eq!(describe(queue.take(None).expect("an item").0), "pads");
    assert_eq!(describe(queue.take(None).expect("an item").0), "audio 0");
    assert!(queue.is_empty());
    queue.stop();
    queue.push_pads();
    assert!(queue.is_empty());
}

#[test]
fn audio_refused_in_one_stream_is_accepted_in_the_next() {
    let queue = Queue::new();
    let push = |pts| push(&queue, pts, 1);
    push(gst::ClockTime::ZERO).expect("accepted");
    queue.refuse_audio(gst::FlowError::Eos);
    assert_eq!(push(gst::ClockTime::ZERO), Err(gst::FlowError::Eos));
    let next = || {
        gst::init().expect("GStreamer");
        queue.push_event(gst::event::StreamStart::new("next")).expect("accepted");
    };
    next();
    push(gst::ClockTime::SECOND).expect("accepted");
    assert_eq!(is_audio(queue.take(None)), Some(false));
    // An error that occurs while the next stream already waits belongs to the stream before it.
    next();
    push(2 * gst::ClockTime::SECOND).expect("accepted");
    queue.refuse_audio(gst::FlowError::Eos);
    push(3 * gst::ClockTime::SECOND).expect("accepted");
    let left: Vec<_> = (0..3).map(|_| describe(queue.take(None).expect("an item").0)).collect();
    assert_eq!(left, ["event", "audio 2", "audio 3"]);
    assert_eq!(queued_samples(&queue), 0);

    queue.refuse_audio(gst::FlowError::NotLinked);
    queue.accept_audio();
    push(gst::ClockTime::ZERO).expect("accepted");
    queue.fail();
    next();
    queue.accept_audio();
    assert_eq!(push(gst::ClockTime::ZERO), Err(gst::FlowError::Error), "for good");
}
