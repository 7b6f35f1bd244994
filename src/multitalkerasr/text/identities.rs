// SPDX-License-Identifier: MPL-2.0

//! The people behind the speakers, and their names.

use std::collections::{BTreeMap, BTreeSet};

use crate::multitalkerasr::text::speaker::{Speaker, SpeakerNames};

/// Who the speakers are at the moment, as far as their voices are known.
#[derive(Debug, Default)]
pub struct Identities {
    /// The person who has the voice of a speaker.
    current: BTreeMap<Speaker, u64>,
    /// Whether the next speakers may be other people.
    is_outdated: bool,
    /// Names of people.
    names: BTreeMap<u64, String>,
    /// Speakers whose names became those of people.
    assigned: BTreeSet<Speaker>,
}

/// A person, as far as known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// Number of the person.
    pub identity: Option<u64>,
    /// Name of the person.
    pub name: Option<String>,
    /// How often the diarizer has forgotten its speakers before. Without an identity, the same
    /// speaker of another generation may be another person.
    pub generation: u64,
}

impl Identities {
    /// Notes that a speaker has the voice of a person with this name, if it is known. A person
    /// without a name gets the speaker's.
    pub fn identify(
        &mut self,
        speaker: Speaker,
        identity: u64,
        name: Option<&str>,
        names: &SpeakerNames,
    ) {
        if std::mem::take(&mut self.is_outdated) {
            self.current.clear();
        }
        self.current.insert(speaker, identity);
        if let Some(name) = name {
            self.names.entry(identity).or_insert_with(|| name.to_owned());
        }
        if let Some(name) = names.get(speaker)
            && self.assigned.insert(speaker)
        {
            self.names.entry(identity).or_insert_with(|| name.to_owned());
        }
    }

    /// Attributes everything of one person to another one.
    pub fn replace(&mut self, replaced: u64, identity: u64) {
        for current in self.current.values_mut().filter(|current| **current == replaced) {
            *current = identity;
        }
        if let Some(name) = self.names.remove(&replaced) {
            self.names.entry(identity).or_insert(name);
        }
    }

    /// Names the person who has the voice of a speaker, and returns the person's number; `None` if
    /// that is unknown.
    pub fn set_name(&mut self, speaker: Speaker, name: &str) -> Option<u64> {
        self.assigned.remove(&speaker);
        let identity = *self.current.get(&speaker)?;
        // A removed name also takes precedence over the one of the voice print.
        self.names.insert(identity, name.to_owned());
        Some(identity)
    }

    /// Notes that other names were given to speakers.
    pub fn clear_assigned(&mut self) {
        self.assigned.clear();
    }

    /// Notes that the next speakers may be other people. Until one is identified, names are for the
    /// people so far.
    pub fn restart(&mut self) {
        self.is_outdated = true;
    }

    /// Returns the names of people.
    pub fn names(&self) -> &BTreeMap<u64, String> {
        &self.names
    }

    /// Returns the name of a person.
    pub fn name(&self, identity: u64) -> Option<&str> {
        self.names.get(&identity).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Returns the person behind a speaker who has the voice of `identity`, if that is known. The
    /// name of a speaker is used only until it is the name of a person.
    pub fn person(
        &self,
        speaker: Speaker,
        identity: Option<u64>,
        generation: u64,
        names: &SpeakerNames,
    ) -> Person {
        let name = match identity {
            Some(identity) => self.name(identity),
            None if self.assigned.contains(&speaker) => None,
            None => names.get(speaker),
        };
        Person { identity, name: name.map(str::to_owned), generation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[(usize, &str)]) -> SpeakerNames {
        let mut names = SpeakerNames::default();
        list.iter().for_each(|(speaker, name)| names.set(Speaker::new(*speaker), name));
        names
    }

    fn name(identities: &Identities, speaker: usize, identity: Option<u64>) -> Option<String> {
        identities.person(Speaker::new(speaker), identity, 0, &names(&[(0, "Alice")])).name
    }

    #[test]
    fn name_of_a_speaker_becomes_that_of_the_person() {
        let mut identities = Identities::default();
        assert_eq!(name(&identities, 0, None).as_deref(), Some("Alice"));
        identities.identify(Speaker::new(0), 7, None, &names(&[(0, "Alice")]));
        assert_eq!(name(&identities, 2, Some(7)).as_deref(), Some("Alice"), "in another slot");
        identities.identify(Speaker::new(0), 8, None, &names(&[(0, "Alice")]));
        assert_eq!(name(&identities, 0, Some(8)), None, "another person");
        assert_eq!(name(&identities, 0, None), None);
        assert_eq!(identities.set_name(Speaker::new(0), "Bob"), Some(8));
        assert_eq!(name(&identities, 0, Some(8)).as_deref(), Some("Bob"));
        identities.restart();
        assert_eq!(identities.set_name(Speaker::new(0), "Carol"), Some(8), "the last one");
        identities.identify(Speaker::new(1), 9, None, &names(&[]));
        assert_eq!(identities.set_name(Speaker::new(0), "Dave"), None);
    }

    #[test]
    fn enrolled_names_come_first_and_removed_ones_stay_removed() {
        let mut identities = Identities::default();
        identities.identify(Speaker::new(0), 1, Some("Ada"), &names(&[(0, "Alice")]));
        assert_eq!(name(&identities, 0, Some(1)).as_deref(), Some("Ada"));
        identities.set_name(Speaker::new(0), "");
        identities.identify(Speaker::new(0), 1, Some("Ada"), &names(&[]));
        assert_eq!(name(&identities, 0, Some(1)), None);
    }

    #[test]
    fn merged_people_have_one_name() {
        let mut identities = Identities::default();
        identities.identify(Speaker::new(0), 1, None, &names(&[]));
        identities.identify(Speaker::new(1), 2, Some("Ada"), &names(&[]));
        identities.replace(2, 1);
        assert_eq!(name(&identities, 1, Some(1)).as_deref(), Some("Ada"));
        assert_eq!(identities.set_name(Speaker::new(1), "Grace"), Some(1));
        assert_eq!(name(&identities, 0, Some(1)).as_deref(), Some("Grace"));
    }
}
