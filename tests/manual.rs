// SPDX-License-Identifier: MPL-2.0

//! The manual says what the element has: its page of properties is made from the element itself.

#![cfg(feature = "element")]

use std::fmt::Write;
use std::path::Path;

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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).expect("writable");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "{PAGE} is out of date: run UPDATE=1 cargo test --test manual");
}
