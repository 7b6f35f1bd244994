// SPDX-License-Identifier: MPL-2.0

//! All downloads of the setup are pinned and checked against hashes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the `.txt` file beside each `.in` file.
fn locked() -> Vec<PathBuf> {
    let tools = std::fs::read_dir(repository().join("tools")).expect("the tools");
    let folders = tools.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir());
    folders
        .chain([repository().join("tests")])
        .flat_map(|folder| std::fs::read_dir(folder).expect("a folder"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "in"))
        .map(|path| path.with_extension("txt"))
        .collect()
}

/// Returns the pinned versions by package name.
fn pins(path: &Path) -> BTreeMap<String, String> {
    let text = read(path);
    let pins = text.lines().filter(|line| !line.starts_with([' ', '#'])).map(|line| {
        let (name, rest) = line.split_once("==").unwrap_or_else(|| panic!("no version: {line}"));
        let version = rest.split([' ', ';', '\\']).next().expect("a part");
        (name.to_owned(), version.to_owned())
    });
    pins.collect()
}

#[test]
fn python_packages_have_hashes() {
    let files = locked();
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let text = read(&file).replace("\\\n", "");
        let requirements = text.lines().filter(|line| !line.starts_with('#'));
        let without: Vec<_> =
            requirements.filter(|line| !line.contains("--hash=sha256:")).collect();
        assert!(without.is_empty(), "{}: {without:?}", file.display());
        assert!(!pins(&file).is_empty());
    }
}

/// All of these packages are installed into one `.venv`.
#[test]
fn tools_have_the_versions_that_the_tests_have() {
    let tests = pins(&repository().join("tests/requirements.txt"));
    for tool in ["tools/fetch-models", "tools/prepare-models"] {
        for (name, version) in pins(&repository().join(tool).join("requirements.txt")) {
            assert_eq!(tests.get(&name), Some(&version), "{tool}: {name}");
        }
    }
}

#[test]
fn the_set_up_checks_what_it_downloads() {
    let setup = read(&repository().join("tools/setup.sh")).replace("\\\n", "");
    let makefile = read(&repository().join("Makefile")).replace("\\\n", "");
    let mut count = 0;
    for line in setup.lines().chain(makefile.lines()).filter(|line| !line.starts_with('#')) {
        if line.contains("-m pip ") {
            assert!(line.contains(" --require-hashes "), "{line}");
            count += 1;
        }
        for command in ["build", "test", "check", "clippy", "doc", "tree", "install", "deny"] {
            if line.contains(&format!("cargo {command} ")) && !line.contains("--version") {
                assert!(line.contains("--locked"), "{line}");
                count += 1;
            }
        }
    }
    assert!(count >= 10, "{count}");
}
