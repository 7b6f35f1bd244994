// SPDX-License-Identifier: MPL-2.0

//! Boosted phrases and filtered words, according to the live settings.

use crate::multitalkerasr::output::messages::post_warning;
use crate::multitalkerasr::properties::settings::{FilterSettings, PhraseSettings};
use crate::multitalkerasr::shared::Shared;
use multitalker_asr::{
    BoostingOptions, Canceller, Error, Model, Phrase, PhraseBoosting, Stream, WordFilter,
};

/// Number of phrases that a warning names.
const MAX_NAMED: usize = 10;

/// Vocabulary in use.
#[derive(Default)]
pub struct Vocabulary {
    phrases: Applied<PhraseSettings, PhraseBoosting>,
    filter: Applied<FilterSettings, WordFilter>,
}

impl Vocabulary {
    /// Reads the lists of the live settings that have changed, and applies them to the stream, if there
    /// is one. If a later list cannot be read, a warning is posted and the previous one stays in use.
    ///
    /// # Errors
    /// [`Error::FileNotFound`] or [`Error::UnreadableFile`] if a first list cannot be read, and
    /// [`Error::Canceled`].
    pub fn update(
        &mut self,
        shared: &Shared,
        model: &Model,
        stream: Option<&mut Stream>,
        canceller: &Canceller,
    ) -> Result<(), Error> {
        let live = shared.settings.live();
        let phrases = |settings: &PhraseSettings| boosting(shared, settings, model, canceller);
        let filter = |settings: &FilterSettings| {
            let path = settings.file.path();
            path.map(|path| WordFilter::read(path, settings.method.into(), canceller)).transpose()
        };
        let has_phrases = self.phrases.update(shared, &live.phrases, phrases)?;
        let has_filter = self.filter.update(shared, &live.filter, filter);
        if let Some(stream) = stream {
            // Setting phrases forgets the phrases that speakers are in the middle of.
            if has_phrases {
                stream.set_phrase_boosting(self.phrases.value.clone());
            }
            if let Ok(true) = has_filter {
                stream.set_word_filter(self.filter.value.clone());
            }
        }
        has_filter.map(|_| ())
    }

    /// Applies the vocabulary to a new stream.
    pub fn apply(&self, stream: &mut Stream) {
        stream.set_phrase_boosting(self.phrases.value.clone());
        stream.set_word_filter(self.filter.value.clone());
    }
}

/// A value, and the settings that it was made of.
struct Applied<S, T> {
    settings: Option<S>,
    value: Option<T>,
}

impl<S, T> Default for Applied<S, T> {
    fn default() -> Self {
        Self { settings: None, value: None }
    }
}

impl<S: Clone + PartialEq, T> Applied<S, T> {
    /// Makes the value if the settings have changed, and returns whether there is another one.
    fn update(
        &mut self,
        shared: &Shared,
        settings: &S,
        make: impl FnOnce(&S) -> Result<Option<T>, Error>,
    ) -> Result<bool, Error> {
        if self.settings.as_ref() == Some(settings) {
            return Ok(false);
        }
        let made = match make(settings) {
            Err(error @ Error::Canceled) => return Err(error),
            Err(error) if self.settings.is_none() => return Err(error),
            made => made,
        };
        self.settings = Some(settings.clone());
        match made {
            Ok(value) => {
                self.value = value;
                Ok(true)
            }
            Err(error) => {
                post_warning!(
                    shared,
                    gst::ResourceError::OpenRead,
                    ("{error}; the previous list stays in use")
                );
                Ok(false)
            }
        }
    }
}

fn boosting(
    shared: &Shared,
    settings: &PhraseSettings,
    model: &Model,
    canceller: &Canceller,
) -> Result<Option<PhraseBoosting>, Error> {
    if settings.boost == 0.0 {
        return Ok(None);
    }
    let mut phrases = match settings.file.path() {
        Some(path) => Phrase::read_list(path, canceller)?,
        None => Vec::new(),
    };
    let mut unused = Vec::new();
    for line in &settings.additional {
        match Phrase::parse(line) {
            Some(phrase) => phrases.push(phrase),
            None => unused.push(line.clone()),
        }
    }
    if phrases.is_empty() && unused.is_empty() {
        return Ok(None);
    }
    let (boosting, unspellable) =
        model.phrase_boosting(&phrases, BoostingOptions::default(), settings.boost)?;
    unused.extend(unspellable);
    if !unused.is_empty() {
        post_warning!(
            shared,
            gst::LibraryError::Settings,
            ("Phrases: expected phrases that the tokenizer can spell, found {}", list(&unused))
        );
    }
    Ok(Some(boosting))
}

/// Names the first of `phrases` and the number of the others.
fn list(phrases: &[String]) -> String {
    let named: Vec<_> =
        phrases.iter().take(MAX_NAMED).map(|phrase| format!("{phrase:?}")).collect();
    match phrases.len().saturating_sub(MAX_NAMED) {
        0 => named.join(", "),
        others => format!("{} and {others} others", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let phrases: Vec<_> = (0..12).map(|number| number.to_string()).collect();
        assert_eq!(list(&phrases[..2]), r#""0", "1""#);
        assert!(list(&phrases).ends_with(r#""9" and 2 others"#), "{}", list(&phrases));
    }
}
