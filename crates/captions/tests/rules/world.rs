// SPDX-License-Identifier: MPL-2.0

//! The grammar of the demo's bulletins, as in `tools/demo-models/world.py`.

/// Sentences with slots in braces.
const TEMPLATES: &[&str] = &[
    "good {daytime} and welcome to the {daytime} news",
    "good {daytime} {name} what is new in {city}",
    "hello {name} how are you {when}",
    "thank you {name} and good night",
    "thank you very much {name}",
    "this is {name} with the news from {city}",
    "welcome back to {sport} on {day}",
    "over to you {name} in {city}",
    "{when} it will be {sky} and {sky} in {city}",
    "expect {much} {falls} in the {side} on {day}",
    "{much} {falls} will reach {city} {when}",
    "the temperature will {move} to {number} degrees in {city}",
    "a storm is moving towards the {side} of {city}",
    "{number} degrees in {city} and {falls} in the {side}",
    "it stays {sky} until {day} {daytime}",
    "the {road} to {city} is {shut} because of {why}",
    "the {road} near the {place} is {shut} until {day}",
    "there is an accident on the {road} near {city}",
    "all {ride} from {city} are {late} {when}",
    "the {ride} to {city} are {late} because of {why}",
    "drivers should avoid the {road} to the {place}",
    "please expect delays of {number} minutes near the {place}",
    "{city} won {small} to {small} against {city}",
    "{city} lost the {sport} {game} on {day}",
    "{name} scored {small} goals in the {half} half",
    "the {half} {sport} {game} starts on {day} {daytime}",
    "the {crowd} in {city} are {feel} about the {game}",
    "the {who} opened a new {place} in {city}",
    "the {who} said that {number} {crowd} came to the {place}",
    "{number} {crowd} visited the {place} on {day}",
    "the {who} is {feel} about the new {place}",
    "the {place} will be {shut} on {day}",
];

/// Words or phrases of each slot.
const SLOTS: &[(&str, &str)] = &[
    ("name", "anna|peter|maria|david|laura|james|emma|robert"),
    ("city", "london|paris|dublin|berlin|madrid|vienna|boston|lisbon"),
    ("day", "monday|tuesday|wednesday|thursday|friday|saturday|sunday"),
    ("number", "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty"),
    ("small", "two|three|four|five|six|seven"),
    ("daytime", "morning|afternoon|evening"),
    ("when", "today|tonight|tomorrow"),
    ("sky", "warm|cold|windy|cloudy|sunny|dry|wet"),
    ("falls", "rain|snow|wind|fog|thunder"),
    ("much", "heavy|light|strong"),
    ("side", "north|south|east|west"),
    ("move", "rise|fall"),
    ("road", "road|bridge|tunnel|motorway|street"),
    ("shut", "closed|open|blocked|flooded"),
    ("ride", "trains|buses|flights|ferries"),
    ("late", "late|canceled|running again|full"),
    ("why", "an accident|the storm|repairs|the marathon"),
    ("game", "match|final|race|game"),
    ("sport", "football|tennis|hockey|basketball|cricket"),
    ("half", "first|second"),
    ("who", "mayor|minister|police|teacher|captain"),
    ("place", "school|library|hospital|museum|market|park|harbour|station"),
    ("crowd", "people|children|visitors|players"),
    ("feel", "happy|tired|proud|worried"),
];

/// Returns a random sentence.
pub fn sentence(random: &mut fastrand::Rng) -> String {
    let words = random.choice(TEMPLATES).unwrap_or(&"").split(' ').map(|word| {
        let name = word.strip_prefix('{').and_then(|word| word.strip_suffix('}'));
        let slot = name.and_then(|name| SLOTS.iter().find(|(slot, _)| *slot == name));
        match slot {
            Some((_, phrases)) => {
                random.choice(phrases.split('|').collect::<Vec<_>>()).unwrap_or(word)
            }
            None => word,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
