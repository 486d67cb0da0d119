//! What the hub refuses, and which responses of the hub are rejected.

use std::time::Duration;

use engram_hub::Options;

use crate::fetch::{WEIGHTS, checkpoint, get};
use crate::server::{COMMIT, Fault, Hub, REPO, checksum};

#[test]
fn refusals_say_what_would_do() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let with = hub.options(folder.path());
    let without = Options {
        token: None,
        ..with.clone()
    };
    let said = |text: &str, options: &Options, faults: &[(&'static str, &str, Fault)]| {
        for (method, path, fault) in faults {
            hub.fault(method, path, fault.clone());
        }
        let error = get(text, options).unwrap_err().to_string();
        assert!(
            !error.contains("hf_secret") && !error.contains('\n'),
            "{error}"
        );
        error
    };
    let api = |status, headers| [("GET", "/revision/", Fault::Status(status, headers))];
    let gated = "X-Error-Code: GatedRepo\r\nX-Error-Message: Access is restricted.\r\n";
    for status in [401, 403] {
        let error = said(
            REPO,
            &with,
            &[("HEAD", "/model.safetensors", Fault::Status(status, gated))],
        );
        let page = format!(
            "accept its licence: do so at {}/org/name, and set HF_TOKEN",
            hub.address
        );
        assert!(
            error.contains(&page) && error.contains("(the hub says: Access is restricted.)"),
            "{error}"
        );
    }
    let error = said(REPO, &without, &api(401, "X-Error-Code: RepoNotFound\r\n"));
    assert!(
        error.contains("no such model at") && error.contains("check the name, or set HF_TOKEN"),
        "{error}"
    );
    let error = said(
        REPO,
        &with,
        &api(401, "X-Error-Message: Invalid username or password.\r\n"),
    );
    assert!(
        error.contains("the token (HF_TOKEN, or the file token in HF_HOME) is not accepted"),
        "{error}"
    );
    let error = said("org/none", &with, &[]);
    assert!(
        error.contains("it is private and HF_TOKEN's account has no access"),
        "{error}"
    );
    let error = said("org/name@v9", &with, &[]);
    assert!(error.contains("no branch, tag or commit \"v9\""), "{error}");
    let error = said(
        REPO,
        &with,
        &[(
            "HEAD",
            "/config.json",
            Fault::Status(404, "X-Error-Code: EntryNotFound\r\n"),
        )],
    );
    assert!(
        error.contains("there is no file at http://127.0.0.1") && error.contains("/config.json"),
        "{error}"
    );
    let error = said(REPO, &with, &[("GET", "/blobs/", Fault::Status(403, ""))]);
    assert!(
        error.contains("127.0.0.1, where the hub keeps it, answers 403")
            && !error.contains("signed"),
        "{error}"
    );
    let error = said(REPO, &with, &api(403, ""));
    assert!(error.contains("gives no access"), "{error}");
    let error = said(REPO, &with, &api(418, ""));
    assert!(error.ends_with("127.0.0.1 answers 418"), "{error}");
}

#[test]
fn without_a_network_that_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::new(&[]);
    let options = Options {
        endpoint: "http://127.0.0.1:9".to_owned(),
        sleep: |_| panic!("nothing to wait for"),
        now: || Duration::ZERO,
        ..hub.options(folder.path())
    };
    let error = get(REPO, &options).unwrap_err().to_string();
    assert!(
        error.starts_with("org/name: 127.0.0.1 cannot be reached (")
            && error.contains("check the network"),
        "{error}"
    );
}

#[test]
fn what_no_hub_says_is_refused() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    let listing = |name: &str| {
        format!(
            "{{\"sha\":{COMMIT:?},\"siblings\":[{{\"rfilename\":\"config.json\"}},{{\"rfilename\":{name:?}}}]}}"
        )
    };
    for name in [
        "../x",
        "/etc/passwd",
        "a\\b",
        "a/../../b",
        "a//b",
        "./a",
        "",
        "C:x",
        "a\nb",
    ] {
        hub.fault("GET", "/revision/", Fault::Body(listing(name).into_bytes()));
        let error = get(REPO, &options).unwrap_err().to_string();
        assert!(
            error.contains("whose name leads out of its folder; nothing of it is fetched"),
            "{error}"
        );
    }
    for (body, why) in [
        (
            "<html>Please log in</html>",
            "does not answer as the hub does",
        ),
        (
            "{\"sha\":\"../../x\",\"siblings\":[]}",
            "names no commit, but \"../../x\"",
        ),
        ("{\"siblings\":[]}", "does not answer as the hub does"),
    ] {
        hub.fault("GET", "/revision/", Fault::Body(body.as_bytes().to_vec()));
        let error = get(REPO, &options).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    for (header, value, why) in [
        ("X-Linked-Etag", "\"../../x\"", "there is no checksum"),
        (
            "X-Linked-Etag",
            "\"d41d8cd98f00b204e9800998ecf8427e\"",
            "there is no checksum",
        ),
        (
            "X-Linked-Size",
            "99999999999999",
            "the most that is believed",
        ),
        ("X-Linked-Size", "-1", "gives no size"),
        ("X-Repo-Commit", "another", "of another commit, \"another\""),
    ] {
        hub.fault(
            "HEAD",
            "/model.safetensors",
            Fault::Header(header, value.to_owned()),
        );
        let error = get(REPO, &options).unwrap_err().to_string();
        assert!(error.contains(why), "{header}: {error}");
    }
    // A redirect that does not say what the file is; where it leads has an ETag of its own.
    let sum = checksum("model.safetensors", WEIGHTS);
    let to = hub.with(|state| format!("{}/blobs/{sum}?signed=yes", state.elsewhere));
    let to: &'static str = format!("Location: {to}\r\n").leak();
    hub.fault("HEAD", "/model.safetensors", Fault::Status(302, to));
    let error = get(REPO, &options).unwrap_err().to_string();
    assert!(
        error.contains("there is no checksum (ETag \"\\\"000"),
        "{error}"
    );
    assert!(!options.cache.exists(), "nothing was written");
}

#[test]
fn redirects_end() {
    let hub = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    for _ in 0..20 {
        hub.fault(
            "HEAD",
            "/config.json",
            Fault::Status(302, "Location: config.json\r\n"),
        );
    }
    let error = get(REPO, &options).unwrap_err().to_string();
    assert!(error.contains("redirected more than 10 times"), "{error}");
    hub.with(|state| state.faults.clear());
    for location in ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://", "//"] {
        let headers: &'static str = format!("Location: {location}\r\n").leak();
        hub.fault("GET", "/revision/", Fault::Status(302, headers));
        let error = get(REPO, &options).unwrap_err().to_string();
        assert!(
            error.contains("redirects to what is no"),
            "{location}: {error}"
        );
    }
}

#[test]
fn the_token_follows_no_redirect_to_another_place() {
    let hub = Hub::new(&checkpoint());
    let other = Hub::new(&checkpoint());
    let folder = tempfile::tempdir().unwrap();
    let options = hub.options(folder.path());
    // The same host by another port, and by another name.
    let port = other.address.rsplit(':').next().unwrap().to_owned();
    for host in ["127.0.0.1", "localhost"] {
        let to = format!("Location: http://{host}:{port}/api/models/{REPO}/revision/main\r\n");
        hub.fault("GET", "/revision/", Fault::Status(307, to.leak()));
        get(REPO, &options).unwrap();
        let seen = other.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].header("authorization"), None);
    }
}
