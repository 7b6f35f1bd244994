// SPDX-License-Identifier: MPL-2.0

//! Phrase boosting by the live settings.

use std::path::Path;

use crate::multitalkerasr::output::messages::post_warning;
use crate::multitalkerasr::properties::settings::PhraseSettings;
use crate::multitalkerasr::shared::Shared;
use multitalker_asr::{BoostingOptions, Canceller, Error, Model, Phrase, PhraseBoosting};

/// Number of phrases that a warning names.
const MAX_NAMED: usize = 10;

/// Phrases in use, and the settings that they follow from.
#[derive(Default)]
pub struct Phrases {
    settings: Option<PhraseSettings>,
    boosting: Option<PhraseBoosting>,
}

impl Phrases {
    /// Returns the phrases to boost.
    pub fn boosting(&self) -> Option<PhraseBoosting> {
        self.boosting.clone()
    }

    /// Prepares the phrases of the live settings, if these have changed, and returns whether they
    /// have. A list that cannot be read while the element runs is a warning, and the phrases before
    /// stay in use.
    ///
    /// # Errors
    /// [`Error::FileNotFound`] and [`Error::UnreadableFile`] of the first list, and
    /// [`Error::Canceled`].
    pub fn update(
        &mut self,
        shared: &Shared,
        model: &Model,
        canceller: &Canceller,
    ) -> Result<bool, Error> {
        let live = shared.settings.live();
        if self.settings.as_ref() == Some(&live.phrases) {
            return Ok(false);
        }
        match prepare(shared, &live.phrases, model, canceller) {
            Ok(boosting) => self.boosting = boosting,
            Err(error @ Error::Canceled) => return Err(error),
            Err(error) if self.settings.is_none() => return Err(error),
            Err(error) => post_warning!(
                shared,
                gst::ResourceError::OpenRead,
                ("{error}; the phrases before stay in use")
            ),
        }
        self.settings = Some(live.phrases.clone());
        Ok(true)
    }
}

fn prepare(
    shared: &Shared,
    settings: &PhraseSettings,
    model: &Model,
    canceller: &Canceller,
) -> Result<Option<PhraseBoosting>, Error> {
    if settings.boost == 0.0 {
        return Ok(None);
    }
    let mut phrases = match settings.file() {
        Some(file) => Phrase::read_list(Path::new(file), canceller)?,
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
