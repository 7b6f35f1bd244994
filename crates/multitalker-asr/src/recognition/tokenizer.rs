// SPDX-License-Identifier: MPL-2.0

//! Tokens to text, with SentencePiece.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use sentencepiece::SentencePieceProcessor;

use crate::cancel::Canceller;
use crate::error::Error;
use crate::file;

/// Maximum size of the file. The published file takes 241 kB, and vocabularies of 256,000 pieces
/// take 4 MB.
const MAX_BYTES: u64 = 64 << 20;

const EXPECTED: &str = "a SentencePiece model";

/// The first character of a piece that begins a word.
const WORD_START: char = '\u{2581}';

/// Meaning and text of the tokens.
pub trait Vocabulary {
    /// Returns the role of token `id` in a word.
    fn kind(&self, id: usize) -> PieceKind;

    /// Returns the text of the tokens `ids`, without the space before the first word.
    ///
    /// # Errors
    /// [`Error::UnreadableFile`] if the tokenizer does not decode its own pieces.
    fn text(&self, ids: &[usize]) -> Result<String, Error>;
}

impl Vocabulary for Arc<Tokenizer> {
    fn kind(&self, id: usize) -> PieceKind {
        (**self).kind(id)
    }

    fn text(&self, ids: &[usize]) -> Result<String, Error> {
        (**self).text(ids)
    }
}

/// A SentencePiece model.
pub struct Tokenizer {
    path: PathBuf,
    processor: SentencePieceProcessor,
    pieces: Vec<PieceKind>,
}

/// The role of a piece in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    /// Begins a word.
    WordStart,
    /// Continues the word before.
    Continuation,
    /// Punctuation marks, which belong to the word before and take no time.
    Punctuation,
}

/// The part of SentencePiece's `ModelProto` that lists the pieces.
#[derive(Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<PieceProto>,
}

#[derive(Message)]
struct PieceProto {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
}

impl Tokenizer {
    /// Loads `tokenizer.model`.
    ///
    /// # Errors
    /// [`Error::FileNotFound`]; [`Error::UnreadableFile`] if the file is not a SentencePiece model;
    /// and [`Error::Canceled`].
    pub fn open(path: &Path, canceller: &Canceller) -> Result<Self, Error> {
        Self::parse(path, &file::read(path, EXPECTED, MAX_BYTES, canceller)?)
    }

    /// Parses the bytes of the file at `path`.
    ///
    /// # Errors
    /// [`Error::UnreadableFile`] if they are not a SentencePiece model.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let unreadable = |found: String| Error::UnreadableFile {
            path: path.to_owned(),
            expected: EXPECTED,
            found,
        };
        if let Some(known) = file::recognize(bytes) {
            return Err(unreadable(known.to_string()));
        }
        let damaged = |error: &dyn std::fmt::Display| {
            let bytes = bytes.len();
            unreadable(format!(
                "a file of {bytes} bytes that is damaged, incomplete or something else: download \
                 it again ({error})"
            ))
        };
        let proto = ModelProto::decode(bytes).map_err(|error| damaged(&error))?;
        if proto.pieces.is_empty() {
            return Err(damaged(&"no pieces"));
        }
        let processor = SentencePieceProcessor::from_serialized_proto(bytes)
            .map_err(|error| damaged(&error))?;
        let kinds = proto.pieces.iter().map(|p| PieceKind::of(p.piece.as_deref().unwrap_or("")));
        Ok(Self { path: path.to_owned(), processor, pieces: kinds.collect() })
    }

    /// Returns the number of pieces.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Returns the role of piece `id`; one outside of the vocabulary continues its word.
    pub fn kind(&self, id: usize) -> PieceKind {
        self.pieces.get(id).copied().unwrap_or(PieceKind::Continuation)
    }

    /// Returns the tokens that spell `text`, or `None` if a part of it has none.
    pub fn encode(&self, text: &str) -> Option<Vec<usize>> {
        let pieces = self.processor.encode(text).ok()?;
        let unknown = self.processor.unk_id();
        let known = |id: u32| (id != unknown).then_some(id as usize);
        let ids: Vec<_> = pieces.iter().map(|piece| known(piece.id)).collect::<Option<_>>()?;
        (!ids.is_empty()).then_some(ids)
    }

    /// Returns the text of `ids`, without the space before the first word.
    ///
    /// # Errors
    /// [`Error::UnreadableFile`] if SentencePiece refuses them.
    pub fn text(&self, ids: &[usize]) -> Result<String, Error> {
        let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
        self.processor.decode_piece_ids(&ids).map_err(|e| Error::UnreadableFile {
            path: self.path.clone(),
            expected: "a SentencePiece model that decodes its own pieces",
            found: e.to_string(),
        })
    }
}

impl PieceKind {
    fn of(piece: &str) -> Self {
        if piece.starts_with(WORD_START) {
            Self::WordStart
        } else if !piece.is_empty() && piece.chars().all(is_punctuation) {
            Self::Punctuation
        } else {
            Self::Continuation
        }
    }
}

/// Returns whether `c` is a mark that follows a word. An apostrophe is part of a word instead.
fn is_punctuation(c: char) -> bool {
    matches!(c, '.' | ',' | '?' | '!' | ';' | ':' | '…')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_distinguished() {
        for (piece, kind) in [
            ("▁the", PieceKind::WordStart),
            ("▁", PieceKind::WordStart),
            ("ing", PieceKind::Continuation),
            ("'", PieceKind::Continuation),
            (".", PieceKind::Punctuation),
            ("?!", PieceKind::Punctuation),
            ("3.", PieceKind::Continuation),
        ] {
            assert_eq!(PieceKind::of(piece), kind, "{piece}");
        }
    }

    #[test]
    fn what_is_no_model_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokenizer.model");
        let missing = Tokenizer::open(&path, &Canceller::new()).err().expect("an error");
        assert!(matches!(missing, Error::FileNotFound { .. }), "{missing}");
        std::fs::write(&path, b"no model").expect("written");
        let wrong = Tokenizer::open(&path, &Canceller::new()).err().expect("an error");
        assert!(wrong.to_string().contains("as a SentencePiece model"), "{wrong}");
    }
}
