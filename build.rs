// SPDX-License-Identifier: MPL-2.0

//! Passes the commit and the release date to the plugin description.

fn main() {
    gst_plugin_version_helper::info();
}
