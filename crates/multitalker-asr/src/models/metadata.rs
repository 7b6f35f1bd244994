// SPDX-License-Identifier: MPL-2.0

//! Bounded entries of the metadata of an ONNX file.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::error::Error;
use crate::onnx::Network;

/// Metadata of a file, whose entries are found under any of their names.
pub struct Metadata<'n> {
    /// The network of the file.
    pub network: &'n Network,
    /// Prefix with which the names are also found; empty for none.
    prefix: &'static str,
}

impl<'n> Metadata<'n> {
    /// Reads the metadata of `network`.
    pub fn new(network: &'n Network) -> Self {
        Self { network, prefix: "" }
    }

    /// Reads the metadata of `network`, whose names may begin with `prefix`.
    pub fn with_prefix(network: &'n Network, prefix: &'static str) -> Self {
        Self { network, prefix }
    }

    /// Returns the key and the trimmed text of an entry; `None` without one.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the entry has different texts under two of its names.
    pub fn entry(&self, names: &[&str]) -> Result<Option<(String, &'n str)>, Error> {
        let mut found: Option<(String, &str)> = None;
        let keys =
            names.iter().flat_map(|name| [(*name).to_owned(), format!("{}{name}", self.prefix)]);
        for key in keys {
            let Some(text) = self.network.metadata(&key).map(str::trim) else { continue };
            match &found {
                Some((first, known)) if *known != text => {
                    let expected = format!("{} to match {first}", shorten(known));
                    return Err(self.mismatch(&key, expected, text));
                }
                Some(_) => (),
                None => found = Some((key, text)),
            }
        }
        Ok(found)
    }

    /// Returns a number; `None` without the entry.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the entry is not a number in `range`, and the errors of [`Self::entry`].
    pub fn number<T>(&self, names: &[&str], range: RangeInclusive<T>) -> Result<Option<T>, Error>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let Some((key, text)) = self.entry(names)? else { return Ok(None) };
        match text.parse().ok().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let (start, end) = (range.start(), range.end());
                let expected = match start == end {
                    true => format!("{start}"),
                    false => format!("a number from {start} to {end}"),
                };
                Err(self.mismatch(&key, expected, text))
            }
        }
    }

    /// Returns a flag; `None` without the entry.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the entry is neither true nor false, and the errors of [`Self::entry`].
    pub fn flag(&self, names: &[&str]) -> Result<Option<bool>, Error> {
        let Some((key, text)) = self.entry(names)? else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "1" | "true" => Ok(Some(true)),
            "0" | "false" => Ok(Some(false)),
            _ => Err(self.mismatch(&key, "1 or 0", text)),
        }
    }

    /// Creates the error of an entry with the text `found`, which is shortened.
    pub fn mismatch(&self, key: &str, expected: impl ToString, found: &str) -> Error {
        self.network.mismatch(&format!("{key} in the metadata"), expected, shorten(found))
    }
}

/// Returns the beginning of a text of any length.
fn shorten(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
