# SPDX-License-Identifier: MPL-2.0
"""Defines the demo's small domain: a grammar of short bulletins, and the voices that read them."""
import random
import zlib

NAMES = "anna peter maria david laura james emma robert".split()
CITIES = "london paris dublin berlin madrid vienna boston lisbon".split()
DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
NUMBERS = "two three four five six seven eight nine ten eleven twelve twenty thirty forty".split()
SLOTS = {
    "name": NAMES, "city": CITIES, "day": DAYS, "number": NUMBERS,
    "small": NUMBERS[:6],
    "daytime": "morning afternoon evening".split(),
    "when": "today tonight tomorrow".split(),
    "sky": "warm cold windy cloudy sunny dry wet".split(),
    "falls": "rain snow wind fog thunder".split(),
    "much": "heavy light strong".split(),
    "side": "north south east west".split(),
    "move": "rise fall".split(),
    "road": "road bridge tunnel motorway street".split(),
    "shut": "closed open blocked flooded".split(),
    "ride": "trains buses flights ferries".split(),
    "late": ["late", "canceled", "running again", "full"],
    "why": ["an accident", "the storm", "repairs", "the marathon"],
    "game": "match final race game".split(),
    "sport": "football tennis hockey basketball cricket".split(),
    "half": "first second".split(),
    "who": "mayor minister police teacher captain".split(),
    "place": "school library hospital museum market park harbour station".split(),
    "crowd": "people children visitors players".split(),
    "feel": "happy tired proud worried".split(),
}
TEMPLATES = """
good {daytime} and welcome to the {daytime} news
good {daytime} {name} what is new in {city}
hello {name} how are you {when}
thank you {name} and good night
thank you very much {name}
this is {name} with the news from {city}
welcome back to {sport} on {day}
over to you {name} in {city}
{when} it will be {sky} and {sky} in {city}
expect {much} {falls} in the {side} on {day}
{much} {falls} will reach {city} {when}
the temperature will {move} to {number} degrees in {city}
a storm is moving towards the {side} of {city}
{number} degrees in {city} and {falls} in the {side}
it stays {sky} until {day} {daytime}
the {road} to {city} is {shut} because of {why}
the {road} near the {place} is {shut} until {day}
there is an accident on the {road} near {city}
all {ride} from {city} are {late} {when}
the {ride} to {city} are {late} because of {why}
drivers should avoid the {road} to the {place}
please expect delays of {number} minutes near the {place}
{city} won {small} to {small} against {city}
{city} lost the {sport} {game} on {day}
{name} scored {small} goals in the {half} half
the {half} {sport} {game} starts on {day} {daytime}
the {crowd} in {city} are {feel} about the {game}
the {who} opened a new {place} in {city}
the {who} said that {number} {crowd} came to the {place}
{number} {crowd} visited the {place} on {day}
the {who} is {feel} about the new {place}
the {place} will be {shut} on {day}
""".strip().splitlines()


def sentence(rng: random.Random) -> str:
    """Returns a random sentence. A slot that occurs twice in a template never has the same word twice."""
    used, words = set(), []
    for word in rng.choice(TEMPLATES).split():
        if word[0] == "{":
            word = rng.choice([w for w in SLOTS[word[1:-1]] if w not in used])
            used.add(word)
        words.append(word)
    return " ".join(words)


def is_test(text: str) -> bool:
    """Returns whether a sentence is reserved for testing, which is one in eight, for all voices."""
    return zlib.crc32(text.encode()) % 8 == 0


def sentences(rng: random.Random, count: int, test: bool) -> list[str]:
    out = []
    while len(out) < count:
        text = sentence(rng)
        if is_test(text) == test:
            out.append(text)
    return out


def vocabulary() -> set[str]:
    words = {w for t in TEMPLATES for w in t.split() if w[0] != "{"}
    return words | {w for slot in SLOTS.values() for phrase in slot for w in phrase.split()}


def voices() -> list[dict]:
    """Returns all voices: engine, the voice's name in that engine, rate and pitch, and a resampling factor. The factor
    shifts pitch, formants, and tempo together, so the voice sounds like another person."""
    out = []

    def add(engine, name, test=False, rate=160, pitch=50, factor=1.0):
        out.append(dict(id=f"{engine}-{name}-{factor:.2f}", base=f"{engine}-{name}", engine=engine, name=name,
                        rate=rate, pitch=pitch, factor=factor, test=test))

    rng = random.Random(7)
    accents = ["en-us", "en-gb", "en-us", "en-gb-x-rp", "en-gb-scotland"]
    train = ("m1 m2 m3 m4 m6 m7 f1 f2 f4 f5 adam Alex Alicia Andrea antonio aunty belinda benjamin boris caleb "
             "david Denis ed edward2 Gene grandma grandpa Henrique iven iven3 Jacky john klatt klatt3 linda Marco "
             "Mario max michel miguel Mr norbert pablo paul quincy rob steph2 travis victor Hugo").split()
    test = "m5 f3 Annie edward iven2 Lee steph zac m8 Michael".split()
    for i, name in enumerate(train):
        add("espeak", f"{accents[i % 5]}+{name}", rate=rng.randint(140, 185), pitch=rng.randint(30, 70))
    for i, name in enumerate(test):
        add("espeak", f"{accents[i % 3]}+{name}", test=True, rate=rng.randint(145, 180), pitch=rng.randint(35, 65))
    for name, factors in (("slt", (0.85, 1.0, 1.12)), ("rms", (0.9, 1.0, 1.18)), ("awb", (0.9, 1.0, 1.12)), ("kal16", (0.9, 1.0, 1.15))):
        for factor in factors:
            add("flite", name, factor=factor)
    for name, factors in (("kal_diphone", (1.0, 1.2)), ("ked_diphone", (0.95, 1.1)), ("cmu_us_slt_arctic_hts", (0.93,))):
        for factor in factors:
            add("festival", name, factor=factor)
    # Voices based on human recordings are few, so these test voices are training voices with new factors.
    add("flite", "rms", test=True, factor=1.08)
    add("flite", "slt", test=True, factor=0.93)
    return out
