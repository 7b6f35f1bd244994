// SPDX-License-Identifier: MPL-2.0

//! One conversation: features, diarizer and recognizer, one after the other or side by side.

use std::sync::Arc;
use std::thread;

use crate::cancel::Canceller;
use crate::diarization::Diarizer;
use crate::diarization::DiarizerVersion;
use crate::error::Error;
use crate::events::{Event, Progress};
use crate::features::frame_buffer::FrameBuffer;
use crate::features::{FeatureExtractor, SAMPLE_RATE_HZ};
use crate::models::Model;
use crate::models::{Cancellable, EncoderGraph, JointGraph, SortformerGraph};
use crate::options::StreamOptions;
use crate::recognition::Recognizer;
use crate::recognition::decoding::Greedy;
use crate::recognition::tokenizer::Tokenizer;
use crate::trace::Trace;

/// Audio is taken in steps of this, so that a long push needs no more memory than a short one and
/// can be stopped in between.
const STEP_SAMPLES: usize = SAMPLE_RATE_HZ as usize;

/// What is known of the audio to come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audio {
    /// It comes at once.
    Follows,
    /// It may come.
    Pauses,
    /// There is none.
    Ended,
}

/// One conversation.
pub struct Stream {
    canceller: Canceller,
    extractor: FeatureExtractor,
    features: FrameBuffer,
    /// The features of a diarizer that has its own.
    diarizer_features: Option<(FeatureExtractor, FrameBuffer)>,
    diarizer: Option<Diarizer<Cancellable<SortformerGraph>>>,
    recognizer:
        Recognizer<Cancellable<EncoderGraph>, Cancellable<JointGraph>, Greedy, Arc<Tokenizer>>,
    /// Whether diarizer and recognizer run at the same time where they can.
    side_by_side: bool,
    ended: bool,
}

impl Stream {
    /// A conversation in which nothing was said yet.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] where the options are out of range or not for this model.
    pub fn new(model: Arc<Model>, options: StreamOptions) -> Result<Self, Error> {
        Self::with_canceller(model, options, Canceller::new())
    }

    /// As [`Self::new`], to be stopped by `canceller`.
    ///
    /// # Errors
    /// The same.
    pub fn with_canceller(
        model: Arc<Model>,
        options: StreamOptions,
        canceller: Canceller,
    ) -> Result<Self, Error> {
        options.validate()?;
        let chunk = options.chunk_latency;
        if let Some(known) = &model.chunk_frames
            && !known.contains(&chunk.encoded_frames())
        {
            return Err(Error::InvalidOption {
                option: "chunk of the recognizer",
                expected: format!("one of {known:?} encoded frames, by multitalker_config.json"),
                found: chunk.encoded_frames().to_string(),
            });
        }
        let diarizer = match &model.sortformer {
            Some(graph) => {
                graph.check_operating_point(&options.diarization)?;
                let network = Cancellable { graph: graph.clone(), canceller: canceller.clone() };
                Some(Diarizer::new(network, options.diarization, options.max_speakers)?)
            }
            None => None,
        };
        let n_mels = model.encoder.n_mels;
        let version = model.diarizer().map(|diarizer| diarizer.version);
        let side_by_side = diarizer.is_some() && model.has_spare_threads;
        let encoder = Cancellable { graph: model.encoder.clone(), canceller: canceller.clone() };
        let joint = Cancellable { graph: model.joint.clone(), canceller: canceller.clone() };
        let speakers = diarizer.is_some().then(|| model.speakers());
        Ok(Self {
            extractor: FeatureExtractor::new(n_mels),
            features: FrameBuffer::new(n_mels),
            diarizer_features: (version == Some(DiarizerVersion::V3))
                .then(|| (FeatureExtractor::rounded_to_bf16(n_mels), FrameBuffer::new(n_mels))),
            side_by_side,
            diarizer,
            recognizer: Recognizer::new(
                encoder,
                joint,
                Greedy,
                model.tokenizer.clone(),
                speakers,
                options,
            ),
            ended: false,
            canceller,
        })
    }

    /// Takes 16 kHz mono `samples`, nominally from -1 to 1, and returns what became known. Any
    /// number of samples may come at once; those that are not finite count as 0.
    ///
    /// # Errors
    /// [`Error::Ended`] after the end; else those of the networks or [`Error::Canceled`], after
    /// which the stream has ended and [`Self::take_remaining`] has what was recognized before.
    pub fn push(&mut self, samples: &[f32]) -> Result<Vec<Event>, Error> {
        self.hear(samples)?;
        self.run_deferred()
    }

    /// As [`Self::push`], where more audio is at hand. If there are threads to spare, the recognizer
    /// then waits for the diarizer's next chunk and runs beside it; what it says is the same.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_deferred(&mut self, samples: &[f32]) -> Result<Vec<Event>, Error> {
        self.hear(samples)?;
        Ok(self.recognizer.take_events())
    }

    /// Whether [`Self::push_deferred`] put anything off.
    pub fn has_deferred(&self) -> bool {
        !self.ended && !self.recognizer.ready_chunks(&self.features, false).is_empty()
    }

    /// Recognizes what [`Self::push_deferred`] put off.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn run_deferred(&mut self) -> Result<Vec<Event>, Error> {
        self.work(Audio::Pauses)?;
        Ok(self.recognizer.take_events())
    }

    /// Decodes what is left and closes all segments. The stream has then ended.
    ///
    /// # Errors
    /// As [`Self::push`], and [`Error::UnreadableFile`] where the tokenizer has no text for the last
    /// word of a speaker.
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
        self.recognizer.finish(self.extractor.received_samples())?;
        Ok(self.recognizer.take_events())
    }

    /// Ends the stream without decoding more, and returns what was recognized and not yet emitted.
    pub fn take_remaining(&mut self) -> Vec<Event> {
        self.ended = true;
        // A word without a text is all that an error here costs.
        let _ = self.recognizer.finish(self.extractor.received_samples());
        self.recognizer.take_events()
    }

    /// Begins anew, with nothing heard, and allows work where it was canceled. What was asked for
    /// with [`Self::set_degraded`] and [`Self::enable_trace`] stays.
    pub fn reset(&mut self) {
        if let Some(diarizer) = &mut self.diarizer {
            diarizer.reset();
        }
        self.resume();
    }

    /// Begins anew after a hole in the audio: as [`Self::reset`], but the diarizer knows the
    /// speakers, so that they keep their indices. [`Self::finish`] before, or what was said before
    /// the hole and not yet told is lost.
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
        self.recognizer.reset();
        self.ended = false;
        self.canceller.rearm();
    }

    /// Saves work, or no longer, where audio comes faster than it is recognized: the diarizer then
    /// hears its speaker cache and the last 3.2 s again with each chunk, instead of up to 21 s.
    /// Operating points with a FIFO as short as this do not change.
    pub fn set_degraded(&mut self, degraded: bool) {
        if let Some(diarizer) = &mut self.diarizer {
            diarizer.set_degraded(degraded);
        }
    }

    /// How far this has come.
    pub fn progress(&self) -> Progress {
        self.recognizer.progress()
    }

    /// Samples received since the start.
    pub fn received_samples(&self) -> u64 {
        self.extractor.received_samples()
    }

    /// Stops this stream from another thread.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Keeps what the stages compute from now on, which grows with the audio.
    #[doc(hidden)]
    pub fn enable_trace(&mut self) {
        self.recognizer.enable_trace();
    }

    /// Returns what was kept since [`Self::enable_trace`].
    #[doc(hidden)]
    pub fn trace(&self) -> Option<&Trace> {
        self.recognizer.trace()
    }

    fn trace_features(&mut self, known: u64) {
        if let Some(trace) = self.recognizer.trace_mut() {
            trace.features.extend(self.features.get(known..self.features.end()));
            if let Some((_, features)) = &self.diarizer_features {
                trace.diarizer_features.extend(features.get(known..features.end()));
            }
        }
    }

    fn hear(&mut self, samples: &[f32]) -> Result<(), Error> {
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
            self.work(Audio::Follows)?;
        }
        Ok(())
    }

    /// Runs all that can be run and need not wait; an error ends the stream.
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
            let chunks = self.recognizer.ready_chunks(&self.features, ended);
            let heard = self.diarizer_features.as_ref().map_or(&self.features, |(_, own)| own);
            let diarizer = self.diarizer.as_mut().filter(|it| it.is_ready(heard, ended));
            match diarizer {
                Some(_) if self.side_by_side && !chunks.is_empty() => self.run_both(ended)?,
                None if self.side_by_side && audio == Audio::Follows => return Ok(()),
                _ if !chunks.is_empty() => self.recognizer.run(chunks, &self.features)?,
                Some(diarizer) => {
                    let rows = diarizer.step(heard)?;
                    self.recognizer.add_probabilities(rows.view());
                }
                None => return Ok(()),
            }
            self.discard_used();
        }
    }

    /// Runs the recognizer on all its chunks that are ready, and the diarizer on its next.
    fn run_both(&mut self, ended: bool) -> Result<(), Error> {
        let Self { features, diarizer_features, diarizer, recognizer, .. } = self;
        let (features, heard) =
            (&*features, diarizer_features.as_ref().map_or(&*features, |(_, own)| own));
        let (recognized, rows) = thread::scope(|scope| {
            let diarizer = diarizer.as_mut().map(|diarizer| {
                thread::Builder::new().spawn_scoped(scope, || diarizer.step(heard))
            });
            let recognized = loop {
                let chunks = recognizer.ready_chunks(features, ended);
                if chunks.is_empty() {
                    break Ok(());
                }
                if let Err(error) = recognizer.run(chunks, features) {
                    break Err(error);
                }
            };
            // Where there is no thread to be had, the diarizer runs after the recognizer.
            let rows = diarizer.and_then(Result::ok).map(|thread| match thread.join() {
                Ok(rows) => rows,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            (recognized, rows)
        });
        recognized?;
        if let Some(rows) = rows.transpose()? {
            self.recognizer.add_probabilities(rows.view());
        }
        Ok(())
    }

    /// Drops the features that no chunk to come needs.
    fn discard_used(&mut self) {
        let needed = self.recognizer.needs_from();
        let by_diarizer = self.diarizer.as_ref().map_or(needed, Diarizer::needs_from);
        match &mut self.diarizer_features {
            Some((_, own)) => {
                own.discard_before(by_diarizer);
                self.features.discard_before(needed);
            }
            None => self.features.discard_before(needed.min(by_diarizer)),
        }
    }
}
