// SPDX-License-Identifier: MPL-2.0

//! Diagnosis of files that ONNX Runtime rejects: errors that name the cause and the remedy.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use prost::Message;

use crate::error::Error;
use crate::file;

/// Field numbers of ONNX's `ModelProto`.
mod field {
    pub const IR_VERSION: u64 = 1;
    pub const PRODUCER_NAME: u64 = 2;
    pub const PRODUCER_VERSION: u64 = 3;
    pub const OPSET_IMPORT: u64 = 8;
}

/// Maximum length of a header field that is read; the graph is skipped.
const MAX_FIELD_BYTES: u64 = 256;

/// Maximum number of fields that are read.
const MAX_FIELDS: usize = 1000;

/// Returns the error for a graph at `path`, which should contain `expected`, that `library` rejects
/// with `reason`.
pub fn explain(path: &Path, expected: &'static str, library: &Path, reason: &str) -> Error {
    if let Some(weights) = external_weights(path, reason) {
        return explain_weights(path, &weights, reason);
    }
    let lower = reason.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    let found = if has(&["protobuf parsing failed", "no graph was found", "invalid_protobuf"]) {
        let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        format!(
            "a file of {bytes} bytes that is damaged, incomplete or not an ONNX file: download it \
             again ({reason})"
        )
    } else if has(&[
        "unsupported model ir version",
        "is under development",
        "no op registered for",
        "no opset import for",
        "is not a registered function/op",
        "could not find an implementation",
        "current official support for domain",
    ]) {
        let header = read_header(path).unwrap_or_default();
        format!(
            "{header} that the loaded ONNX Runtime ({}) does not support: use a newer ONNX Runtime, or \
             a file of an older opset ({reason})",
            library.display()
        )
    } else {
        reason.to_owned()
    };
    Error::UnreadableFile { path: path.to_owned(), expected, found }
}

/// Returns whether the library rejects weights because they are behind a link.
pub fn refuses_link(reason: &str) -> bool {
    reason.contains("escapes") && reason.contains("model directory")
}

/// Returns the weights file of the graph at `path`, if it is the cause of `reason`.
pub fn external_weights(path: &Path, reason: &str) -> Option<PathBuf> {
    let lower = reason.to_ascii_lowercase();
    let mut usual = path.as_os_str().to_owned();
    usual.push(".data");
    let usual = PathBuf::from(usual);
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    let is_external =
        has(&["external data", "external initializer", "cannot get file size", "extdata"]);
    // These can also occur with weights inside the graph.
    let may_be_external = has(&["initializer.cc", "random-access", "systemerror"]);
    if !(is_external || may_be_external && usual.symlink_metadata().is_ok()) {
        return None;
    }
    let folder = path.parent()?;
    let beside = |name: &str| {
        let name = Path::new(name).file_name()?;
        (Some(name) != path.file_name()).then(|| folder.join(name))
    };
    // Names are between quotes or brackets.
    let named = reason.split(['"', '[', ']']).skip(1).step_by(2).filter_map(|name| {
        let extension = Path::new(name.trim()).extension()?.to_str()?;
        let is_data = ["data", "bin", "weight", "weights", "onnx_data"].contains(&extension);
        is_data.then(|| beside(name.trim())).flatten()
    });
    named.into_iter().next().or(Some(usual))
}

fn explain_weights(path: &Path, weights: &Path, reason: &str) -> Error {
    let model = path.file_name().unwrap_or_default().display();
    let name = weights.file_name().unwrap_or_default().display();
    let expected = "the weights of an ONNX file";
    let unreadable =
        |found: String| Error::UnreadableFile { path: weights.to_owned(), expected, found };
    let bytes = match file::check(weights, expected) {
        Ok(metadata) => metadata.len(),
        Err(Error::FileNotFound { path, .. }) => {
            let expected = format!(
                "the weights of {model}, which are in a separate file: download {name} into \
                 the same folder"
            );
            return Error::FileNotFound { path, expected };
        }
        Err(error) => return error,
    };
    if let Some(known) = file::head(weights).as_deref().and_then(file::recognize) {
        return unreadable(known.to_string());
    }
    if refuses_link(reason) {
        return unreadable(format!(
            "a link out of the folder of {model}, which this ONNX Runtime does not follow: use \
             version 1.24.2 or newer for a cache of the Hugging Face Hub, or copy the files into \
             one folder ({reason})"
        ));
    }
    unreadable(format!(
        "a file of {bytes} bytes that does not fit {model}: it is incomplete or from another \
         download, so download both again ({reason})"
    ))
}

/// The header of a model: the versions that are needed to read it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Header {
    ir_version: u64,
    producer: String,
    opsets: Vec<Opset>,
}

#[derive(PartialEq, Eq, Message)]
struct Opset {
    /// Domain of the operators; empty for ONNX's own.
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

impl std::fmt::Display for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a graph")?;
        for (index, opset) in self.opsets.iter().enumerate() {
            f.write_str(if index == 0 { " of opset " } else { ", " })?;
            write!(f, "{}", opset.version)?;
            if !opset.domain.is_empty() {
                write!(f, " of {}", opset.domain)?;
            }
        }
        write!(f, " (IR version {}", self.ir_version)?;
        if !self.producer.is_empty() {
            write!(f, ", by {}", self.producer)?;
        }
        f.write_str(")")
    }
}

/// Reads the header of an ONNX file and skips the rest, since the graph may be gigabytes.
fn read_header(path: &Path) -> Option<Header> {
    let file = File::open(path).ok()?;
    let bytes = file.metadata().ok().filter(|metadata| metadata.is_file())?.len();
    header_of(BufReader::new(file), bytes).ok()
}

fn header_of(mut model: impl Read + Seek, bytes: u64) -> io::Result<Header> {
    let mut header = Header::default();
    for _ in 0..MAX_FIELDS {
        if model.stream_position()? >= bytes {
            break;
        }
        let tag = varint(&mut model)?;
        let (number, wire_type) = (tag >> 3, tag & 7);
        match wire_type {
            0 => {
                let value = varint(&mut model)?;
                if number == field::IR_VERSION {
                    header.ir_version = value;
                }
            }
            2 => {
                let length = varint(&mut model)?;
                let is_read = [field::PRODUCER_NAME, field::PRODUCER_VERSION, field::OPSET_IMPORT]
                    .contains(&number);
                if !is_read || length > MAX_FIELD_BYTES {
                    model.seek(SeekFrom::Current(
                        i64::try_from(length).map_err(io::Error::other)?,
                    ))?;
                    continue;
                }
                let mut value = Vec::new();
                model.by_ref().take(length).read_to_end(&mut value)?;
                match number {
                    field::OPSET_IMPORT => header.opsets.extend(Opset::decode(&*value)),
                    _ => {
                        let space = if header.producer.is_empty() { "" } else { " " };
                        header.producer += space;
                        header.producer += &String::from_utf8_lossy(&value);
                    }
                }
            }
            _ => break,
        }
    }
    Ok(header)
}

fn varint(bytes: &mut impl Read) -> io::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        bytes.read_exact(&mut byte)?;
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            return Ok(value);
        }
    }
    Err(io::Error::other("a number of more than 64 bits"))
}

/// Reads the header of an external file in memory, for the fuzz target.
pub fn fuzz_header(bytes: &[u8]) {
    if let Ok(header) = header_of(io::Cursor::new(bytes), bytes.len() as u64) {
        assert!(header.to_string().len() <= MAX_FIELDS * 2 * MAX_FIELD_BYTES as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_read_beside_the_graph() {
        let data = test_support::data().join("published");
        let header = read_header(&data.join("dynamo/encoder.onnx")).expect("an ONNX file");
        let text = header.to_string();
        assert!(text.starts_with("a graph of opset 23 (IR version 10, by pytorch 2."), "{text}");
        let header = read_header(&data.join("torchscript/decoder_joint.int8.onnx")).expect("ONNX");
        let text = header.to_string();
        assert!(
            text.starts_with("a graph of opset 17, 1 of com.microsoft (IR version 8"),
            "{text}"
        );
        assert!(header_of(io::Cursor::new([0xff; 20]), 20).is_err());
    }

    #[test]
    fn weights_are_found_in_the_messages_of_all_versions() {
        let path = Path::new("models/encoder.onnx");
        for (reason, name) in [
            (
                "External data path does not exist: \"/tmp/models/encoder.onnx.data\"",
                "encoder.onnx.data",
            ),
            (
                "filesystem error: cannot get file size: No such file or directory \
                 [models/weights.bin]",
                "weights.bin",
            ),
            ("External initializer: w offset: 0 size to read: 9", "encoder.onnx.data"),
        ] {
            let expected = Path::new("models").join(name);
            assert_eq!(external_weights(path, reason), Some(expected), "{reason}");
        }
        assert_eq!(external_weights(path, "Protobuf parsing failed."), None);
        assert!(refuses_link("\"m.data\" escapes model directory: \"models\""));
        assert!(refuses_link(
            "escapes both model directory: \"a\" and real model directory: \"b\""
        ));
    }
}
