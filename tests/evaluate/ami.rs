// SPDX-License-Identifier: MPL-2.0

//! Tests the preparation of the AMI corpus from its download.

use super::*;

const NITE: &str = "xmlns:nite=\"http://nite.sourceforge.net/\"";

/// Writes a made-up meeting with all forms of the corpus's annotations: Latin-1, punctuation and
/// vocal sounds among the words, words that are untimed, truncated or spelled, segments that do not
/// begin or end with a word, and a participant without a channel.
fn made_up_ami(bench: &Bench) {
    let meeting = "ES2004a";
    let header = "<?xml version=\"1.0\" encoding=\"ISO-8859-1\" standalone=\"yes\"?>";
    let speaker = |agent: &str, name: &str| {
        format!(
            "<speaker nite:id=\"{meeting}_{agent}\" channel=\"0\" nxt_agent=\"{agent}\" global_name=\"{name}\"/>"
        )
    };
    let meetings = format!(
        "{header}<nite:root {NITE} nite:id=\"meetings\"><meeting nite:id=\"m1\" observation=\"{meeting}\">{}{}{}</meeting></nite:root>",
        speaker("A", "MEO015"),
        speaker("B", "FEE013"),
        speaker("C", "MEE014"),
    );
    let annotations = "corpus/ami_public_manual_1.6.2";
    bench.write(&format!("{annotations}/corpusResources/meetings.xml"), &meetings);
    let file = |kind: &str, agent: &str, rows: &[&str]| {
        let rows = rows.concat().replace("ID", &format!("{meeting}.{agent}.words"));
        let xml = format!(
            "{header}<nite:root nite:id=\"{meeting}.{agent}.{kind}\" {NITE}>{rows}</nite:root>"
        );
        let path = bench.write(&format!("{annotations}/{kind}/{meeting}.{agent}.{kind}.xml"), "");
        let latin: Vec<u8> =
            xml.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect();
        std::fs::write(path, latin).expect("written");
    };
    file(
        "words",
        "A",
        &[
            "<vocalsound nite:id=\"ID0\" starttime=\"0.2\" endtime=\"0.3\" type=\"laugh\"/>",
            "<w nite:id=\"ID1\" starttime=\"0.37\" endtime=\"0.95\">Caf\u{e9}</w>",
            "<w nite:id=\"ID2\" starttime=\"0.95\" endtime=\"0.95\" punc=\"true\">,</w>",
            "<w nite:id=\"ID3\" starttime=\"0.95\" endtime=\"1.2\">it&#39;s</w>",
            "<disfmarker nite:id=\"ID4\" starttime=\"1.2\" endtime=\"1.2\"/>",
            "<w nite:id=\"ID5\" starttime=\"1.2\" endtime=\"1.6\">L_C_D_</w>",
            "<w nite:id=\"ID6\" starttime=\"2.0\" endtime=\"2.2\" trunc=\"true\">scr</w>",
            "<gap nite:id=\"ID7\" starttime=\"2.3\" endtime=\"2.4\"/>",
            "<w nite:id=\"ID8\">untimed</w>",
        ],
    );
    let child = |agent: &str, range: &str| {
        format!("<nite:child href=\"{meeting}.{agent}.words.xml#{range}\"/>")
    };
    file(
        "segments",
        "A",
        &[
            "<segment nite:id=\"s1\" channel=\"0\" transcriber_start=\"0.1\" transcriber_end=\"1.7\">",
            &child("A", "id(ID0)..id(ID5)"),
            "</segment>",
            "<segment nite:id=\"s2\" channel=\"0\" transcriber_start=\"1.9\" transcriber_end=\"2.4\">",
            &child("A", "id(ID6)..id(ID7)"),
            "</segment>",
            "<segment nite:id=\"s3\" channel=\"0\" transcriber_start=\"3.1\" transcriber_end=\"3.7\">",
            &child("A", "id(ID8)"),
            "</segment>",
        ],
    );
    file(
        "words",
        "B",
        &[
            "<w nite:id=\"ID0\" starttime=\"0.5\" endtime=\"0.9\">Yeah</w>",
            "<w nite:id=\"ID1\" starttime=\"0.9\" endtime=\"0.9\" punc=\"true\">.</w>",
            "<vocalsound nite:id=\"ID2\" type=\"cough\"/>",
        ],
    );
    file(
        "segments",
        "B",
        &[
            "<segment nite:id=\"s1\" channel=\"1\" transcriber_start=\"0.4\" transcriber_end=\"1\">",
            &child("B", "id(ID0)..id(ID1)"),
            "</segment>",
            "<segment nite:id=\"s2\" channel=\"1\" transcriber_start=\"4\" transcriber_end=\"5\">",
            &child("B", "id(ID2)"),
            "</segment>",
        ],
    );
}

#[test]
fn ami_is_prepared_from_its_download() {
    let bench = Bench::new();
    made_up_ami(&bench);
    let audio = test_support::data().join("audio/ami-en2002a.wav");
    for name in ["ES2004a.Mix-Headset.wav", "ES2004a.Array1-01.wav", "ES2004b.Mix-Headset.wav"] {
        let wav = bench.write(&format!("corpus/amicorpus/{}/audio/{name}", &name[..7]), "");
        std::fs::copy(&audio, wav).expect("copied");
    }
    let turns = "SPEAKER ES2004a 1 0.37 1.23 <NA> <NA> MEO015 <NA> <NA>\n\
                 SPEAKER ES2004a 1 0.5 0.4 <NA> <NA> FEE013 <NA> <NA>\n";
    bench.write("setup/AMI/test/ES2004a.rttm", turns);
    bench.write("but/only_words/rttms/test/ES2004a.rttm", turns);
    bench.write("but/uems/test/ES2004a.uem", "ES2004a 1 0.000 30.000\n");

    let run = bench.tool("prepare_ami.py", &["corpus", "--rttms", "setup"]);
    assert_eq!(run.code, Some(1), "most of the meetings are missing: {}", run.complaints);
    assert!(run.complaints.contains("ihm-mix, ES2004b: "), "{}", run.complaints);
    assert!(run.complaints.contains("meetings.xml: no meeting ES2004b"), "{}", run.complaints);
    assert!(
        run.complaints.contains("sdm, EN2002a: no EN2002a.Array1-01.wav in corpus"),
        "{}",
        run.complaints
    );
    assert!(run.printed.contains("ami/ihm-mix.jsonl: 1 of 16 meetings"), "{}", run.printed);
    let words: Value = serde_json::from_slice(
        &std::fs::read(bench.path("ami/words/ES2004a.json")).expect("written"),
    )
    .expect("JSON");
    let row = |speaker, words, start, end| {
        json!({"session_id": "ES2004a", "speaker": speaker, "words": words,
               "start_time": start, "end_time": end})
    };
    let expected = json!([
        row("MEO015", "Caf\u{e9} it's LCD", 0.37, 1.6),
        row("FEE013", "Yeah", 0.5, 0.9),
        row("MEO015", "scr", 2.0, 2.2),
        row("MEO015", "untimed", 3.1, 3.7),
    ]);
    assert_eq!(words, expected);
    let manifest = |name: &str| -> Value {
        let line = std::fs::read_to_string(bench.path(name)).expect("written");
        serde_json::from_str(&line).expect("one line of JSON")
    };
    let [mix, distant] = ["ami/ihm-mix.jsonl", "ami/sdm.jsonl"].map(manifest);
    assert_eq!((&mix["corpus"], &distant["corpus"]), (&json!("AMI IHM-mix"), &json!("AMI SDM")));
    assert!(distant["audio_filepath"].as_str().expect("a path").ends_with("ES2004a.Array1-01.wav"));
    assert!(mix["rttm_reference"].as_str().expect("a text").starts_with("forced alignment"));
    assert!(mix.get("uem").is_none());

    // The evaluation accepts the manifest, finds no error in the reference, and prints the
    // published results for the corpus.
    bench.write("peer/ES2004a.json", &words.to_string());
    bench.write("peer/ES2004a.rttm", turns);
    let measured = bench.evaluate(&bench.path("ami/ihm-mix.jsonl"), &["--hypotheses", "peer=peer"]);
    assert_eq!(measured.code, Some(0), "{}", measured.complaints);
    let results = bench.results();
    for metric in ["cpwer", "tcpwer", "der_0", "der_0.25", "jer_0"] {
        assert_near(rate(recording(&results, "peer", "ES2004a"), metric), 0.0);
    }
    for figure in ["21.26", "19.35", "16.67", "15.90", "29.40", "9.25", "forced alignment"] {
        assert!(measured.printed.contains(figure), "{}", measured.printed);
    }
    assert!(!measured.printed.contains("37.44"), "a figure for SDM: {}", measured.printed);

    // The other layout has the words in the zip file that is downloaded.
    let zip = Command::new(repository().join(".venv/bin/python"))
        .args(["-m", "zipfile", "-c", "ami_public_manual_1.6.2.zip"])
        .args(
            ["words", "segments", "corpusResources"]
                .map(|name| bench.path("corpus/ami_public_manual_1.6.2").join(name)),
        )
        .current_dir(bench.path("corpus"))
        .status()
        .expect("Python runs");
    assert!(zip.success());
    std::fs::remove_dir_all(bench.path("corpus/ami_public_manual_1.6.2")).expect("removed");
    bench.tool("prepare_ami.py", &["corpus", "--rttms", "but", "--out", "other"]);
    let other = manifest("other/ihm-mix.jsonl");
    assert!(other["rttm_reference"].as_str().expect("a text").contains("only_words"), "{other}");
    assert!(other["uem"].as_str().expect("a path").ends_with("ES2004a.uem"), "{other}");
    let zipped = std::fs::read(bench.path("other/words/ES2004a.json")).expect("written");
    assert_eq!(serde_json::from_slice::<Value>(&zipped).expect("JSON"), expected);
}
