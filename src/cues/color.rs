// SPDX-License-Identifier: MPL-2.0

//! Colors.

use std::fmt;

/// An opaque color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rgb([u8; 3]);

impl Rgb {
    /// White, the color of text without another.
    pub const WHITE: Self = Self::new(255, 255, 255);

    /// Creates a color from red, green, and blue.
    pub const fn new(red: u8, green: u8, blue: u8) -> Self {
        Self([red, green, blue])
    }

    /// Reads a color in Pango's notation: a name of CSS, or `#` and 1, 2, 3, or 4 hexadecimal digits
    /// for each of red, green, and blue. An alpha value is ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(digits) = text.strip_prefix('#') {
            let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let width = match digits.len() {
                3 | 4 => 1,
                6 | 8 => 2,
                9 => 3,
                12 | 16 => 4,
                _ => return None,
            };
            let value = |index: usize| {
                let digits = digits.get(index * width..index * width + width.min(2))?;
                let value = u8::from_str_radix(digits, 16).ok()?;
                Some(if width == 1 { value * 17 } else { value })
            };
            return is_hex.then_some(Self([value(0)?, value(1)?, value(2)?]));
        }
        let is_name = text.bytes().all(|byte| byte.is_ascii_alphabetic());
        let color =
            csscolorparser::parse(text).ok().filter(|_| is_name && text != "transparent")?;
        let [red, green, blue, _] = color.to_rgba8();
        Some(Self([red, green, blue]))
    }

    /// Returns a speaker's color from a list, which is cycled when it is too short.
    pub fn of_speaker(colors: &[Self], speaker: usize) -> Option<Self> {
        colors.get(speaker.checked_rem(colors.len())?).copied()
    }
}

/// Writes six hexadecimal digits.
impl fmt::Display for Rgb {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(formatter, "{red:02X}{green:02X}{blue:02X}")
    }
}

/// Reads a comma-separated list of colors.
///
/// # Errors
///
/// Returns the first entry that is not a color.
pub fn parse_list(text: &str) -> Result<Vec<Rgb>, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(|entry| Rgb::parse(entry).ok_or_else(|| entry.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_are_read_in_the_notation_of_pango() {
        let yellow = Some(Rgb::new(255, 255, 0));
        for text in [
            "yellow",
            " Yellow ",
            "#ff0",
            "#FFFF00",
            "#fff000fff".replace("000fff", "fff000").as_str(),
            "#ffffffff0000",
            "#ffff0080",
        ] {
            assert_eq!(Rgb::parse(text), yellow, "{text}");
        }
        for text in
            ["", "#", "#ff", "#ggg", "#é1", "no color", "rgb(1,2,3)", "transparent", "#+f+f+f"]
        {
            assert_eq!(Rgb::parse(text), None, "{text}");
        }
        assert_eq!(Rgb::new(1, 171, 255).to_string(), "01ABFF");
    }

    #[test]
    fn lists_are_cycled() {
        let colors = parse_list("white, yellow,").expect("colors");
        let of_speaker = |speaker| Rgb::of_speaker(&colors, speaker);
        assert_eq!([0, 1, 2].map(of_speaker), [Some(colors[0]), Some(colors[1]), Some(colors[0])]);
        assert_eq!(Rgb::of_speaker(&[], 2), None);
        assert_eq!(parse_list("white, ice"), Err("ice".to_owned()));
    }
}
