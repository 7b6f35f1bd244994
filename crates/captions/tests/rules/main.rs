// SPDX-License-Identifier: MPL-2.0

//! The rules hold for any words, and cues are good for ordinary ones.

mod any_words;
mod checks;
mod conversation;
mod examples;
mod world;
