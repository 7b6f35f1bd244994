// SPDX-License-Identifier: MPL-2.0

//! Reading of external files: only regular files are opened, every read is bounded, and common
//! mistakes are recognized by their first bytes.

use std::fmt;
use std::fs::{File, FileType, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::cancel::Canceller;
use crate::error::Error;

/// A canceled read ends after a piece of this size at the latest.
const PIECE_BYTES: usize = 1 << 20;

/// Number of bytes that are enough to recognize a file.
const HEAD_BYTES: u64 = 512;

/// A kind of file that is often found in place of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// An empty file.
    Empty,
    /// The pointer that `git clone` leaves without Git LFS.
    LfsPointer,
    /// A web page, such as a login or an error page.
    Html,
    /// A zip archive, such as PyTorch and older `.nemo` checkpoints.
    Zip,
    /// A gzip archive.
    Gzip,
    /// A tar archive, such as `.nemo` checkpoints.
    Tar,
    /// A safetensors file.
    Safetensors,
    /// A GGUF file.
    Gguf,
    /// A JSON document.
    Json,
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an empty file (download it again)",
            Self::LfsPointer => {
                "a Git LFS pointer instead of the file itself (run `git lfs pull` in its \
                 repository, or download the file)"
            }
            Self::Html => {
                "an HTML page (a login or an error page was saved in its place: download the file \
                 itself)"
            }
            Self::Zip => {
                "a zip archive, as PyTorch checkpoints are (export it to ONNX first, see \
                 tools/export-models)"
            }
            Self::Gzip => "a gzip archive (unpack it first)",
            Self::Tar => {
                "a tar archive, as .nemo checkpoints are (export it to ONNX first, see \
                 tools/export-models)"
            }
            Self::Safetensors => "a safetensors file (ONNX files are needed)",
            Self::Gguf => "a GGUF file (ONNX files are needed)",
            Self::Json => "a JSON document",
        })
    }
}

/// Recognizes a file that is not a model by its first bytes.
pub fn recognize(head: &[u8]) -> Option<Known> {
    let text = head.trim_ascii_start();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let starts = |prefix: &str| {
        text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|h| h.starts_with(magic));
    Some(match () {
        () if head.is_empty() => Known::Empty,
        () if starts("version https://git-lfs") => Known::LfsPointer,
        () if ["<!doctype", "<html", "<head", "<?xml"].into_iter().any(starts) => Known::Html,
        () if at(0, b"PK\x03\x04") => Known::Zip,
        () if at(0, b"\x1f\x8b") => Known::Gzip,
        () if at(257, b"ustar") => Known::Tar,
        () if at(0, b"GGUF") => Known::Gguf,
        // The length of the JSON header, in 8 bytes, precedes it.
        () if at(8, b"{\"") => Known::Safetensors,
        () if starts("{\"") || starts("{\n") => Known::Json,
        () => return None,
    })
}

/// Returns the first bytes of the file at `path`, or `None` if it cannot be read.
pub fn head(path: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    open(path).ok()?.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    Some(head)
}

/// Returns whether `path` leads to a regular file.
pub fn is_regular(path: &Path) -> bool {
    path.is_file()
}

/// Checks that a regular file, which should hold `expected`, is at `path`.
///
/// # Errors
/// [`Error::FileNotFound`] if nothing is there, and [`Error::UnreadableFile`] if it is not a
/// regular file or cannot be opened.
pub fn check(path: &Path, expected: &'static str) -> Result<Metadata, Error> {
    open(path).and_then(|file| file.metadata()).map_err(|error| failure(path, expected, &error))
}

/// Returns the bytes of the regular file at `path`, which should hold `expected`.
///
/// # Errors
/// [`Error::FileNotFound`]; [`Error::UnreadableFile`] if it is larger than `max_bytes`, is not a
/// regular file, or cannot be read; [`Error::Canceled`] shortly after `canceller` is canceled.
pub fn read(
    path: &Path,
    expected: &'static str,
    max_bytes: u64,
    canceller: &Canceller,
) -> Result<Vec<u8>, Error> {
    let failed = |error: io::Error| failure(path, expected, &error);
    let file = open(path).map_err(failed)?;
    // One more byte shows that the file is too long, regardless of its metadata.
    let mut file = file.take(max_bytes + 1);
    let mut bytes = Vec::new();
    loop {
        if canceller.is_canceled() {
            return Err(Error::Canceled);
        }
        let read = file.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut bytes);
        if read.map_err(failed)? == 0 {
            return Ok(bytes);
        }
        if bytes.len() as u64 > max_bytes {
            return Err(Error::UnreadableFile {
                path: path.to_owned(),
                expected,
                found: format!("a file of more than {max_bytes} bytes"),
            });
        }
    }
}

/// Calls `consume` with the bytes of the regular file at `path`, which should hold `expected`, piece
/// by piece.
///
/// # Errors
/// [`Error::FileNotFound`]; [`Error::UnreadableFile`] if it is not a regular file or cannot be read;
/// [`Error::Canceled`] shortly after `canceller` is canceled.
pub fn read_pieces(
    path: &Path,
    expected: &'static str,
    canceller: &Canceller,
    mut consume: impl FnMut(&[u8]),
) -> Result<(), Error> {
    let failed = |error: io::Error| failure(path, expected, &error);
    let mut file = open(path).map_err(failed)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        if canceller.is_canceled() {
            return Err(Error::Canceled);
        }
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(bytes) => consume(&piece[..bytes]),
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Reads a list in UTF-8, with an item on each line that `parse` accepts, from the regular file at
/// `path`, which should hold `expected`. Empty lines and lines that begin with `#` are ignored.
///
/// # Errors
/// The errors of [`read`], and [`Error::UnreadableFile`] with the first line that is invalid.
pub fn read_list<T>(
    path: &Path,
    expected: &'static str,
    max_bytes: u64,
    canceller: &Canceller,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, Error> {
    let unreadable = |found| Error::UnreadableFile { path: path.to_owned(), expected, found };
    let bytes = read(path, expected, max_bytes, canceller)?;
    let text =
        str::from_utf8(&bytes).map_err(|error| unreadable(format!("other bytes ({error})")))?;
    parse_list(text, parse).map_err(unreadable)
}

/// Parses the lines of a list.
///
/// # Errors
/// The first line that is invalid, with its number.
pub fn parse_list<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map(str::trim).zip(1..);
    let items = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    let parse = |(line, number)| parse(line).ok_or_else(|| format!("line {number}: {line:?}"));
    items.map(parse).collect()
}

/// Returns the first `bytes` bytes of the regular file at `path` in shared memory, without a second
/// copy.
///
/// # Errors
/// [`Error::FileNotFound`]; [`Error::UnreadableFile`] if it has fewer bytes, is not a regular file,
/// or cannot be read; [`Error::Canceled`] shortly after `canceller` is canceled.
pub fn read_shared(
    path: &Path,
    expected: &'static str,
    bytes: u64,
    canceller: &Canceller,
) -> Result<Arc<[u8]>, Error> {
    let failed = |error: io::Error| failure(path, expected, &error);
    let mut file = open(path).map_err(failed)?;
    let length = usize::try_from(bytes).map_err(|error| failed(io::Error::other(error)))?;
    let mut shared: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
    let all = Arc::get_mut(&mut shared).expect("just made");
    for piece in all.chunks_mut(PIECE_BYTES) {
        if canceller.is_canceled() {
            return Err(Error::Canceled);
        }
        file.read_exact(piece).map_err(failed)?;
    }
    Ok(shared)
}

/// Opens a regular file; others are not opened, since that may block or have effects.
fn open(path: &Path) -> io::Result<File> {
    let check = |metadata: &Metadata| match kind(metadata.file_type()) {
        None => Ok(()),
        Some(kind) => Err(io::Error::new(ErrorKind::InvalidInput, kind)),
    };
    check(&std::fs::metadata(path)?)?;
    let mut options = File::options();
    options.read(true);
    // If a FIFO replaces the file in between, opening it must not wait for a writer.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// Returns the kind of file at `path` if it exists and is not regular.
pub fn irregular(path: &Path) -> Option<&'static str> {
    kind(std::fs::metadata(path).ok()?.file_type())
}

/// Returns the kind of a file that is not regular.
fn kind(file_type: FileType) -> Option<&'static str> {
    if file_type.is_file() {
        return None;
    }
    if file_type.is_dir() {
        return Some("a folder");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;

        for (is, kind) in [
            (file_type.is_fifo(), "a named pipe"),
            (file_type.is_socket(), "a socket"),
            (file_type.is_char_device(), "a character device"),
            (file_type.is_block_device(), "a block device"),
        ] {
            if is {
                return Some(kind);
            }
        }
    }
    Some("no regular file")
}

/// Returns the error for a path that cannot be opened or read.
pub fn failure(path: &Path, expected: &'static str, error: &io::Error) -> Error {
    let unreadable =
        |found: String| Error::UnreadableFile { path: path.to_owned(), expected, found };
    match error.kind() {
        ErrorKind::NotFound => match dangling(path) {
            None => Error::FileNotFound { path: path.to_owned(), expected: expected.to_owned() },
            Some(target) => {
                unreadable(format!("a link to {}, where there is no file", target.display()))
            }
        },
        ErrorKind::InvalidInput if error.raw_os_error().is_none() => unreadable(error.to_string()),
        ErrorKind::PermissionDenied => unreadable("permission denied".to_owned()),
        ErrorKind::NotADirectory => unreadable("a path through a file".to_owned()),
        #[cfg(unix)]
        _ if error.raw_os_error() == Some(libc::ELOOP) => {
            unreadable("a link that leads to itself".to_owned())
        }
        _ => unreadable(error.to_string()),
    }
}

/// Returns the target of a link to a file that does not exist.
fn dangling(path: &Path) -> Option<PathBuf> {
    std::fs::read_link(path).ok()
}

/// Identity of a file at a moment, independent of the path to it: a file that was replaced or
/// changed has another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    path: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: (u64, u64),
}

impl FileId {
    /// Returns the identity of the file at `path`, or `None` if there is no file.
    pub fn of(path: &Path) -> Option<Self> {
        let path = path.canonicalize().ok()?;
        let metadata = std::fs::metadata(&path).ok()?;
        Some(Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: {
                use std::os::unix::fs::MetadataExt;
                (metadata.dev(), metadata.ino())
            },
            path,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_recognized_by_their_first_bytes() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, known) in [
            (&b""[..], Known::Empty),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", Known::LfsPointer),
            (b"\n <!DOCTYPE html><html>", Known::Html),
            (b"<html lang=\"en\">", Known::Html),
            (b"PK\x03\x04\x14\0", Known::Zip),
            (b"\x1f\x8b\x08\0", Known::Gzip),
            (&tar, Known::Tar),
            (b"\x40\0\0\0\0\0\0\0{\"__metadata__\":{}}", Known::Safetensors),
            (b"GGUF\x03\0", Known::Gguf),
            (b"{\"error\": \"Entry not found\"}", Known::Json),
        ] {
            assert_eq!(recognize(bytes), Some(known), "{known:?}");
        }
        let data = test_support::data().join("tiny-models");
        for name in ["encoder.onnx", "decoder_joint.int8.onnx", "tokenizer.model"] {
            let head = head(&data.join(name)).expect("a fixture");
            assert_eq!(recognize(&head), None, "{name}");
        }
    }

    #[test]
    fn reading_is_bounded_and_can_be_canceled() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        File::create(&path).and_then(|file| file.set_len(1 << 33)).expect("a sparse file");
        let canceller = Canceller::new();
        let error = read(&path, "a file", 1000, &canceller).expect_err("too large").to_string();
        assert!(error.ends_with("a file of more than 1000 bytes"), "{error}");
        std::fs::write(&path, [1; 1000]).expect("written");
        assert_eq!(read(&path, "a file", 1000, &canceller).expect("fits").len(), 1000);
        canceller.cancel();
        assert!(matches!(read(&path, "a file", 1000, &canceller), Err(Error::Canceled)));
    }

    #[cfg(unix)]
    #[test]
    fn only_regular_files_are_opened() {
        use std::os::unix::fs::symlink;
        use std::os::unix::net::UnixListener;

        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "text").expect("written");
        std::fs::create_dir(at("folder")).expect("made");
        symlink("nowhere", at("dangling")).expect("linked");
        symlink("loop", at("loop")).expect("linked");
        symlink("/dev/zero", at("device")).expect("linked");
        symlink("file", at("link")).expect("linked");
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status();
        assert!(made.expect("mkfifo").success());
        let _socket = UnixListener::bind(at("socket")).expect("bound");
        for (name, found) in [
            ("folder", "a folder"),
            ("dangling", "a link to nowhere, where there is no file"),
            ("loop", "a link that leads to itself"),
            ("device", "a character device"),
            ("pipe", "a named pipe"),
            ("socket", "a socket"),
            ("file/inside", "a path through a file"),
        ] {
            for error in [
                check(&at(name), "a file").map(|_| ()).expect_err(name),
                read(&at(name), "a file", 10, &Canceller::new()).map(|_| ()).expect_err(name),
            ] {
                let text = error.to_string();
                let path = at(name).display().to_string();
                assert!(text.contains(&path) && text.ends_with(found), "{text}");
            }
        }
        assert!(check(&at("link"), "a file").is_ok());
        assert!(matches!(check(&at("none"), "a file"), Err(Error::FileNotFound { .. })));
    }

    #[test]
    fn replaced_file_is_another_one_and_a_path_by_a_detour_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "one").expect("written");
        let before = FileId::of(&path).expect("there");
        assert_eq!(FileId::of(&folder.path().join("./file")), Some(before.clone()));
        let new = folder.path().join("new");
        std::fs::write(&new, "two").expect("written");
        std::fs::rename(&new, &path).expect("replaced");
        assert_ne!(FileId::of(&path), Some(before));
        assert_eq!(FileId::of(&new), None);
    }
}
