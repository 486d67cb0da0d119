//! The cache: offline, beside local folders, and shared by several processes.

use std::path::{Path, PathBuf};

use engram_hub::{DownloadProgress, HubError, Options, Reference, locate, snapshot};

use crate::fetch::{WEIGHTS, asked, checkpoint, get, tree};
use crate::server::{COMMIT, Fault, Hub, REPO};

#[test]
fn offline_the_cache_is_what_there_is() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    let offline = Options {
        offline: true,
        ..options.clone()
    };
    let error = get(REPO, &offline).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "org/name: HF_HUB_OFFLINE forbids asking the hub, and the cache {} has no revision \"main\" of it; unset it to fetch",
            options.cache.display()
        )
    );
    let path = get(REPO, &options).unwrap();
    hub.seen();
    assert_eq!(get(REPO, &offline).unwrap(), path);
    assert_eq!(get(&format!("{REPO}@{COMMIT}"), &offline).unwrap(), path);
    std::fs::remove_file(path.join("tokenizer.json")).unwrap();
    let error = get(REPO, &offline).unwrap_err().to_string();
    assert!(
        error.contains("has no tokenizer (tokenizer.json"),
        "{error}"
    );
    let other = get(&format!("org/name@{}", "a".repeat(40)), &offline);
    assert!(
        other
            .unwrap_err()
            .to_string()
            .contains("has no file of commit aaaa")
    );
    assert!(asked(&hub).is_empty());
}

#[test]
fn where_the_hub_cannot_be_reached_the_cache_is_used() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    let path = get(REPO, &options).unwrap();
    let reference = Reference::parse(REPO).unwrap();
    let mut told = Vec::new();
    let gone = Options {
        endpoint: "http://127.0.0.1:9".to_owned(),
        ..options.clone()
    };
    let tell = |told: &mut Vec<String>, p: DownloadProgress<'_>| match p {
        DownloadProgress::Cached(why) => told.push(why.to_owned()),
        DownloadProgress::Asking(_) => {}
        other => panic!("{other:?}"),
    };
    assert_eq!(
        snapshot(&reference, &gone, &mut |p| tell(&mut told, p)).unwrap(),
        path
    );
    hub.fault("GET", "/revision/", Fault::Status(503, ""));
    assert_eq!(
        snapshot(&reference, &options, &mut |p| tell(&mut told, p)).unwrap(),
        path
    );
    assert!(
        told[0].contains("127.0.0.1 cannot be reached") && told[1].contains("answers 503"),
        "{told:?}"
    );
    // Not where it is not whole, and not where the hub says no.
    hub.fault(
        "GET",
        "/revision/",
        Fault::Status(404, "X-Error-Code: RevisionNotFound\r\n"),
    );
    assert!(matches!(
        get(REPO, &options),
        Err(HubError::NotFound { .. })
    ));
    std::fs::remove_file(path.join("config.json")).unwrap();
    assert!(matches!(
        get(REPO, &gone),
        Err(HubError::Unreachable { .. })
    ));
}

#[test]
fn a_local_path_comes_first_and_both_readings_are_said() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    let at = |path: &str| locate(Path::new(path), &options, &mut |_| {});
    assert_eq!(at(folder.path().to_str().unwrap()).unwrap(), folder.path());
    assert_eq!(at("src/lib.rs").unwrap(), Path::new("src/lib.rs"));
    assert!(asked(&hub).is_empty());
    assert!(at("org/name").unwrap().join("config.json").exists());
    let error = at("runs/none/models").unwrap_err().to_string();
    assert!(
        error.starts_with("there is no file or folder runs/none/models; as a model of the hub: \"runs/none/models\" is not org/name[@revision]"),
        "{error}"
    );
    let error = at("runs/none").unwrap_err().to_string();
    assert!(
        error.contains("no file or folder runs/none;") && error.contains("there is no such model"),
        "{error}"
    );
}

#[test]
fn two_at_once_fetch_each_file_once() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    let paths: Vec<PathBuf> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| get(REPO, &options).unwrap()))
            .collect();
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(paths.iter().all(|path| *path == paths[0]));
    assert_eq!(hub.seen().iter().filter(|s| s.elsewhere).count(), 1);
    assert_eq!(
        std::fs::read(paths[0].join("model.safetensors")).unwrap(),
        WEIGHTS
    );
    assert!(
        tree(&options.cache)
            .keys()
            .all(|name| !name.contains("incomplete") && !name.contains("engram"))
    );
}
