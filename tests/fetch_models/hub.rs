// SPDX-License-Identifier: MPL-2.0

//! Tests tokens, licenses and refusals of the hub, and files that are already downloaded.

use super::*;

#[test]
fn a_hub_that_is_busy_is_asked_again() {
    let busy = json!({"faults": {ENCODER: {"busy": 2}, "tokenizer.model": {"busy": 1}}});
    let bench = Bench::new(&demo_models(), busy);
    assert!(succeeds(bench.tool(&[])).contains("the models are ready"));
}

#[test]
fn what_a_hub_refuses_is_said_in_one_line() {
    let without_encoder = json!({"repos": {RECOGNIZER: {"files": {}}}});
    let bench = Bench::new(&demo_models(), without_encoder);
    let stderr = refusal(bench.tool(&[]));
    let expected = format!(
        "{RECOGNIZER}: encoder.int8.onnx: expected this file in revision main at {}, found none",
        bench.endpoint
    );
    assert!(stderr.contains(&expected), "{stderr}");

    let stderr = refusal(Bench::new(&demo_models(), json!({"repos": {}})).tool(&[]));
    assert!(stderr.contains(&format!("{RECOGNIZER}: expected this repository at ")), "{stderr}");

    let bench = Bench::new(&demo_models(), json!({}));
    let elsewhere = |endpoint: &str| {
        let mut command = bench.tool(&[]);
        command.env("HF_ENDPOINT", endpoint);
        refusal(command)
    };
    let stderr = elsewhere("http://127.0.0.1:9");
    assert!(stderr.contains("cannot reach http://127.0.0.1:9: "), "{stderr}");
    assert!(stderr.contains("set HF_ENDPOINT to a mirror"), "{stderr}");
    let stderr = elsewhere("hf-mirror.example");
    assert!(stderr.contains("cannot reach hf-mirror.example: "), "{stderr}");
    let mut offline = bench.tool(&[]);
    offline.env("HF_HUB_OFFLINE", "1");
    let stderr = refusal(offline);
    assert!(stderr.contains("has to be downloaded, but HF_HUB_OFFLINE is set"), "{stderr}");

    let fault = json!({"faults": {ENCODER: {"status": 403}}});
    let stderr = refusal(Bench::new(&demo_models(), fault).tool(&[]));
    assert!(stderr.contains("encoder.int8.onnx: ") && stderr.contains("status 403"), "{stderr}");
}

#[test]
fn a_gated_repository_wants_a_token_which_only_the_hub_sees() {
    let mut repos = json!({RECOGNIZER: {"gated": true, "files": {}}, DIARIZERS: {"files": {}}});
    let demo = demo_models();
    for name in [ENCODER, "decoder_joint.int8.onnx", "tokenizer.model", "multitalker_config.json"] {
        repos[RECOGNIZER]["files"][name] = demo.join(name).display().to_string().into();
    }
    repos[DIARIZERS]["files"][V2_1] = demo.join("sortformer.onnx").display().to_string().into();
    let bench = Bench::new(&demo, json!({"repos": repos}));
    let stderr = refusal(bench.tool(&[]));
    let expected = format!("{RECOGNIZER} is gated: no token was found. Accept its conditions at ");
    assert!(stderr.contains(&expected) && stderr.contains("set HF_TOKEN"), "{stderr}");
    let mut wrong = bench.tool(&[]);
    wrong.env("HF_TOKEN", "hf_wrong");
    let stderr = refusal(wrong);
    assert!(stderr.contains("is gated: the token in use has no access"), "{stderr}");

    // `hf auth login` stores the token in this file.
    bench.requests();
    std::fs::create_dir_all(bench.folder.path().join("hf")).expect("a folder");
    std::fs::write(bench.folder.path().join("hf/token"), TOKEN).expect("written");
    succeeds(bench.tool(&[]));
    let requests = bench.requests();
    let requests_to =
        |host: &str| -> Vec<_> { requests.iter().filter(|entry| entry["host"] == host).collect() };
    let bearer = json!(format!("Bearer {TOKEN}"));
    assert!(requests_to("127.0.0.1").iter().any(|entry| entry["authorization"] == bearer));
    let elsewhere = requests_to("localhost");
    assert!(elsewhere.len() >= 4, "{requests:?}");
    assert!(elsewhere.iter().all(|entry| entry["authorization"].is_null()), "{elsewhere:?}");
}

#[test]
fn the_license_is_asked_for_once() {
    let bench = Bench::new(&demo_models(), json!({}));
    let stderr = refusal(bench.unlicensed(&[]));
    assert!(
        stderr.contains("run the command on a terminal, or set ACCEPT_LICENSE=yes"),
        "{stderr}"
    );
    assert!(bench.requests().is_empty(), "the hub was asked before the license was accepted");

    let on_terminal = |answer: &str| {
        let tool = bench.unlicensed(&[]);
        let words = std::iter::once(tool.get_program()).chain(tool.get_args());
        let quoted: Vec<_> =
            words.map(|word| format!("'{}'", word.to_str().expect("UTF-8"))).collect();
        let mut script = bench.with_hub(Command::new("script"));
        script
            .args(["--quiet", "--return", "--command", &quoted.join(" "), "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = test_support::limit::spawn(&mut script);
        child.stdin.take().expect("piped").write_all(answer.as_bytes()).expect("written");
        let output = test_support::limit::finish(child, "script");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (accepted, printed) = on_terminal("no\n");
    assert!(!accepted && printed.contains("Do you accept it? [y/N]"), "{printed}");
    assert!(printed.contains("NVIDIA Open Model License: https://www.nvidia.com/"), "{printed}");
    assert!(
        printed.contains("the license was not accepted, so nothing was downloaded"),
        "{printed}"
    );
    assert!(bench.requests().is_empty() && !bench.models().join("published").exists());

    let (accepted, printed) = on_terminal("yes\n");
    assert!(accepted && printed.contains("the models are ready"), "{printed}");
    std::fs::remove_dir_all(bench.pair()).expect("removed");
    let printed = succeeds(bench.unlicensed(&[]));
    assert!(!printed.contains("License"), "{printed}");

    // The other diarizer has a different license, which was not accepted.
    let stderr = refusal(bench.unlicensed(&["--diarizer", "v2"]));
    assert!(stderr.contains("the license must be accepted first"), "{stderr}");
}

#[test]
fn later_runs_keep_to_the_first_commit_and_to_what_is_there() {
    let bench = Bench::new(&demo_models(), json!({}));
    succeeds(bench.tool(&[]));
    let paths = |requests: Vec<Value>| -> Vec<String> {
        requests.iter().map(|entry| entry["path"].as_str().expect("a path").to_owned()).collect()
    };
    assert!(paths(bench.requests()).iter().any(|path| path.contains("/resolve/main/")));
    let source: Value =
        serde_json::from_slice(&std::fs::read(bench.pair().join("SOURCE.json")).expect("written"))
            .expect("JSON");
    let commit = source["diarizer"]["commit"].as_str().expect("a commit").to_owned();
    assert_eq!((commit.len(), &source["recognizer"]["repo"]), (40, &json!(RECOGNIZER)));

    // The pair is complete, so the hub is not needed.
    let mut offline = bench.tool(&[]);
    offline.env("HF_ENDPOINT", "http://127.0.0.1:9");
    assert!(succeeds(offline).contains("the models are up to date"));

    // Only the other diarizer is downloaded; existing files are verified and reused.
    std::fs::remove_file(bench.pair().join(ENCODER)).expect("removed");
    succeeds(bench.tool(&["--diarizer", "v3"]));
    let requests = bench.requests();
    let downloads: Vec<_> = requests.iter().filter(|entry| entry["host"] == "localhost").collect();
    assert_eq!(downloads.len(), 1, "{downloads:?}");
    assert!(downloads[0]["path"].as_str().expect("a path").ends_with(V3));
    let asked = paths(requests);
    assert!(!asked.iter().any(|path| path.contains("/resolve/main/")), "{asked:?}");
    assert!(asked.iter().any(|path| path.contains(&format!("/resolve/{commit}/"))), "{asked:?}");
    assert!(bench.pair().join(ENCODER).exists());
}

#[test]
fn files_of_the_hub_cache_are_taken_from_there() {
    let bench = Bench::new(&demo_models(), json!({}));
    refusal(bench.tool(&["--form", "fp32"])); // resolves the commit, but finds no such file
    let commits: Value = {
        succeeds(bench.tool(&[]));
        let file = std::fs::read(bench.models().join("revisions.json")).expect("written");
        serde_json::from_slice(&file).expect("JSON")
    };
    let commit = commits[format!("{RECOGNIZER}@main")].as_str().expect("a commit");
    std::fs::remove_dir_all(bench.models()).expect("removed");
    let repo = format!("hf/hub/models--{}", RECOGNIZER.replace('/', "--"));
    let snapshot = bench.folder.path().join(repo).join("snapshots").join(commit);
    std::fs::create_dir_all(&snapshot).expect("a folder");
    std::os::unix::fs::symlink(demo_models().join(ENCODER), snapshot.join(ENCODER))
        .expect("a link");
    bench.requests();
    succeeds(bench.tool(&[]));
    assert!(bench.downloads_of_encoder().is_empty());
    let metadata = std::fs::symlink_metadata(bench.download(ENCODER)).expect("there");
    assert!(metadata.is_file(), "a link instead of a file");
}

#[test]
fn a_folder_of_the_users_own_stays() {
    let bench = Bench::new(&demo_models(), json!({}));
    std::fs::create_dir_all(bench.pair()).expect("a folder");
    std::fs::write(bench.pair().join(ENCODER), "mine").expect("written");
    let stderr = refusal(bench.tool(&[]));
    assert!(
        stderr.contains("expected a folder of this tool with SOURCE.json, found one without"),
        "{stderr}"
    );
    assert_eq!(std::fs::read(bench.pair().join(ENCODER)).expect("there"), b"mine");
}
