// SPDX-License-Identifier: MPL-2.0

//! Tests graphs with dimensions or metadata out of range.

use multitalker_asr::Precision;
use test_support::data;

use super::{FP32, assert_contains, folder_with, load};

#[test]
fn excessive_dimensions_are_refused() {
    for (file, name, from, to) in [
        ("decoder_joint.onnx", "input_states_1", 2, "dimension 0 of input_states_1"),
        ("encoder.onnx", "cache_last_channel", 3, "dimension 1 of cache_last_channel"),
    ] {
        let folder = folder_with(&FP32);
        let path = folder.path().join(file);
        let graph = std::fs::read(&path).expect("readable");
        let graph = with_dimension(&graph, name, from, 1 << 31);
        std::fs::write(&path, graph).expect("written");
        let error = load(folder.path(), Precision::Fp32).err().expect("refused").to_string();
        assert_contains(&error, &[file, to, "2147483648"]);
    }
}

/// Returns `graph` with `size` as the first dimension of the input `name` that was `from`.
fn with_dimension(graph: &[u8], name: &str, from: u8, size: u64) -> Vec<u8> {
    use prost::encoding::{decode_varint, encode_varint};

    /// Returns `message` with the fields at `path` changed.
    fn edit(
        message: &[u8],
        path: &[u64],
        change: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> Vec<u8> {
        let Some((&wanted, rest)) = path.split_first() else {
            return change(message).unwrap_or_else(|| message.to_vec());
        };
        let (mut input, mut output) = (message, Vec::new());
        while !input.is_empty() {
            let start = input;
            let tag = decode_varint(&mut input).expect("a tag");
            if tag & 7 == 2 {
                let length = decode_varint(&mut input).expect("a length") as usize;
                let (value, after) = input.split_at(length);
                input = after;
                let value =
                    if tag >> 3 == wanted { edit(value, rest, change) } else { value.to_vec() };
                encode_varint(tag, &mut output);
                encode_varint(value.len() as u64, &mut output);
                output.extend(value);
            } else {
                match tag & 7 {
                    0 => drop(decode_varint(&mut input).expect("a number")),
                    5 => input = &input[4..],
                    other => panic!("wire type {other}"),
                }
                output.extend(&start[..start.len() - input.len()]);
            }
        }
        output
    }
    let mut done = false;
    // The path is ModelProto.graph.input, then type, tensor type, shape and dimension of the input.
    edit(graph, &[7, 11], &mut |input| {
        let named = [&[0x0a, name.len() as u8], name.as_bytes()].concat();
        input.starts_with(&named).then(|| {
            edit(input, &[2, 1, 2, 1], &mut |dimension| {
                (!done && dimension == [8, from]).then(|| {
                    done = true;
                    let mut changed = vec![8];
                    encode_varint(size, &mut changed);
                    changed
                })
            })
        })
    })
}

#[test]
fn prepared_for_no_chunks_is_refused() {
    let folder = folder_with(&FP32);
    let mut graph = std::fs::read(data().join("prepared-models/encoder.onnx")).expect("readable");
    // The entry is a key and a value of one character in protobuf.
    let entry = b"max_chunks\x12\x01";
    let at = graph.windows(entry.len()).position(|bytes| bytes == entry).expect("prepared");
    graph[at + entry.len()] = b'0';
    std::fs::write(folder.path().join(FP32[0]), graph).expect("written");
    let error = load(folder.path(), Precision::Fp32).err().expect("refused").to_string();
    for part in ["encoder.onnx", "max_chunks in the metadata", "expected a number", "found 0 ("] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}
