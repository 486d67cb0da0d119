//! Which files are downloaded, and their layout in the cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engram_hub::{DownloadProgress, HubError, Options, Reference, snapshot};

use crate::server::{COMMIT, Fault, Hub, REPO, checksum};

pub const WEIGHTS: &[u8] = &[7; 1_000_000];

/// A small checkpoint, with files that nobody wants.
pub fn checkpoint() -> Vec<(&'static str, &'static [u8])> {
    vec![
        (".gitattributes", b"*"),
        ("README.md", b"# Name"),
        ("config.json", b"{\"model_type\":\"gpt2\"}"),
        ("generation_config.json", b"{}"),
        ("model.safetensors", WEIGHTS),
        ("pytorch_model.bin", b"pickle"),
        ("tokenizer.json", b"{\"version\":\"1.0\"}"),
    ]
}

pub fn get(text: &str, options: &Options) -> Result<PathBuf, HubError> {
    snapshot(&Reference::parse(text).unwrap(), options, &mut |_| {})
}

/// All below a folder: what links lead to, and what files hold.
pub fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(folder)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if path.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                all.insert(name, format!("-> {}", target.display()));
            } else if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                all.insert(name, String::from_utf8_lossy(&bytes).into_owned());
            }
        }
    }
    all
}

/// The methods and paths of requests, without what is the same in all.
pub fn asked(hub: &Hub) -> Vec<String> {
    let seen = hub.seen().into_iter();
    seen.map(|s| {
        let path = s.path.replace(COMMIT, "COMMIT").replace(REPO, "REPO");
        format!("{} {}", s.method, path)
    })
    .collect()
}

#[test]
fn a_checkpoint_lies_in_the_cache_as_the_python_tools_have_it() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    let path = get(REPO, &options).unwrap();
    let model = options.cache.join("models--org--name");
    assert_eq!(path, model.join("snapshots").join(COMMIT));
    let mut expected = BTreeMap::new();
    let files = checkpoint();
    let wanted = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ];
    for (name, bytes) in files.into_iter().filter(|(name, _)| wanted.contains(name)) {
        let sum = checksum(name, bytes);
        let text = String::from_utf8_lossy(bytes).into_owned();
        expected.insert(
            format!(".locks/models--org--name/{sum}.lock"),
            String::new(),
        );
        expected.insert(format!("models--org--name/blobs/{sum}"), text);
        expected.insert(
            format!("models--org--name/snapshots/{COMMIT}/{name}"),
            format!("-> ../../blobs/{sum}"),
        );
    }
    expected.insert("models--org--name/refs/main".to_owned(), COMMIT.to_owned());
    assert_eq!(tree(&options.cache), expected);

    // The token went to the hub and nowhere else; nothing was asked for compressed.
    let seen = hub.seen();
    for request in &seen {
        let token = request.header("authorization");
        let expected = (!request.elsewhere).then_some("Bearer hf_secret");
        assert_eq!(token, expected, "{request:?}");
        assert_eq!(request.header("accept-encoding"), Some("identity"));
    }
    assert_eq!(seen.iter().filter(|s| s.elsewhere).count(), 1);

    // Again: the branch may have moved, a commit cannot have.
    assert_eq!(get(REPO, &options).unwrap(), path);
    assert_eq!(asked(&hub), ["GET /api/models/REPO/revision/main"]);
    assert_eq!(get(&format!("{REPO}@{COMMIT}"), &options).unwrap(), path);
    assert!(asked(&hub).is_empty());
    assert_eq!(tree(&options.cache), expected);
}

#[test]
fn what_two_commits_share_is_fetched_once() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    let old = get(REPO, &options).unwrap();
    hub.seen();
    let other = "f".repeat(40);
    let mut files = checkpoint();
    files[2].1 = b"{\"model_type\":\"llama\"}";
    hub.put("refs/pr/1", &other, &files);
    hub.put("main", &other, &files);
    let new = get("org/name@refs/pr/1", &options).unwrap();
    assert_ne!(old, new);
    let asked = asked(&hub);
    assert_eq!(asked[0], "GET /api/models/REPO/revision/refs%2Fpr%2F1");
    let bytes: Vec<&String> = asked[1..].iter().filter(|a| a.starts_with("GET")).collect();
    assert!(
        bytes.iter().all(|a| a.ends_with("config.json")) && bytes.len() == 2,
        "{bytes:?}"
    );
    let refs = options.cache.join("models--org--name/refs");
    let note = |name: &str| std::fs::read_to_string(refs.join(name)).unwrap();
    assert_eq!(
        (note("refs/pr/1"), note("main")),
        (other.clone(), COMMIT.to_owned())
    );
    assert_eq!(get(REPO, &options).unwrap(), new);
    assert_eq!(note("main"), other);
    // The old commit is there still.
    assert_eq!(
        std::fs::read(old.join("config.json")).unwrap(),
        checkpoint()[2].1
    );
    assert_eq!(std::fs::read(new.join("config.json")).unwrap(), files[2].1);
    assert_eq!(
        std::fs::read(new.join("model.safetensors")).unwrap(),
        WEIGHTS
    );
}

/// A checkpoint in two shards.
fn sharded(index: &'static str) -> Vec<(&'static str, &'static [u8])> {
    vec![
        ("config.json", b"{}"),
        ("merges.txt", b"#version: 0.2"),
        ("model-1-of-2.safetensors", b"first"),
        ("model-2-of-2.safetensors", b"second"),
        ("model.safetensors.index.json", index.as_bytes()),
        ("vocab.json", b"{}"),
    ]
}

const INDEX: &str = r#"{"weight_map":{"a":"model-1-of-2.safetensors","b":"model-2-of-2.safetensors","c":"model-1-of-2.safetensors"}}"#;

#[test]
fn shards_are_fetched_by_their_index() {
    let hub = Hub::new(&sharded(INDEX));
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    let path = get(REPO, &options).unwrap();
    for (name, bytes) in sharded(INDEX) {
        assert_eq!(std::fs::read(path.join(name)).unwrap(), bytes);
    }
    hub.seen();
    get(&format!("{REPO}@{COMMIT}"), &options).unwrap();
    assert!(asked(&hub).is_empty());
    // A shard that is gone is fetched again, and missed where nothing can be fetched.
    std::fs::remove_file(
        options
            .cache
            .join("models--org--name/blobs")
            .join(checksum("a.gguf", b"second")),
    )
    .unwrap();
    let offline = Options {
        offline: true,
        ..options.clone()
    };
    let error = get(REPO, &offline).unwrap_err().to_string();
    assert!(
        error.contains("no model-2-of-2.safetensors; unset it"),
        "{error}"
    );
    get(&format!("{REPO}@{COMMIT}"), &options).unwrap();
    assert_eq!(
        std::fs::read(path.join("model-2-of-2.safetensors")).unwrap(),
        b"second"
    );
}

#[test]
fn an_index_names_files_of_the_repository_only() {
    for index in [
        r#"{"weight_map":{"a":"../../../secret"}}"#,
        r#"{"weight_map":{"a":"/etc/passwd"}}"#,
        r#"{"weight_map":{"a":"model-3-of-2.safetensors"}}"#,
    ] {
        let hub = Hub::new(&sharded(index));
        let folder = tempfile::tempdir().unwrap();
        let error = get(REPO, &hub.options(folder.path())).unwrap_err();
        assert!(matches!(error, HubError::Contents { .. }));
        assert!(
            error
                .to_string()
                .contains("which its model.safetensors.index.json names"),
            "{error}"
        );
    }
}

#[test]
fn of_gguf_files_one_is_taken_or_named() {
    let files: [(&str, &[u8]); 3] = [
        ("README.md", b""),
        ("Q4/a b.gguf", b"four"),
        ("b.gguf", b"eight"),
    ];
    let hub = Hub::new(&files[..2]);
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    let path = get(REPO, &options).unwrap();
    assert!(path.ends_with(format!("{COMMIT}/Q4/a b.gguf")));
    assert_eq!(std::fs::read(&path).unwrap(), b"four");
    let link = std::fs::read_link(&path).unwrap();
    assert!(link.starts_with("../../../blobs"), "{link:?}");
    let other = "e".repeat(40);
    hub.put("v2", &other, &files);
    let error = get("org/name@v2", &options).unwrap_err().to_string();
    assert_eq!(
        error,
        "org/name@v2: the repository has several GGUF files: Q4/a b.gguf, b.gguf; name one, as org/name/Q4/a b.gguf@v2"
    );
    let path = get("org/name/b.gguf@v2", &options).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"eight");
    hub.seen();
    assert_eq!(
        get(&format!("org/name/b.gguf@{other}"), &options).unwrap(),
        path
    );
    assert!(asked(&hub).is_empty());
    // That one of several is there does not choose it.
    assert!(get(&format!("org/name@{other}"), &options).is_err());
}

#[test]
fn a_model_that_moved_is_followed() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    let path = get("old/name", &options).unwrap();
    assert!(path.starts_with(options.cache.join("models--old--name")));
    assert_eq!(
        std::fs::read(path.join("model.safetensors")).unwrap(),
        WEIGHTS
    );
}

#[test]
fn progress_is_told() {
    let hub = Hub::new(&checkpoint());
    hub.fault("GET", "/blobs/", Fault::Cut(400_000));
    let folder = tempfile::tempdir().unwrap();
    let mut told: Vec<String> = Vec::new();
    let reference = Reference::parse(REPO).unwrap();
    snapshot(&reference, &hub.options(folder.path()), &mut |p| {
        // How the bytes are cut is the network's.
        let at_weights =
            matches!(p, DownloadProgress::At(at, "model.safetensors") if at != 1_000_040);
        if !at_weights {
            told.push(format!("{p:?}"));
        }
    })
    .unwrap();
    told.dedup();
    let asking = format!("Asking({:?})", hub.address);
    assert_eq!(
        told,
        [
            asking.as_str(),
            "Wanted(4, 1000040)",
            "At(21, \"config.json\")",
            "Checking(\"config.json\")",
            "At(21, \"config.json\")",
            "At(23, \"generation_config.json\")",
            "Checking(\"generation_config.json\")",
            "At(23, \"generation_config.json\")",
            "At(40, \"tokenizer.json\")",
            "Checking(\"tokenizer.json\")",
            "At(40, \"tokenizer.json\")",
            "Again(2s, \"model.safetensors: the connection broke (Peer disconnected), 400000 of 1000000 (try 1 of 6)\")",
            "At(1000040, \"model.safetensors\")",
            "Checking(\"model.safetensors\")",
            "At(1000040, \"model.safetensors\")",
        ]
    );
}
