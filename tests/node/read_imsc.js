// SPDX-License-Identifier: MPL-2.0
//
// Reads TTML files with imsc.js and prints the same JSON as tests/read_ttml.py. Errors and warnings of
// imsc.js are fatal.

const fs = require("fs");
// The main module needs a browser.
const { fromXML } = require("imsc/src/main/js/doc.js");
const { generateISD } = require("imsc/src/main/js/isd.js");

const fatal = (message) => {
  throw new Error(message);
};
const handler = { info: () => false, warn: fatal, error: fatal, fatal };

const style = (element, namespace, name) => element.styleAttrs[`${namespace} ${name}`];
const tts = (element, name) => style(element, "http://www.w3.org/ns/ttml#styling", name);

function runs(element, lines) {
  if (element.kind === "br") {
    lines.push([]);
  } else if (element.kind === "span" && element.text) {
    const color = tts(element, "color").slice(0, 3);
    const hex = (value) => value.toString(16).toUpperCase().padStart(2, "0");
    lines[lines.length - 1].push({
      text: element.text,
      color: "#" + color.map(hex).join(""),
      bold: tts(element, "fontWeight") === "bold",
      italic: tts(element, "fontStyle") === "italic",
      underline: (tts(element, "textDecoration") || []).includes("underline"),
    });
  } else {
    if (element.kind === "p") {
      lines.push([]);
    }
    (element.contents || []).forEach((child) => runs(child, lines));
  }
}

function rows(path) {
  const document = fromXML(fs.readFileSync(path, "utf8"), handler);
  const times = document.getMediaTimeEvents();
  const found = [];
  times.slice(0, -1).forEach((time, index) => {
    const isd = generateISD(document, time, handler);
    const top = (region) => tts(region, "origin").h.rh;
    const lines = [];
    isd.contents.sort((a, b) => top(a) - top(b)).forEach((region) => runs(region, lines));
    const text = lines.filter((line) => line.length > 0);
    if (text.length > 0) {
      found.push({ begin: Math.round(time * 1000), end: Math.round(times[index + 1] * 1000), lines: text });
    }
  });
  return found;
}

process.stdout.write(JSON.stringify(process.argv.slice(2).map(rows)));
