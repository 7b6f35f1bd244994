// SPDX-License-Identifier: MPL-2.0

//! Language tags.

/// Returns whether a text has the form of a language tag of BCP 47.
pub fn is_language_tag(text: &str) -> bool {
    let is_subtag = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let starts_with_letters = text
        .split('-')
        .next()
        .is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_alphabetic()));
    starts_with_letters && text.split('-').all(is_subtag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_tags_are_checked() {
        for tag in ["en", "de-CH", "zh-Hant-TW", "und", "sl-1994"] {
            assert!(is_language_tag(tag), "{tag}");
        }
        for tag in ["", "e n", "en_US", "en-", "-en", "1a", "\"", "englishlanguage"] {
            assert!(!is_language_tag(tag), "{tag}");
        }
    }
}
