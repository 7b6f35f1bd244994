// SPDX-License-Identifier: MPL-2.0

//! The manual says what the element has: its page of properties is made from the element itself. Its
//! links lead somewhere.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use gst::glib;
use gst::prelude::*;

const PAGE: &str = "docs/properties.md";

const HEAD: &str = "\
<!-- Written by `UPDATE=1 cargo test --test manual` from the element's own descriptions. -->

# Properties

| property | type or values | default | description |
|---|---|---|---|
";

const FOOT: &str = "
Properties marked *live* may be set at any time and take effect at once. All others take effect at \
the next change from READY to PAUSED.
";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The type in words, or the values of an enumeration, and the default.
fn kind_and_default(pspec: &glib::ParamSpec) -> (String, String) {
    let number = |minimum: String, maximum: String, default: String| {
        (format!("{} to {}", minimum, maximum), format!("`{default}`"))
    };
    if let Some(spec) = pspec.downcast_ref::<glib::ParamSpecEnum>() {
        let class = spec.enum_class();
        let nicks: Vec<String> =
            class.values().iter().map(|value| format!("`{}`", value.nick())).collect();
        let default = class.value(spec.default_value_as_i32()).map_or("", glib::EnumValue::nick);
        return (nicks.join(", "), format!("`{default}`"));
    }
    if let Some(spec) = pspec.downcast_ref::<glib::ParamSpecUInt>() {
        return number(
            spec.minimum().to_string(),
            spec.maximum().to_string(),
            spec.default_value().to_string(),
        );
    }
    if let Some(spec) = pspec.downcast_ref::<glib::ParamSpecUInt64>() {
        return number(
            spec.minimum().to_string(),
            spec.maximum().to_string(),
            spec.default_value().to_string(),
        );
    }
    if let Some(spec) = pspec.downcast_ref::<glib::ParamSpecFloat>() {
        return number(
            spec.minimum().to_string(),
            spec.maximum().to_string(),
            spec.default_value().to_string(),
        );
    }
    if let Some(spec) = pspec.downcast_ref::<glib::ParamSpecBoolean>() {
        return ("boolean".to_owned(), format!("`{}`", spec.default_value()));
    }
    if pspec.downcast_ref::<glib::ParamSpecString>().is_some() {
        let default = pspec.default_value().get::<Option<String>>().ok().flatten();
        let default = default.filter(|text| !text.is_empty());
        return ("string".to_owned(), default.map_or_else(String::new, |text| format!("`{text}`")));
    }
    panic!("{}: the manual has no words for a {}", pspec.name(), pspec.type_())
}

fn page() -> String {
    gst::init().expect("GStreamer");
    gstmultitalkerasr::plugin_register_static().expect("a new plugin");
    let element = gst::ElementFactory::make("multitalkerasr").build().expect("the element");
    let mut page = HEAD.to_owned();
    let own = element.list_properties().to_vec().into_iter();
    for pspec in own.filter(|pspec| pspec.owner_type() == element.type_()) {
        let (kind, default) = kind_and_default(&pspec);
        let flags = pspec.flags();
        let when = match () {
            () if !flags.contains(glib::ParamFlags::WRITABLE) => ", *read-only*",
            () if flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING) => ", *live*",
            () => "",
        };
        let blurb = pspec.blurb().unwrap_or_default().replace('|', "\\|");
        writeln!(page, "| `{}` | {kind}{when} | {default} | {blurb} |", pspec.name())
            .expect("a string grows");
    }
    page + FOOT
}

#[test]
fn properties_of_the_manual_are_those_of_the_element() {
    let path = repository().join(PAGE);
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).expect("writable");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "{PAGE} is out of date: run UPDATE=1 cargo test --test manual");
}

/// The Markdown files that git knows.
fn pages() -> Vec<PathBuf> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "-z", "--", "*.md"])
        .current_dir(repository())
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "{output:?}");
    let names = String::from_utf8(output.stdout).expect("UTF-8");
    names.split_terminator('\0').map(|name| repository().join(name)).collect()
}

/// The anchor that a heading has on the page.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

#[test]
fn links_of_the_manual_lead_somewhere() {
    let pages = pages();
    assert!(pages.len() > 10, "{pages:?}");
    let mut links = 0;
    for page in &pages {
        let text = std::fs::read_to_string(page).expect("UTF-8");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            if file.starts_with("http") {
                continue;
            }
            let target = match file {
                "" => page.clone(),
                _ => page.parent().expect("in a folder").join(file),
            };
            assert!(target.exists(), "{}: {link}", page.display());
            if !fragment.is_empty() {
                let text = std::fs::read_to_string(&target).expect("UTF-8");
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                let is_there =
                    headings.any(|line| anchor(line.trim_start_matches('#').trim()) == fragment);
                assert!(is_there, "{}: {link}", page.display());
            }
            links += 1;
        }
    }
    assert!(links > 30, "{links}");
}
