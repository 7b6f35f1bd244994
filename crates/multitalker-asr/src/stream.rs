// SPDX-License-Identifier: MPL-2.0

//! A stream: features, diarizer and recognizer, one after the other or side by side.

mod stage;

use std::sync::Arc;
use std::thread;

use ndarray::ArrayView2;

use crate::cancel::Canceller;
use crate::diarization::activity::ActivitySource;
use crate::diarization::rttm::RttmActivity;
use crate::diarization::{Diarizer, DiarizerVersion};
use crate::error::Error;
use crate::events::{Event, Progress};
use crate::features::frame_buffer::FrameBuffer;
use crate::features::{FeatureExtractor, SAMPLE_RATE_HZ};
use crate::identification::Identification;
use crate::models::{ActivityModel, Cancellable, Model};
use crate::options::StreamOptions;
use crate::recognition::Recognizer;
use crate::recognition::boosting::PhraseBoosting;
use crate::recognition::decoding::Greedy;
use crate::stream::stage::Stage;
use crate::trace::Trace;
use crate::word_filter::WordFilter;

/// Length of the steps in which audio is pushed, so that a long push needs no more memory than a
/// short one and can be canceled in between.
const STEP_SAMPLES: usize = SAMPLE_RATE_HZ as usize;

/// Whether more audio is expected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audio {
    /// More audio follows at once.
    Follows,
    /// More audio may follow.
    Pauses,
    /// No audio follows.
    Ended,
}

/// The transcription of one conversation.
pub struct Stream {
    canceller: Canceller,
    extractor: FeatureExtractor,
    features: FrameBuffer,
    /// Features of a diarizer that does not share those of the recognizer.
    diarizer_features: Option<(FeatureExtractor, FrameBuffer)>,
    /// The activity of the speakers; `None` for a single speaker, who always speaks.
    diarizer: Option<Box<dyn ActivitySource + Send>>,
    stage: Stage,
    /// Whether diarizer and recognizer run at the same time if both can.
    side_by_side: bool,
    word_filter: Option<WordFilter>,
    identification: Option<Identification>,
    ended: bool,
}

impl Stream {
    /// Creates a stream on `model`.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if an option is out of range or does not suit the model, and
    /// [`Error::Mismatch`] if the axes of the diarizer's graph are fixed for another operating point.
    pub fn new(model: Arc<Model>, options: StreamOptions) -> Result<Self, Error> {
        Self::with_canceller(model, options, Canceller::new())
    }

    /// Creates a stream on `model` that `canceller` can stop.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] and [`Error::Mismatch`], as in [`Self::new`].
    pub fn with_canceller(
        model: Arc<Model>,
        options: StreamOptions,
        canceller: Canceller,
    ) -> Result<Self, Error> {
        options.validate()?;
        let diarizer = activity_source(&model, &options, &canceller)?;
        let n_mels = model.n_mels();
        let version = model.diarizer().map(|diarizer| diarizer.version);
        let rounded = || FeatureExtractor::rounded_to_bf16(n_mels);
        let is_rounded = version == Some(DiarizerVersion::V3);
        let recognizes = model.recognizer.is_some();
        Ok(Self {
            extractor: match is_rounded && !recognizes {
                true => rounded(),
                false => FeatureExtractor::new(n_mels),
            },
            features: FrameBuffer::new(n_mels),
            diarizer_features: (is_rounded && recognizes)
                .then(|| (rounded(), FrameBuffer::new(n_mels))),
            // Other sources of activity take no time.
            side_by_side: version.is_some() && recognizes && model.has_spare_threads,
            diarizer,
            stage: Stage::new(&model, options, &canceller)?,
            word_filter: None,
            identification: None,
            ended: false,
            canceller,
        })
    }

    /// Boosts other phrases, or none, in everything that is not yet decoded.
    pub fn set_phrase_boosting(&mut self, boosting: Option<PhraseBoosting>) {
        if let Some(recognizer) = self.stage.recognizer_mut() {
            recognizer.set_strategy(Greedy { boosting });
        }
    }

    /// Filters the words of all later events, or none.
    pub fn set_word_filter(&mut self, filter: Option<WordFilter>) {
        self.word_filter = filter;
    }

    /// Identifies the speakers of all later audio by their voices, or no longer. Returns the previous
    /// identification. Without a diarizer it has no effect.
    pub fn set_identification(
        &mut self,
        identification: Option<Identification>,
    ) -> Option<Identification> {
        std::mem::replace(&mut self.identification, identification)
    }

    /// Returns the identification, which knows the people behind the speakers.
    pub fn identification(&self) -> Option<&Identification> {
        self.identification.as_ref()
    }

    /// Returns the identification, with its statements about the audio so far.
    pub fn identification_mut(&mut self) -> Option<&mut Identification> {
        self.identification.as_mut()
    }

    /// Sets the position of the stream's first sample in the recording of an RTTM file, in samples.
    /// It is 0 for a new stream, and again after [`Self::reset`] and [`Self::resume`]. Call this
    /// before the first [`Self::push`].
    pub fn set_offset(&mut self, samples: u64) {
        if let Some(diarizer) = &mut self.diarizer {
            diarizer.set_offset(samples);
        }
    }

    /// Pushes any number of 16 kHz mono `samples`, nominally from -1 to 1, and returns the new
    /// events. Samples that are not finite count as 0.
    ///
    /// # Errors
    /// - [`Error::Ended`] after the end of the stream.
    /// - [`Error::Inference`] if a network fails or returns NaN or infinity, [`Error::Mismatch`] if it
    ///   returns another shape than expected, and [`Error::UnreadableFile`] if the tokenizer has no
    ///   text for a word.
    /// - [`Error::Canceled`] shortly after the [`Canceller`] is canceled.
    ///
    /// All but the first end the stream; [`Self::take_remaining`] then returns the text recognized
    /// before the error.
    pub fn push(&mut self, samples: &[f32]) -> Result<Vec<Event>, Error> {
        self.push_steps(samples)?;
        self.run_deferred()
    }

    /// Pushes samples like [`Self::push`] when more audio is already available. If there are spare
    /// threads, the recognizer is deferred until the diarizer's next chunk and runs beside it. The
    /// events are the same, some of them later.
    ///
    /// # Errors
    /// [`Error::Ended`], [`Error::Inference`], [`Error::Mismatch`], [`Error::UnreadableFile`] and
    /// [`Error::Canceled`], as in [`Self::push`].
    pub fn push_deferred(&mut self, samples: &[f32]) -> Result<Vec<Event>, Error> {
        self.push_steps(samples)?;
        Ok(self.take_events())
    }

    /// Returns whether [`Self::push_deferred`] deferred any work.
    pub fn has_deferred(&self) -> bool {
        let has_ready = |recognizer: &Recognizer<_, _, _, _>| {
            !recognizer.ready_chunks(&self.features, false).is_empty()
        };
        !self.ended && self.stage.recognizer().is_some_and(has_ready)
    }

    /// Runs the work that [`Self::push_deferred`] deferred, and returns the new events.
    ///
    /// # Errors
    /// [`Error::Ended`], [`Error::Inference`], [`Error::Mismatch`], [`Error::UnreadableFile`] and
    /// [`Error::Canceled`], as in [`Self::push`].
    pub fn run_deferred(&mut self) -> Result<Vec<Event>, Error> {
        self.work(Audio::Pauses)?;
        Ok(self.take_events())
    }

    /// Decodes the remaining audio, closes all segments and ends the stream.
    ///
    /// # Errors
    /// [`Error::Ended`], [`Error::Inference`], [`Error::Mismatch`], [`Error::UnreadableFile`] and
    /// [`Error::Canceled`], as in [`Self::push`].
    pub fn finish(&mut self) -> Result<Vec<Event>, Error> {
        if self.ended {
            return Err(Error::Ended);
        }
        let known = self.features.end();
        self.extractor.finish(&mut self.features);
        if let Some((extractor, features)) = &mut self.diarizer_features {
            extractor.finish(features);
        }
        self.trace_features(known);
        self.work(Audio::Ended)?;
        self.ended = true;
        if let Some(identification) = &mut self.identification {
            identification.finish(&self.canceller)?;
        }
        self.stage.finish(self.extractor.received_samples())?;
        Ok(self.take_events())
    }

    /// Ends the stream without further decoding, and returns the events that were not returned yet.
    /// All segments are closed.
    pub fn take_remaining(&mut self) -> Vec<Event> {
        self.ended = true;
        // An error here costs the text of one word.
        let _ = self.stage.finish(self.extractor.received_samples());
        self.take_events()
    }

    /// Returns to the state before the first sample, and rearms the canceller. The degraded mode of
    /// [`Self::set_degraded`] stays.
    pub fn reset(&mut self) {
        if let Some(diarizer) = &mut self.diarizer {
            diarizer.reset();
        }
        self.resume();
        if let Some(identification) = &mut self.identification {
            identification.reset();
        }
    }

    /// Starts again after a gap in the audio, like [`Self::reset`], but keeps the diarizer's speakers
    /// and thereby their indices. Call [`Self::finish`] before, or the text before the gap that was
    /// not emitted yet is lost.
    pub fn resume(&mut self) {
        self.extractor.reset();
        self.features.reset();
        if let Some((extractor, features)) = &mut self.diarizer_features {
            extractor.reset();
            features.reset();
        }
        if let Some(diarizer) = &mut self.diarizer {
            diarizer.rewind();
        }
        if let Some(identification) = &mut self.identification {
            identification.rewind();
        }
        self.stage.reset();
        self.ended = false;
        self.canceller.rearm();
    }

    /// Switches the degraded mode, which saves work when audio arrives faster than it is recognized:
    /// with each chunk, the diarizer then processes its speaker cache and the last 3.2 s again instead
    /// of up to 21 s. Operating points whose FIFO is as short do not change.
    pub fn set_degraded(&mut self, degraded: bool) {
        if let Some(diarizer) = &mut self.diarizer {
            diarizer.set_degraded(degraded);
        }
    }

    /// Returns the progress of the stream.
    pub fn progress(&self) -> Progress {
        self.stage.progress()
    }

    /// Returns the number of samples pushed since the start.
    pub fn received_samples(&self) -> u64 {
        self.extractor.received_samples()
    }

    /// Returns the canceller, which stops this stream from another thread.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Overrides whether diarizer and recognizer run at the same time, regardless of spare threads.
    #[doc(hidden)]
    pub fn set_side_by_side(&mut self, side_by_side: bool) {
        self.side_by_side = side_by_side;
    }

    /// Keeps the intermediate results from now on, which grow with the audio.
    #[doc(hidden)]
    pub fn enable_trace(&mut self) {
        if let Some(recognizer) = self.stage.recognizer_mut() {
            recognizer.enable_trace();
        }
    }

    /// Returns the intermediate results since [`Self::enable_trace`].
    #[doc(hidden)]
    pub fn trace(&self) -> Option<&Trace> {
        self.stage.recognizer()?.trace()
    }

    fn trace_features(&mut self, known: u64) {
        if let Some(trace) = self.stage.recognizer_mut().and_then(Recognizer::trace_mut) {
            trace.features.extend(self.features.get(known..self.features.end()));
            if let Some((_, features)) = &self.diarizer_features {
                trace.diarizer_features.extend(features.get(known..features.end()));
            }
        }
    }

    fn take_events(&mut self) -> Vec<Event> {
        let mut events = self.stage.take_events();
        if let Some(identification) = &self.identification {
            events = identification.split_segments(events);
        }
        match &self.word_filter {
            Some(filter) => filter.apply(events),
            None => events,
        }
    }

    fn push_steps(&mut self, samples: &[f32]) -> Result<(), Error> {
        if self.ended {
            return Err(Error::Ended);
        }
        for piece in samples.chunks(STEP_SAMPLES) {
            let known = self.features.end();
            self.extractor.push(piece, &mut self.features);
            if let Some((extractor, features)) = &mut self.diarizer_features {
                extractor.push(piece, features);
            }
            self.trace_features(known);
            if self.diarizer.is_some()
                && let Some(identification) = &mut self.identification
            {
                identification.push_audio(piece);
            }
            self.work(Audio::Follows)?;
        }
        Ok(())
    }

    /// Runs everything that is ready and not deferred; an error ends the stream.
    fn work(&mut self, audio: Audio) -> Result<(), Error> {
        if self.ended {
            return Err(Error::Ended);
        }
        let result = self.run_chunks(audio);
        self.ended |= result.is_err();
        result
    }

    fn run_chunks(&mut self, audio: Audio) -> Result<(), Error> {
        let ended = audio == Audio::Ended;
        loop {
            if self.canceller.is_canceled() {
                return Err(Error::Canceled);
            }
            let recognizer = self.stage.recognizer_mut().and_then(|recognizer| {
                let chunks = recognizer.ready_chunks(&self.features, ended);
                (!chunks.is_empty()).then_some((recognizer, chunks))
            });
            let features = self.diarizer_features.as_ref().map_or(&self.features, |(_, own)| own);
            let diarizer = self.diarizer.as_mut().filter(|it| it.is_ready(features, ended));
            match (diarizer, recognizer) {
                (Some(_), Some(_)) if self.side_by_side => self.run_both(ended)?,
                (None, _) if self.side_by_side && audio == Audio::Follows => return Ok(()),
                (_, Some((recognizer, chunks))) => recognizer.run(chunks, &self.features)?,
                (Some(diarizer), None) => {
                    let rows = diarizer.step(features)?;
                    self.add_probabilities(rows.view())?;
                }
                (None, None) => return Ok(()),
            }
            self.discard_used();
        }
    }

    /// Runs the recognizer on all of its chunks that are ready, and the diarizer on its next chunk.
    fn run_both(&mut self, ended: bool) -> Result<(), Error> {
        let Self { features, diarizer_features, diarizer, stage, .. } = self;
        let mut recognizer = stage.recognizer_mut();
        let (features, of_diarizer) =
            (&*features, diarizer_features.as_ref().map_or(&*features, |(_, own)| own));
        let (recognized, rows) = thread::scope(|scope| {
            let diarizer = diarizer.as_mut().map(|diarizer| {
                thread::Builder::new().spawn_scoped(scope, || diarizer.step(of_diarizer))
            });
            let recognized = recognizer.as_mut().map_or(Ok(()), |recognizer| {
                loop {
                    let chunks = recognizer.ready_chunks(features, ended);
                    if chunks.is_empty() {
                        break Ok(());
                    }
                    recognizer.run(chunks, features)?;
                }
            });
            // If no thread is available, the diarizer runs after the recognizer.
            let rows = diarizer.and_then(Result::ok).map(|thread| match thread.join() {
                Ok(rows) => rows,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            (recognized, rows)
        });
        recognized?;
        if let Some(rows) = rows.transpose()? {
            self.add_probabilities(rows.view())?;
        }
        Ok(())
    }

    /// Passes the diarizer's probabilities, `[frames, speakers]`, to the last stage and to the
    /// identification.
    fn add_probabilities(&mut self, rows: ArrayView2<'_, f32>) -> Result<(), Error> {
        self.stage.add_probabilities(rows);
        let Self { identification: Some(identification), canceller, .. } = self else {
            return Ok(());
        };
        if identification.add_probabilities(rows, canceller)?
            && let Some(diarizer) = &mut self.diarizer
        {
            diarizer.forget();
            identification.forget();
        }
        Ok(())
    }

    /// Drops the features that no later chunk needs.
    fn discard_used(&mut self) {
        // Features that no network needs only count the frames.
        let needed = self.stage.needs_from().unwrap_or(u64::MAX);
        let by_diarizer = self.diarizer.as_ref().and_then(|diarizer| diarizer.needs_from());
        let by_diarizer = by_diarizer.unwrap_or(u64::MAX);
        match &mut self.diarizer_features {
            Some((_, own)) => {
                own.discard_before(by_diarizer);
                self.features.discard_before(needed);
            }
            None => self.features.discard_before(needed.min(by_diarizer)),
        }
    }
}

/// Creates the source of the speakers' activity; `None` for a single speaker, who always speaks.
///
/// # Errors
/// [`Error::InvalidOption`] and [`Error::Mismatch`], if the operating point does not suit the
/// diarizer.
fn activity_source(
    model: &Model,
    options: &StreamOptions,
    canceller: &Canceller,
) -> Result<Option<Box<dyn ActivitySource + Send>>, Error> {
    Ok(match &model.activity {
        ActivityModel::SingleSpeaker => None,
        ActivityModel::Sortformer(graph) => {
            graph.check_operating_point(&options.diarization)?;
            let network = Cancellable { graph: graph.clone(), canceller: canceller.clone() };
            Some(Box::new(Diarizer::new(network, options.diarization, options.max_speakers)?))
        }
        ActivityModel::Rttm(rttm) => {
            Some(Box::new(RttmActivity::new(rttm.clone(), options.max_speakers)))
        }
    })
}
