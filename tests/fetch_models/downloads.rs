// SPDX-License-Identifier: MPL-2.0

//! Tests failing downloads and the files that they leave behind.

use super::*;

fn later(offset: u64) -> (u64, Option<String>) {
    (206, Some(format!("bytes={offset}-")))
}

#[test]
fn a_cut_connection_goes_on_where_it_broke() {
    let cut = json!({"faults": {ENCODER: {"cut": 15 << 20}}});
    let (bench, encoder) = Bench::with_large_file(cut);
    succeeds(bench.tool(&[]));
    assert!(std::fs::read(bench.pair().join(ENCODER)).expect("there") == encoder);
    assert_eq!(bench.downloads_of_encoder(), [(200, None), later(CHUNK)]);
}

#[test]
fn a_reset_connection_goes_on_where_it_broke() {
    // A reset discards data in flight, so either one or both chunks arrive.
    let reset = json!({"faults": {ENCODER: {"cut": 23 << 20, "reset": true}}});
    let (bench, encoder) = Bench::with_large_file(reset);
    succeeds(bench.tool(&[]));
    assert!(std::fs::read(bench.pair().join(ENCODER)).expect("there") == encoder);
    let [(200, None), second] = &bench.downloads_of_encoder()[..] else { panic!("two requests") };
    assert!([later(CHUNK), later(2 * CHUNK)].contains(second), "{second:?}");
}

#[test]
fn a_connection_that_brings_nothing_is_given_up() {
    let cut = json!({"faults": {ENCODER: {"cut": 0, "reset": true, "times": 1000}}});
    let (bench, _) = Bench::with_large_file(cut);
    let stderr = refusal(bench.tool(&[]));
    assert!(
        stderr.contains("encoder.int8.onnx: the connection broke after 0 bytes of 25.2 MB"),
        "{stderr}"
    );
    assert!(!bench.download(ENCODER).exists() && !bench.pair().exists());
    assert!(bench.downloads_of_encoder().len() < 40);
}

#[test]
fn a_killed_download_goes_on_where_it_stopped() {
    let stall = json!({"faults": {ENCODER: {"stall": 15 << 20}}});
    let (bench, encoder) = Bench::with_large_file(stall);
    let mut child = bench.tool(&[]).stdout(Stdio::null()).spawn().expect("python");
    let folder = bench.download(ENCODER).parent().expect("a folder").to_owned();
    let deadline = Instant::now() + Duration::from_secs(60);
    let arrived = || {
        let incomplete = std::fs::read_dir(&folder).into_iter().flatten().find_map(|entry| {
            let entry = entry.expect("a file");
            entry.file_name().to_str()?.ends_with(".incomplete").then_some(entry)
        });
        incomplete.map_or(0, |entry| entry.metadata().expect("there").len())
    };
    while arrived() < CHUNK {
        assert!(Instant::now() < deadline, "nothing arrives");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(!bench.download(ENCODER).exists(), "an incomplete file looks complete");
    assert_eq!(bench.downloads_of_encoder(), [(200, None)]);

    succeeds(bench.tool(&[]));
    assert!(std::fs::read(bench.pair().join(ENCODER)).expect("there") == encoder);
    assert_eq!(bench.downloads_of_encoder(), [later(CHUNK)]);
    assert!(!names(&bench.models()).iter().any(|name| name.ends_with(".incomplete")));
}

#[test]
fn a_server_that_ignores_ranges_is_read_from_the_beginning() {
    let cut = json!({"faults": {ENCODER: {"cut": 15 << 20, "ignore_range": true}}});
    let (bench, encoder) = Bench::with_large_file(cut);
    succeeds(bench.tool(&[]));
    assert!(std::fs::read(bench.pair().join(ENCODER)).expect("there") == encoder);
}

#[test]
fn a_full_disk_leaves_nothing_that_looks_whole() {
    let (bench, encoder) = Bench::with_large_file(json!({}));
    // A limit of 12 MiB per file fails like a full disk, for any user.
    let mut limited = bench.with_hub(Command::new("bash"));
    let tool = bench.tool(&[]);
    limited
        .args(["-c", r#"ulimit -f 12288 && exec "$@""#, "bash"])
        .arg(tool.get_program())
        .args(tool.get_args())
        .env("ACCEPT_LICENSE", "yes")
        .stdin(Stdio::null());
    let stderr = refusal(limited);
    let expected = "encoder.int8.onnx: File too large: received 12.6 MB of 25.2 MB. Free some";
    assert!(stderr.contains(expected), "{stderr}");
    assert!(!bench.download(ENCODER).exists() && !bench.pair().exists());
    bench.requests();

    succeeds(bench.tool(&[]));
    assert!(std::fs::read(bench.pair().join(ENCODER)).expect("there") == encoder);
    assert_eq!(bench.downloads_of_encoder(), [later(12 << 20)]);
}

#[test]
fn a_disk_that_is_too_small_is_found_before_the_download() {
    let size = json!({"faults": {ENCODER: {"size": 1_u64 << 60}}});
    let (bench, _) = Bench::with_large_file(size);
    let stderr = refusal(bench.tool(&[]));
    assert!(stderr.contains("models: expected 1,152,921,504,6"), "{stderr}");
    assert!(stderr.contains(" MB of free disk space for the downloads"), "{stderr}");
    assert!(bench.downloads_of_encoder().is_empty());
}

#[test]
fn a_file_with_another_hash_is_removed() {
    let damage = json!({"faults": {ENCODER: {"damage": true}}});
    let bench = Bench::new(&demo_models(), damage);
    let stderr = refusal(bench.tool(&[]));
    let expected = sha256(&std::fs::read(demo_models().join(ENCODER)).expect("there"));
    let file = bench.download(ENCODER);
    assert!(
        stderr.contains(&format!("{}: expected sha256 {expected}, found ", file.display())),
        "{stderr}"
    );
    assert!(names(file.parent().expect("a folder")).is_empty() && !bench.pair().exists());

    let small = json!({"faults": {"multitalker_config.json": {"damage": true}}});
    let stderr = refusal(Bench::new(&demo_models(), small).tool(&[]));
    assert!(stderr.contains("multitalker_config.json: expected git's sha1 "), "{stderr}");
}

#[test]
fn a_file_larger_than_announced_is_removed() {
    let size = json!({"faults": {ENCODER: {"size": 1000}}});
    let bench = Bench::new(&demo_models(), size);
    let stderr = refusal(bench.tool(&[]));
    assert!(stderr.contains(".incomplete: expected 1000 bytes, found more"), "{stderr}");
    assert!(names(bench.download(ENCODER).parent().expect("a folder")).is_empty());
}

#[test]
fn a_file_that_is_not_the_known_one_is_not_downloaded() {
    let bench = Bench::new(&demo_models(), json!({}));
    bench.write_table(b"another");
    let stderr = refusal(bench.tool(&[]));
    let found = std::fs::metadata(demo_models().join("sortformer.onnx")).expect("there").len();
    assert!(stderr.contains(&format!("{V2_1}: expected size 7, found {found}")), "{stderr}");
    assert!(bench.downloads_of_encoder().is_empty());
}
