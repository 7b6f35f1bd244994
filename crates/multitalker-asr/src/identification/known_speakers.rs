// SPDX-License-Identifier: MPL-2.0

//! The people whose voices are known.

use crate::identification::voice_print::VoicePrint;

/// A person whose voice is known.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownSpeaker {
    /// Number of the person, which no other person has.
    pub identity: u64,
    /// Name, unless it is unknown.
    pub name: Option<String>,
    /// Whether the voice was enrolled under its name.
    pub is_enrolled: bool,
    /// What is remembered of the voice.
    pub voice: VoicePrint,
}

/// All known people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownSpeakers {
    speakers: Vec<KnownSpeaker>,
    /// The highest number of a person so far.
    last_identity: u64,
}

impl KnownSpeakers {
    /// Creates a list of people with different numbers.
    pub fn new(speakers: Vec<KnownSpeaker>) -> Self {
        let last_identity = speakers.iter().map(|known| known.identity).max().unwrap_or(0);
        Self { speakers, last_identity }
    }

    /// Returns all people, in the order in which they became known.
    pub fn list(&self) -> &[KnownSpeaker] {
        &self.speakers
    }

    /// Returns a person.
    pub fn get(&self, identity: u64) -> Option<&KnownSpeaker> {
        self.speakers.iter().find(|known| known.identity == identity)
    }

    /// Names a person. An empty name removes the name.
    pub fn set_name(&mut self, identity: u64, name: &str) {
        if let Some(known) = self.get_mut(identity) {
            known.name = (!name.is_empty()).then(|| name.to_owned());
        }
    }

    /// Adds a person, and returns the new number.
    pub fn add(&mut self, voice: VoicePrint) -> u64 {
        self.push(None, false, voice)
    }

    /// Adds the voice of a person under a name. If a person of this name is known, the voice
    /// replaces what was remembered.
    pub fn enroll(&mut self, name: &str, voice: VoicePrint) -> u64 {
        let known = self.speakers.iter_mut().find(|known| known.name.as_deref() == Some(name));
        match known {
            Some(known) => {
                (known.voice, known.is_enrolled) = (voice, true);
                known.identity
            }
            None => self.push(Some(name.to_owned()), true, voice),
        }
    }

    fn push(&mut self, name: Option<String>, is_enrolled: bool, voice: VoicePrint) -> u64 {
        self.last_identity += 1;
        let identity = self.last_identity;
        self.speakers.push(KnownSpeaker { identity, name, is_enrolled, voice });
        identity
    }

    /// Adds speech of a person.
    pub fn learn(&mut self, identity: u64, voice: &VoicePrint) {
        if let Some(known) = self.get_mut(identity) {
            known.voice.add(voice);
        }
    }

    /// Removes a person whose voice turned out to be that of another one, who also gets the name if
    /// there was none.
    pub fn merge(&mut self, from: u64, into: u64) {
        let Some(index) = self.speakers.iter().position(|known| known.identity == from) else {
            return;
        };
        let removed = self.speakers.remove(index);
        if let Some(known) = self.get_mut(into) {
            known.voice.add(&removed.voice);
            known.name = known.name.take().or(removed.name);
        }
    }

    /// Returns the person with the most similar voice for whom `allows`, and the similarity.
    pub fn closest(
        &self,
        voice: &VoicePrint,
        allows: impl Fn(&KnownSpeaker) -> bool,
    ) -> Option<(&KnownSpeaker, f32)> {
        let allowed = self.speakers.iter().filter(|known| allows(known));
        allowed
            .map(|known| (known, known.voice.similarity(voice)))
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
    }

    fn get_mut(&mut self, identity: u64) -> Option<&mut KnownSpeaker> {
        self.speakers.iter_mut().find(|known| known.identity == identity)
    }
}
