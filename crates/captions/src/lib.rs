// SPDX-License-Identifier: MPL-2.0

//! Composes caption cues from the timed words of several speakers, as a recognizer emits them: lines
//! of limited length that stay long enough to be read, breaks where phrases end, and people who talk
//! at once in lines of their own.
//!
//! The [`Captioner`] works in one pass and with a bounded delay ([`Rules::max_delay`]), so it serves
//! live captions and files alike. No text is dropped: if speech is too fast to be read, cues are
//! faster than the rules ask for, by as little as possible.
//!
//! ```
//! use std::time::Duration;
//!
//! use multitalker_captions::{Captioner, Rules, Word};
//!
//! # fn main() -> Result<(), multitalker_captions::RulesError> {
//! let mut captioner = Captioner::new(Rules::default())?;
//! let words = ["The", "trains", "to", "London", "are", "running", "again", "after", "repairs."];
//! for (id, text) in (0..).zip(words) {
//!     captioner.push(Word {
//!         id,
//!         speaker: 0,
//!         text: text.to_owned(),
//!         start: Duration::from_millis(400 * id),
//!         end: Duration::from_millis(400 * id + 300),
//!     });
//! }
//! // No word before 20 s follows.
//! let cues = captioner.advance(Duration::from_secs(20));
//! assert_eq!(cues[0].text(), "The trains to London\nare running again after repairs.");
//! # Ok(())
//! # }
//! ```

mod blocks;
mod breaks;
mod captioner;
mod columns;
mod cue;
mod layout;
mod merge;
mod piece;
mod rules;
mod screen;
mod stack;
mod timing;

pub use captioner::Captioner;
pub use cue::{Cue, Line, Word};
pub use rules::{Rules, RulesError, Simultaneous};
