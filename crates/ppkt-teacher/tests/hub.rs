//! Fetching from a Hub, over real HTTP, from a small one that stands on loopback and misbehaves on demand.

#![cfg(feature = "hub")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fake_hub;

use std::path::Path;
use std::time::Duration;

use fake_hub::{FakeHub, Fault, tensors};
use ppkt_teacher::{Hub, HubError, HubFiles, HubName, HubSettings, TeacherUri};

struct Place {
    folder: tempfile::TempDir,
    endpoint: String,
    token: Option<String>,
    offline: bool,
}

impl Place {
    fn at(hub: &FakeHub) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, endpoint: hub.endpoint(), token: None, offline: false }
    }

    fn cache(&self) -> &Path {
        self.folder.path()
    }

    fn fetch_told(&self, name: &str, told: &mut Vec<(String, u64, u64)>) -> Result<HubFiles, HubError> {
        let hub = Hub::new(HubSettings {
            endpoint: self.endpoint.clone(),
            cache: self.cache().to_owned(),
            token: self.token.clone(),
            offline: self.offline,
            timeout: Duration::from_secs(5),
            first_wait: Duration::from_millis(1),
        })?;
        hub.fetch(&named(name), &mut |p| told.push((p.file.to_owned(), p.done, p.total)))
    }

    fn fetch(&self, name: &str) -> Result<HubFiles, HubError> {
        self.fetch_told(name, &mut Vec::new())
    }

    /// Whether a file is where other tools look for it.
    fn has(&self, hub: &FakeHub, file: &str) -> bool {
        self.cache().join("models--org--net/snapshots").join(hub.commit()).join(file).exists()
    }

    /// All regular files of the cache that hold part of a network, finished or not.
    fn blobs(&self) -> Vec<String> {
        let blobs = self.cache().join("models--org--net/blobs");
        let Ok(entries) = std::fs::read_dir(blobs) else { return Vec::new() };
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.ends_with(".lock"));
        names.sort();
        names
    }
}

fn named(name: &str) -> HubName {
    match format!("hf:{name}").parse().unwrap() {
        TeacherUri::Hub(name) => name,
        other => panic!("{other}"),
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

const WEIGHTS: &str = "model.safetensors";

/// A repository with weights of 300 kB and a `config.json`, but no preprocessor.
fn hub() -> FakeHub {
    let hub = FakeHub::start();
    hub.add(WEIGHTS, &tensors(300_000), true);
    hub.add("config.json", br#"{"model_type": "resnet"}"#, false);
    hub
}

#[test]
fn a_network_is_fetched_once() {
    let hub = hub();
    let place = Place::at(&hub);
    let mut told = Vec::new();
    let files = place.fetch_told("org/net", &mut told).unwrap();
    assert_eq!(read(&files.weights[0]), tensors(300_000));
    assert_eq!(read(files.config.as_deref().unwrap()), br#"{"model_type": "resnet"}"#);
    assert_eq!(files.preprocessor_config, None);
    assert_eq!(files.commit, hub.commit());
    // The names that other tools of the Hub look for.
    let snapshot = place.cache().join("models--org--net/snapshots").join(hub.commit());
    assert_eq!(files.weights, [snapshot.join(WEIGHTS)]);
    let branch = std::fs::read_to_string(place.cache().join("models--org--net/refs/main")).unwrap();
    assert_eq!(branch, hub.commit());

    let of_weights: Vec<_> = told.iter().filter(|t| t.0 == WEIGHTS).collect();
    assert_eq!((of_weights[0].1, of_weights[0].2), (0, 300_000));
    assert_eq!(of_weights.last().unwrap().1, 300_000);
    assert!(of_weights.windows(2).all(|w| w[0].1 <= w[1].1) && of_weights.len() > 3);

    // The second time one question about the branch is enough, and at its commit none.
    hub.forget();
    told.clear();
    assert_eq!(place.fetch_told("org/net", &mut told).unwrap(), files);
    assert_eq!((hub.requests().len(), told.len()), (1, 0));
    hub.forget();
    place.fetch(&format!("org/net@{}", hub.commit())).unwrap();
    assert!(hub.requests().is_empty(), "{:?}", hub.requests());
}

#[test]
fn a_cut_download_goes_on_where_it_was() {
    let hub = hub();
    hub.fault(WEIGHTS, [Fault::CutAfter(100_000), Fault::CutAfter(50_000)]);
    let place = Place::at(&hub);
    let files = place.fetch("org/net").unwrap();
    assert_eq!(read(&files.weights[0]), tensors(300_000));
    let ranges: Vec<_> = hub.requests().into_iter().filter(|r| r.is_get(WEIGHTS)).map(|r| r.range).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-".into()), Some("bytes=150000-".into())]);
}

#[test]
fn a_broken_download_is_resumed_by_the_next_run() {
    let hub = hub();
    // Brings something once, then nothing, so that it is given up.
    hub.fault(WEIGHTS, [Fault::CutAfter(120_000)].into_iter().chain(vec![Fault::CutAfter(0); 4]));
    let place = Place::at(&hub);
    let error = place.fetch("org/net").unwrap_err();
    assert!(matches!(&error, HubError::Cut { done: 120_000, total: 300_000, .. }), "{error}");
    assert!(error.to_string().contains("goes on"), "{error}");
    hub.forget();
    let mut told = Vec::new();
    let files = place.fetch_told("org/net", &mut told).unwrap();
    assert_eq!(read(&files.weights[0]), tensors(300_000));
    assert_eq!(told[0], (WEIGHTS.to_owned(), 120_000, 300_000));
    assert!(place.blobs().iter().all(|b| !b.contains('.')), "{:?}", place.blobs());
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let hub = hub();
    hub.fault(WEIGHTS, [Fault::CutAfter(100_000), Fault::IgnoreRange]);
    let place = Place::at(&hub);
    let files = place.fetch("org/net").unwrap();
    assert_eq!(read(&files.weights[0]), tensors(300_000));
}

#[test]
fn what_another_run_left_damaged_is_fetched_anew() {
    let hub = hub();
    let place = Place::at(&hub);
    let blobs = place.cache().join("models--org--net/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    for left in [vec![7u8; 1000], vec![7u8; 300_000], vec![7u8; 400_000]] {
        let part = blobs.join(format!("{}.incomplete", hub.etag(WEIGHTS)));
        std::fs::write(part, left).unwrap();
        let files = place.fetch("org/net").unwrap();
        assert_eq!(read(&files.weights[0]), tensors(300_000));
        std::fs::remove_dir_all(place.cache().join("models--org--net/snapshots")).unwrap();
        std::fs::remove_file(blobs.join(hub.etag(WEIGHTS))).unwrap();
    }
}

#[test]
fn wrong_bytes_are_not_kept() {
    for fault in [Fault::OtherBytes, Fault::Longer(10), Fault::Shorter(10), Fault::Page] {
        let hub = hub();
        hub.fault(WEIGHTS, vec![fault; 8]);
        let place = Place::at(&hub);
        let error = place.fetch("org/net").unwrap_err();
        let right = match fault {
            Fault::OtherBytes => matches!(error, HubError::WrongHash { .. }),
            Fault::Page => matches!(error, HubError::NotAHub { .. }),
            _ => matches!(error, HubError::WrongSize { expected: 300_000, .. }),
        };
        assert!(right, "{fault:?}: {error}");
        // At most an empty beginning is left.
        for blob in place.blobs().iter().filter(|b| b.starts_with(&hub.etag(WEIGHTS))) {
            let path = place.cache().join("models--org--net/blobs").join(blob);
            assert_eq!(std::fs::metadata(path).unwrap().len(), 0, "{fault:?}");
        }
        assert!(!place.has(&hub, WEIGHTS), "{fault:?}");
        // And the next attempt, with the server well again, succeeds.
        hub.fault(WEIGHTS, []);
        assert_eq!(read(&place.fetch("org/net").unwrap().weights[0]), tensors(300_000), "{fault:?}");
    }
}

#[test]
fn an_error_page_is_never_a_configuration() {
    // Of the announced size, with status 200, and without a content type that tells.
    let hub = hub();
    hub.add("config.json", b"<html>sorry</html>", false);
    let place = Place::at(&hub);
    let error = place.fetch("org/net").unwrap_err();
    assert!(matches!(&error, HubError::WrongContent { file, .. } if file == "config.json"), "{error}");
    assert!(place.blobs().is_empty() && !place.has(&hub, "config.json"), "{:?}", place.blobs());
}

#[test]
fn a_login_page_in_between_is_recognised() {
    let hub = hub();
    hub.intercept(Fault::Page);
    let error = Place::at(&hub).fetch("org/net").unwrap_err();
    assert!(matches!(error, HubError::NotAHub { .. }), "{error}");
    assert!(error.to_string().contains("login page"), "{error}");
}

#[test]
fn refusals_are_told_apart() {
    let with_token = Some("hf_secret".to_owned());
    let cases = [
        (Fault::Refuse(401, "GatedRepo"), None, "set HF_TOKEN"),
        (Fault::Refuse(403, "GatedRepo"), with_token.clone(), "accept the terms"),
        (Fault::Refuse(401, ""), None, "set HF_TOKEN"),
        (Fault::Refuse(403, ""), with_token.clone(), "token in use"),
        (Fault::Refuse(401, "RepoNotFound"), None, "check the name"),
        (Fault::Refuse(404, "RepoNotFound"), with_token, "that the token may read it"),
        (Fault::Refuse(404, "RevisionNotFound"), None, "no revision \"main\""),
        (Fault::Refuse(418, ""), None, "status 418"),
    ];
    for (fault, token, part) in cases {
        let hub = hub();
        hub.intercept(fault);
        let place = Place { token, ..Place::at(&hub) };
        let error = place.fetch("org/net").unwrap_err().to_string();
        assert!(error.contains(part), "{fault:?}: {error}");
        assert!(!error.contains("hf_secret"), "{error}");
        assert!(place.blobs().is_empty(), "{fault:?}");
    }
}

#[test]
fn a_refusal_after_a_good_answer_is_not_stored() {
    let hub = hub();
    hub.fault(WEIGHTS, [Fault::Refuse(403, "")]);
    let place = Place::at(&hub);
    let error = place.fetch("org/net").unwrap_err();
    assert!(matches!(error, HubError::Gated { .. }), "{error}");
    assert!(!place.has(&hub, WEIGHTS));
    place.fetch("org/net").unwrap();
}

#[test]
fn missing_files_are_named() {
    let hub = FakeHub::start();
    hub.add("config.json", b"{}", false);
    let error = Place::at(&hub).fetch("org/net").unwrap_err();
    assert!(matches!(error, HubError::NoWeights { .. }), "{error}");
    assert!(error.to_string().contains("hf:org/net@main:FILE"), "{error}");
    let error = Place::at(&hub).fetch("org/net@v2:weights/other.safetensors").unwrap_err();
    assert!(
        matches!(&error, HubError::MissingFile { file, .. } if file.ends_with("other.safetensors")),
        "{error}"
    );
}

#[test]
fn a_named_file_in_a_folder() {
    let hub = hub();
    hub.add("onnx/a.safetensors", &tensors(5_000), true);
    let place = Place::at(&hub);
    let files = place.fetch("org/net@refs/pr/1:onnx/a.safetensors").unwrap();
    assert_eq!(read(&files.weights[0]), tensors(5_000));
    // The branch is asked for once, everything else at its commit.
    let paths: Vec<String> = hub.requests().into_iter().map(|r| r.path).collect();
    assert!(paths[0].contains("/resolve/refs%2Fpr%2F1/"), "{paths:?}");
    assert!(paths[1..].iter().all(|p| p.contains(&hub.commit())), "{paths:?}");
}

#[test]
fn what_pytorch_has_written_is_the_second_choice() {
    let hub = FakeHub::start();
    hub.add("pytorch_model.bin", b"PK of PyTorch", true);
    let place = Place::at(&hub);
    let files = place.fetch("org/net").unwrap();
    assert!(files.weights[0].ends_with("pytorch_model.bin"), "{files:?}");
    let offline = Place { offline: true, ..place };
    assert_eq!(offline.fetch("org/net").unwrap(), files);
    hub.add(WEIGHTS, &tensors(1_000), true);
    assert!(Place::at(&hub).fetch("org/net").unwrap().weights[0].ends_with(WEIGHTS));
}

#[test]
fn shards_come_together() {
    let hub = FakeHub::start();
    let index =
        br#"{"weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"}}"#;
    hub.add("model.safetensors.index.json", index, false);
    hub.add("m-1.safetensors", &tensors(1_000), true);
    hub.add("m-2.safetensors", &tensors(2_000), true);
    let place = Place::at(&hub);
    let files = place.fetch("org/net").unwrap();
    let sizes: Vec<usize> = files.weights.iter().map(|p| read(p).len()).collect();
    assert_eq!(sizes, [1_000, 2_000]);
    let place = Place { offline: true, ..place };
    assert_eq!(place.fetch("org/net").unwrap(), files);
}

#[test]
fn an_index_cannot_lead_out() {
    for shard in ["../../x.safetensors", "/etc/x.safetensors", "a\\\\b.safetensors", "evil.pkl"] {
        let hub = FakeHub::start();
        let index = format!(r#"{{"weight_map": {{"a": "{shard}"}}}}"#);
        hub.add("model.safetensors.index.json", index.as_bytes(), false);
        let error = Place::at(&hub).fetch("org/net").unwrap_err();
        assert!(matches!(error, HubError::WrongContent { .. }), "{shard}: {error}");
    }
}

#[test]
fn a_busy_hub_is_asked_again() {
    for status in [429, 503] {
        let hub = hub();
        hub.intercept_times(Fault::Refuse(status, ""), 2);
        hub.fault(WEIGHTS, [Fault::Refuse(status, "")]);
        let place = Place::at(&hub);
        assert_eq!(read(&place.fetch("org/net").unwrap().weights[0]), tensors(300_000));
        hub.intercept(Fault::Refuse(status, ""));
        let error = Place::at(&hub).fetch("org/net").unwrap_err();
        assert!(matches!(error, HubError::Busy { attempts: 5, .. }), "{error}");
    }
}

#[test]
fn redirects_are_followed_and_the_token_stays_home() {
    let hub = hub();
    let files = FakeHub::start();
    files.add(WEIGHTS, &tensors(300_000), true);
    hub.redirect(WEIGHTS, &files);
    let place = Place { token: Some("hf_secret".into()), ..Place::at(&hub) };
    let fetched = place.fetch("org/net").unwrap();
    assert_eq!(read(&fetched.weights[0]), tensors(300_000));
    assert_eq!(fetched.commit, hub.commit());
    let sent = |hub: &FakeHub| hub.requests().iter().filter(|r| r.authorization.is_some()).count();
    assert_eq!((sent(&hub), sent(&files)), (hub.requests().len(), 0));
    assert!(!files.requests().is_empty());
}

#[test]
fn a_renamed_repository_is_followed() {
    let hub = hub();
    hub.rename("org/old", "org/net");
    let place = Place::at(&hub);
    let files = place.fetch("org/old").unwrap();
    assert_eq!(read(&files.weights[0]), tensors(300_000));
}

#[test]
fn redirects_in_a_circle_end() {
    let hub = hub();
    hub.rename("org/net", "org/net");
    let error = Place::at(&hub).fetch("org/net").unwrap_err();
    assert!(error.to_string().contains("redirects"), "{error}");
}

#[test]
fn offline_means_the_cache_alone() {
    let hub = hub();
    let place = Place { offline: true, ..Place::at(&hub) };
    let error = place.fetch("org/net").unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");

    let place = Place { offline: false, ..place };
    let files = place.fetch("org/net").unwrap();
    hub.forget();
    let place = Place { offline: true, ..place };
    assert_eq!(place.fetch("org/net").unwrap(), files);
    assert!(matches!(place.fetch("org/net@v2"), Err(HubError::Offline { .. })));
    assert!(matches!(place.fetch("org/net:b.safetensors"), Err(HubError::Offline { .. })));
    assert!(hub.requests().is_empty());
}

#[test]
fn an_unreachable_hub_leaves_the_cache() {
    let hub = hub();
    let place = Place::at(&hub);
    let files = place.fetch("org/net").unwrap();
    hub.stop();
    assert_eq!(place.fetch("org/net").unwrap(), files);
    let error = Place::at(&hub).fetch("org/net").unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("HF_ENDPOINT"), "{error}");
}

#[test]
fn a_moved_branch_is_noticed() {
    let hub = hub();
    let place = Place::at(&hub);
    let old = place.fetch("org/net").unwrap();
    hub.add(WEIGHTS, &tensors(2_000), true);
    hub.commit_as("b".repeat(40));
    let new = place.fetch("org/net").unwrap();
    assert_eq!((read(&new.weights[0]).len(), read(&old.weights[0]).len()), (2_000, 300_000));
    assert_ne!(new.commit, old.commit);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told() {
    let hub = hub();
    let place = Place::at(&hub);
    let blobs = place.cache().join("models--org--net/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    // A device that is always full, in the place of the file to be written.
    let part = blobs.join(format!("{}.incomplete", hub.etag(WEIGHTS)));
    std::os::unix::fs::symlink("/dev/full", part).unwrap();
    let error = place.fetch("org/net").unwrap_err();
    assert!(matches!(error, HubError::NoSpace { total: 300_000, .. }), "{error}");
    assert!(error.to_string().contains("HF_HOME"), "{error}");
}

#[test]
fn two_at_once_share_one_download() {
    let hub = hub();
    let place = Place::at(&hub);
    let fetched: Vec<HubFiles> = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..4).map(|_| scope.spawn(|| place.fetch("org/net").unwrap())).collect();
        tasks.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(fetched.iter().all(|f| read(&f.weights[0]) == tensors(300_000)));
    let n_gets = hub.requests().iter().filter(|r| r.is_get(WEIGHTS)).count();
    assert_eq!(n_gets, 1);
}
