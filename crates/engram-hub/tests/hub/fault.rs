//! Faults during a download, and their messages.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engram_hub::{DownloadProgress, HubError, Options, Reference, snapshot};

use crate::fetch::{WEIGHTS, checkpoint, get};
use crate::server::{COMMIT, Fault, Hub, REPO, checksum};

/// The reasons for which requests were made again, with the seconds waited.
fn waits(options: &Options) -> (Result<(), HubError>, Vec<(u64, String)>) {
    let mut waits = Vec::new();
    let found = snapshot(&Reference::parse(REPO).unwrap(), options, &mut |p| {
        if let DownloadProgress::Again(pause, why) = p {
            waits.push((pause.as_secs(), why.to_owned()));
        }
    });
    (found.map(drop), waits)
}

/// The first bytes of the weights that each request asked for.
fn parts(hub: &Hub) -> Vec<String> {
    let seen = hub.seen().into_iter().filter(|s| s.elsewhere);
    seen.map(|s| s.header("range").unwrap_or("all").to_owned())
        .collect()
}

fn weights(options: &Options) -> Vec<u8> {
    let folder = options
        .cache
        .join("models--org--name/snapshots")
        .join(COMMIT);
    std::fs::read(folder.join("model.safetensors")).unwrap()
}

fn incomplete(options: &Options) -> std::path::PathBuf {
    let name = format!("{}.incomplete", checksum("model.safetensors", WEIGHTS));
    options.cache.join("models--org--name/blobs").join(name)
}

#[test]
fn broken_connections_go_on_where_they_broke() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    // More than the tries of one request: each gets further.
    for _ in 0..8 {
        hub.fault("GET", "/blobs/", Fault::Cut(100_000));
    }
    hub.fault("GET", "/tokenizer.json", Fault::Cut(3));
    let (found, waits) = waits(&options);
    found.unwrap();
    assert_eq!(weights(&options), WEIGHTS);
    let asked = parts(&hub);
    assert_eq!(asked.len(), 9);
    assert_eq!(
        (asked[0].as_str(), asked[1].as_str()),
        ("all", "bytes=100000-")
    );
    assert_eq!(asked[8], "bytes=800000-");
    assert!(waits.iter().all(|(pause, _)| *pause == 2), "{waits:?}");
}

#[test]
fn a_run_that_was_broken_off_is_gone_on_with() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    hub.fault("GET", "/blobs/", Fault::Cut(300_000));
    for _ in 0..5 {
        hub.fault("GET", "/blobs/", Fault::Status(502, ""));
    }
    let (found, waits) = waits(&options);
    let error = found.unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }));
    assert!(
        error
            .to_string()
            .contains("answers 502; given up after 6 tries; the same command resumes"),
        "{error}"
    );
    let pauses: Vec<u64> = waits.iter().map(|(pause, _)| *pause).collect();
    assert_eq!(pauses, [2, 4, 8, 16, 32]);
    assert_eq!(
        std::fs::metadata(incomplete(&options)).unwrap().len(),
        300_000
    );
    assert!(
        !options.cache.join("models--org--name/refs").exists(),
        "nothing whole is there"
    );
    hub.seen();
    get(REPO, &options).unwrap();
    assert_eq!(parts(&hub), ["bytes=300000-"]);
    assert_eq!(weights(&options), WEIGHTS);
    assert!(!incomplete(&options).exists());
}

#[test]
fn a_server_without_parts_begins_anew() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    hub.fault("GET", "/blobs/", Fault::Cut(300_000));
    hub.fault("GET", "/blobs/", Fault::Whole);
    get(REPO, &options).unwrap();
    assert_eq!(parts(&hub), ["all", "bytes=300000-"]);
    assert_eq!(weights(&options), WEIGHTS);
    // One that gives another part than was asked for, and one that has no such part.
    for fault in [
        Fault::Header("Content-Range", "bytes 0-999999/1000000".to_owned()),
        Fault::Status(416, ""),
    ] {
        std::fs::remove_dir_all(&options.cache).unwrap();
        hub.fault("GET", "/blobs/", Fault::Cut(300_000));
        hub.fault("GET", "/blobs/", fault);
        get(REPO, &options).unwrap();
        assert_eq!(parts(&hub), ["all", "bytes=300000-", "all"]);
        assert_eq!(weights(&options), WEIGHTS);
    }
    // One that always breaks off and always begins anew is given up.
    std::fs::remove_dir_all(&options.cache).unwrap();
    for _ in 0..20 {
        hub.fault("GET", "/blobs/", Fault::Cut(300_000));
        hub.fault("GET", "/blobs/", Fault::Status(416, ""));
    }
    assert!(matches!(
        get(REPO, &options),
        Err(HubError::Unreachable { .. })
    ));
    assert_eq!(parts(&hub).len(), 6);
}

#[test]
fn wrong_bytes_never_get_a_name() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    let mut wrong = WEIGHTS.to_vec();
    wrong[500_000] ^= 1;
    for (file, name, bytes) in [
        ("/blobs/", "model.safetensors", wrong),
        (
            "/tokenizer.json",
            "tokenizer.json",
            b"{\"version\":\"1.1\"}".to_vec(),
        ),
    ] {
        hub.fault("GET", file, Fault::Body(bytes));
        let error = get(REPO, &options).unwrap_err();
        assert!(matches!(&error, HubError::Damaged { file, .. } if file == name));
        assert!(
            error
                .to_string()
                .contains("they are removed, fetch it again"),
            "{error}"
        );
        let blobs = options.cache.join("models--org--name/blobs");
        let left = std::fs::read_dir(blobs)
            .unwrap()
            .map(|e| e.unwrap().file_name());
        assert!(
            left.into_iter()
                .all(|name| !name.to_string_lossy().contains("incomplete"))
        );
        let _ = std::fs::remove_dir_all(&options.cache);
    }
    // What something else left under the name of an unfinished file.
    get(REPO, &options).unwrap();
    let blob = incomplete(&options).with_extension("");
    for (junk, good) in [(10, false), (1_000_000, false), (1_000_001, true)] {
        std::fs::remove_file(&blob).unwrap();
        std::fs::write(incomplete(&options), vec![1; junk]).unwrap();
        assert_eq!(get(REPO, &options).is_ok(), good, "{junk}");
        get(REPO, &options).unwrap();
        assert_eq!(weights(&options), WEIGHTS);
    }
}

#[test]
fn more_bytes_than_said_are_not_taken() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    hub.fault("GET", "/blobs/", Fault::Body(vec![7; 1_000_001]));
    let error = get(REPO, &options).unwrap_err().to_string();
    assert!(
        error.contains("more bytes came than the 1000000 that the hub says"),
        "{error}"
    );
    assert!(!incomplete(&options).exists());
}

#[test]
fn busy_servers_are_waited_for() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    hub.fault(
        "GET",
        "/revision/",
        Fault::Status(503, "RateLimit: \"api\";r=9;t=99\r\n"),
    );
    hub.fault(
        "GET",
        "/revision/",
        Fault::Status(429, "Retry-After: 7\r\n"),
    );
    hub.fault("GET", "/revision/", Fault::Cut(10));
    hub.fault(
        "HEAD",
        "/tokenizer.json",
        Fault::Status(429, "RateLimit: \"resolvers\";r=0;t=211\r\n"),
    );
    hub.fault(
        "GET",
        "/tokenizer.json",
        Fault::Status(429, "Retry-After: 86400\r\n"),
    );
    hub.fault(
        "GET",
        "/blobs/",
        Fault::Status(500, "Retry-After: soon\r\n"),
    );
    let (found, waits) = waits(&options);
    found.unwrap();
    let pauses: Vec<u64> = waits.iter().map(|(pause, _)| *pause).collect();
    assert_eq!(pauses, [2, 7, 8, 211, 600, 2], "{waits:?}");
    assert_eq!(weights(&options), WEIGHTS);
}

static SLEPT: Mutex<Vec<Duration>> = Mutex::new(Vec::new());

#[test]
fn waiting_is_the_callers() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    hub.fault(
        "GET",
        "/revision/",
        Fault::Status(429, "Retry-After: 9\r\n"),
    );
    let options = Options {
        sleep: |time| SLEPT.lock().unwrap().push(time),
        now: || Duration::ZERO,
        ..hub.options(folder.path())
    };
    get(REPO, &options).unwrap();
    assert_eq!(*SLEPT.lock().unwrap(), [Duration::from_secs(9)]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_with_what_would_do() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    std::fs::create_dir_all(incomplete(&options).parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", incomplete(&options)).unwrap();
    let error = get(REPO, &options).unwrap_err();
    assert!(matches!(error, HubError::Io { .. }));
    let text = error.to_string();
    assert!(
        text.contains(".incomplete: ") && text.contains("make room, or set HF_HUB_CACHE"),
        "{text}"
    );
}

#[test]
fn a_cache_that_cannot_be_written_is_said() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    std::fs::write(&options.cache, "a file").unwrap();
    let error = get(REPO, &options).unwrap_err();
    assert!(matches!(error, HubError::Io { .. }));
    assert!(
        error
            .to_string()
            .contains("set HF_HUB_CACHE to a folder in which you may write"),
        "{error}"
    );
}

/// A clock by which every byte, or few, takes ten seconds.
fn slow_clock() -> Duration {
    static SECONDS: AtomicU64 = AtomicU64::new(0);
    Duration::from_secs(SECONDS.fetch_add(10, Ordering::Relaxed))
}

#[test]
fn a_hub_that_drips_is_given_up() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        now: slow_clock,
        ..hub.options(folder.path())
    };
    for _ in 0..3 {
        hub.fault("GET", "/blobs/", Fault::Drip(400));
    }
    let (found, waits) = waits(&options);
    let error = found.unwrap_err().to_string();
    let parts = [
        "model.safetensors: only ",
        " bytes came in 30 s, less than 1 kB a second",
        "given up after 3 tries",
    ];
    for part in parts {
        assert!(error.contains(part), "{error}");
    }
    let tries: Vec<bool> = (waits.iter().zip(1..))
        .map(|((_, why), n)| why.ends_with(&format!("(try {n} of 3)")))
        .collect();
    assert_eq!(tries, [true, true], "{waits:?}");
    // What came is kept, and gone on with where the hub is itself again.
    let kept = std::fs::metadata(incomplete(&options)).unwrap().len();
    assert!(kept > 0);
    get(REPO, &hub.options(folder.path())).unwrap();
    assert_eq!(weights(&options), WEIGHTS);
    // So is a list of files that drips.
    let other = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        hub.fault("GET", "/revision/", Fault::Drip(400));
    }
    let options = Options {
        cache: other.path().to_owned(),
        ..options
    };
    let error = get(REPO, &options).unwrap_err().to_string();
    assert!(error.contains("less than 1 kB a second"), "{error}");
}

#[test]
fn a_connection_that_nothing_ever_answered_is_tried_three_times() {
    let hub = Hub::new(&checkpoint());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        endpoint: format!("http://{address}"),
        ..hub.options(folder.path())
    };
    let (found, waits) = waits(&options);
    let error = found.unwrap_err().to_string();
    assert!(error.contains("given up after 3 tries"), "{error}");
    let pauses: Vec<u64> = waits.iter().map(|(pause, _)| *pause).collect();
    assert_eq!(pauses, [2, 4]);
}
