//! The examples for containers: the variables, volumes and probes of Kubernetes in `docs/operate/deploy.md`, and those
//! of the files for compose.

use crate::access::listeners::logged;
use crate::access::{file_argument, new_key};
use bulkhead_tests::http::Response;
use bulkhead_tests::server::{self, Server};
use bulkhead_tests::tls::{self, Authority, Identity};
use bulkhead_tests::until;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGE: &str = include_str!("../../../docs/operate/deploy.md");

/// Returns the first document of the example.
fn deployment() -> Value {
    let start = PAGE
        .find("    apiVersion: apps/v1\n")
        .expect("page should have an example");
    let lines = PAGE[start..].lines();
    let lines = lines.map_while(|line| line.strip_prefix("    "));
    let lines: Vec<_> = lines.take_while(|line| *line != "---").collect();
    serde_saphyr::from_str(&lines.join("\n")).expect("example should be YAML")
}

/// A volume as kubelet writes it: files are links through a link that is switched.
struct Volume {
    folder: PathBuf,
    versions: u32,
}

impl Volume {
    fn new(folder: PathBuf, files: &BTreeMap<&str, String>) -> Self {
        std::fs::create_dir_all(&folder).expect("folder should be created");
        for name in files.keys() {
            symlink(Path::new("..data").join(name), folder.join(name))
                .expect("link should be created");
        }
        let mut volume = Self {
            folder,
            versions: 0,
        };
        volume.switch(files);
        volume
    }

    fn switch(&mut self, files: &BTreeMap<&str, String>) {
        self.versions += 1;
        let version = format!("..version-{}", self.versions);
        let folder = self.folder.join(&version);
        std::fs::create_dir(&folder).expect("folder should be created");
        for (name, content) in files {
            std::fs::write(folder.join(name), content).expect("file should be written");
        }
        let next = self.folder.join("..data_tmp");
        symlink(version, &next).expect("link should be created");
        std::fs::rename(next, self.folder.join("..data")).expect("link should be switched");
    }
}

fn certificate_files(identity: &Identity) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("tls.crt", identity.certificate.clone()),
        ("tls.key", identity.key.clone()),
    ])
}

#[test]
fn kubernetes_example_starts_and_follows_switched_volumes() {
    let pod = deployment()["spec"]["template"]["spec"].take();
    let container = &pod["containers"][0];
    let root = tempfile::tempdir().expect("folder should be created");
    // The volumes are below a folder of the test. The store and the ports are those of the test too.
    let mut variables = BTreeMap::new();
    let entries = container["env"].as_array().expect("env should be an array");
    for entry in entries {
        let text = |field: &str| entry[field].as_str().expect("field should be a string");
        let value = match text("name") {
            "BULKHEAD_LISTEN" | "BULKHEAD_OBSERVE_LISTEN" => "127.0.0.1:0".to_owned(),
            "BULKHEAD_STORE" | "BULKHEAD_STORE_PASSWORD_FILE" => continue,
            _ if text("value").starts_with('/') => {
                format!("{}{}", root.path().display(), text("value"))
            }
            _ => text("value").to_owned(),
        };
        variables.insert(text("name"), value);
    }
    let folder = |name: &str| {
        let mounts = container["volumeMounts"].as_array().into_iter().flatten();
        let mut mounts = mounts.filter(|mount| mount["name"] == name);
        let mount = mounts.next().expect("volume should be mounted");
        assert_eq!(mount["subPath"], Value::Null);
        let path = mount["mountPath"]
            .as_str()
            .expect("path should be a string");
        root.path().join(path.trim_start_matches('/'))
    };
    let authority = Authority::default();
    let (old, old_entry) = new_key("ci", &["token:make"]);
    let (new, new_entry) = new_key("ci", &["token:make"]);
    let keys =
        |entry: &Value| BTreeMap::from([("keys.json", json!({"entries": [entry]}).to_string())]);
    let _secrets = Volume::new(
        folder("secrets"),
        &BTreeMap::from([("token", "the secret of an example in a page".to_owned())]),
    );
    let mut tls = Volume::new(
        folder("tls"),
        &certificate_files(&authority.issue("127.0.0.1")),
    );
    let mut access = Volume::new(folder("access"), &keys(&old_entry));

    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut command = Command::new(server::binary());
    let server = Server::start_command(&mut command, &variables);
    let log = server.log();
    assert!(!log.contains("is not a setting"), "{log}");
    let observe = logged(&server, "observe_address");
    let observe: SocketAddr = observe[0].parse().expect("address should be valid");
    let get = |address, authority: &Authority, method: &str, target: &str, key: &str| {
        let authorization = format!("Bearer {key}");
        let headers = [("Authorization", authorization.as_str())];
        tls::request(address, authority, None, method, target, &headers)
    };
    for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        let probe = &container[probe]["httpGet"];
        assert_eq!(
            (&probe["path"], &probe["port"], &probe["scheme"]),
            (&json!(path), &json!("observe"), &json!("HTTPS"))
        );
        let response = tls::request(observe, &authority, None, "GET", path, &[]);
        assert_eq!(response.expect("probe should be answered").status, 200);
    }
    let status = |authority: &Authority, key: &str| {
        let response = get(server.address, authority, "POST", "/token", key);
        response.map(|response: Response| response.status).ok()
    };
    assert_eq!(status(&authority, &old), Some(200));
    assert_eq!(status(&authority, &new), Some(401));
    access.switch(&keys(&new_entry));
    until("the new keys are active", || {
        status(&authority, &new) == Some(200)
    });
    // The attempts with the new key before it was active count against the address.
    let rejected = status(&authority, &old);
    assert!([Some(401), Some(429)].contains(&rejected), "{rejected:?}");
    let renewed = Authority::default();
    tls.switch(&certificate_files(&renewed.issue("127.0.0.1")));
    until("the new certificate is active", || {
        status(&renewed, &new) == Some(200)
    });
    assert_eq!(status(&authority, &new), None);
}

/// A misspelt variable in a file for compose would leave a protection off.
#[test]
fn compose_files_set_existing_variables_only() {
    let demo = include_str!("../../../compose.yaml");
    let scale = include_str!("../../../compose.scale.yaml");
    for (file, expected) in [
        (demo, &["BULKHEAD_ALLOWED_HOSTS"][..]),
        (
            scale,
            &[
                "BULKHEAD_TLS_CERT",
                "BULKHEAD_TLS_KEY",
                "BULKHEAD_ACCESS_KEYS",
            ],
        ),
    ] {
        let file: Value = serde_saphyr::from_str(file).expect("file should be YAML");
        let environment = file["services"]["bulkhead"]["environment"].as_object();
        let environment = environment.expect("service should have variables");
        for name in expected {
            assert!(environment.contains_key(*name), "{name}");
        }
        let values: Vec<_> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().expect("value should be text")))
            .collect();
        let output = server::run(&["check-config"], &values);
        let report = [output.stdout, output.stderr].concat();
        let report = String::from_utf8(report).expect("output should be UTF-8");
        assert!(!report.contains("is not a setting"), "{report}");
        for line in report.lines().filter(|line| line.starts_with("problem:")) {
            // The files that the variables name are those of the containers.
            assert!(line.contains("No such file"), "{line}");
        }
    }
}

#[test]
fn mock_authority_makes_the_certificates_of_compose_once() {
    let file: Value = serde_saphyr::from_str(include_str!("../../../compose.scale.yaml"))
        .expect("file should be YAML");
    let service = &file["services"]["mock-authority"];
    assert_eq!(
        service["entrypoint"],
        json!(["/opt/bulkhead/mocks/mock-authority", "/data"])
    );
    let arguments = service["command"].as_array().into_iter().flatten();
    let arguments: Vec<_> = arguments.filter_map(Value::as_str).collect();
    let folder = tempfile::tempdir().expect("folder should be created");
    let make = || {
        let status = Command::new(server::mock("mock-authority"))
            .arg(folder.path())
            .args(&arguments)
            .status();
        assert!(status.expect("binary should start").success());
        let entries = std::fs::read_dir(folder.path()).expect("folder should be readable");
        let files = entries.map(|entry| {
            let path = entry.expect("entry should be readable").path();
            let content = std::fs::read_to_string(&path).expect("file should be readable");
            (path, content)
        });
        files.collect::<BTreeMap<_, _>>()
    };
    let first = make();
    assert_eq!(first, make());
    let path = |name: &str| folder.path().join(name);
    let environment = &file["services"]["bulkhead"]["environment"];
    for variable in ["BULKHEAD_TLS_CERT", "BULKHEAD_TLS_KEY"] {
        let name = environment[variable]
            .as_str()
            .expect("value should be text");
        assert!(first.contains_key(&path(name.trim_start_matches("/tls/"))));
    }
    let private = std::fs::metadata(path("bulkhead.key")).expect("file should exist");
    assert_eq!(private.permissions().mode() & 0o077, 0);
    let (certificate, key) = (path("proxy.crt"), path("proxy.key"));
    let server = Server::start(&[
        "--tls-cert",
        file_argument(&certificate),
        "--tls-key",
        file_argument(&key),
    ]);
    let mut authority = Authority::default();
    authority.certificate.clone_from(&first[&path("ca.pem")]);
    let response = tls::request(server.address, &authority, None, "GET", "/livez", &[]);
    assert_eq!(response.expect("request should be answered").status, 200);
}

/// The search of the servers' logs must know the private keys of their certificates.
#[test]
fn private_keys_of_certificates_are_recorded() {
    let (folder, logs) = (tempfile::tempdir(), tempfile::tempdir());
    let folder = folder.expect("folder should be created");
    let logs = logs.expect("folder should be created");
    let status = Command::new(server::mock("mock-authority"))
        .arg(folder.path())
        .arg("service=localhost")
        .env("BULKHEAD_TEST_LOGS", logs.path())
        .status();
    assert!(status.expect("binary should start").success());
    let read = |path: &Path| std::fs::read_to_string(path).expect("file should be readable");
    let recorded = read(&logs.path().join("canaries"));
    let key = read(&folder.path().join("service.key"));
    assert!(key.contains(recorded.trim_end()) && recorded.len() > 40);
    // The key itself, and not the beginning that all keys of this kind have.
    assert!(!read(&folder.path().join("service.crt")).contains(recorded.trim_end()));
    let line = key.lines().nth(1).expect("key should have lines");
    assert!(!line.starts_with(recorded.trim_end()));
}
